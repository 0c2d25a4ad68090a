"""How a status looks: the worst host first, each finding with what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from cloudlet_deploy.cli import _findings_view, render
from cloudlet_deploy.cli._plan_view import number
from cloudlet_deploy.run.findings import Finding, Level
from cloudlet_deploy.run.left import LeftHost
from cloudlet_deploy.run.status import HostStatus, SiteStatus, is_late, seen


def show(status: SiteStatus, *, everything: bool = False) -> None:
    """A line for each host, and its findings; ``everything`` tells what is fine too."""
    for host in sorted(status.hosts, key=lambda one: -one.level.rank):
        _findings_view.host(host.host, host.level, _summary(host))
        _findings_view.rows(host.problems)
        _findings_view.rows(_watches(host, status.time))
        if everything:
            _findings_view.rows(_facts(host, status.time))
    for left in status.left:
        _left(left)
    for line in _totals(status):
        render.lines(line)
    if any(p.status is Level.DRIFT for host in status.hosts for p in host.problems):
        render.lines(
            "next: 'cloudlet-deploy plan' shows how apply mends drift; what another hand wrote "
            "is kept aside on the host."
        )


def _summary(host: HostStatus) -> str:
    """What is fine, in a few words."""
    if not host.applied:
        return ""
    told = [number(sum(e["files"] for e in host.entries("sets")), "file")]
    services = [e for e in host.entries("health") if e["healthy"]]
    told += [f"{_service(e)} in {e['seconds']:.2f} s" for e in services]
    ends = [e.end for e in host.expiries() if e.kind == "certificate" and e.end]
    if ends:
        told.append(f"certificate until {min(ends):%F}")
    return ", ".join(told)


def _service(entry: Mapping[str, Any]) -> str:
    state = entry.get("state")
    return f"{entry['kind']} answers ({state})" if state else f"{entry['kind']} answers"


def _facts(host: HostStatus, now: datetime) -> Iterator[Finding]:
    def fine(check: str, detail: str) -> Finding:
        return Finding(check, Level.OK, detail)

    for entry in host.entries("sets"):
        run = f", run {entry['run']}" if entry["run"] else ""
        release = f", release {entry['release']}" if entry.get("release") else ""
        files = number(entry["files"], "file")
        detail = f"{entry['set']}: generation {entry['generation']}, {files}{run}{release}"
        yield fine("files", detail)
    for entry in host.entries("units"):
        if entry["active"]:
            enabled = {True: "enabled", False: "disabled"}.get(entry["enabled"], entry["enabled"])
            yield fine("unit", f"{entry['unit']}: {entry['state']}, {enabled}")
    for entry in host.entries("health"):
        if entry["healthy"]:
            yield fine("service", f"{entry['kind']} {entry['host']}:{entry['port']}: "
                       f"{entry['seconds']:.3f} s {entry['version']}".rstrip())  # fmt: skip
    for expiry in host.expiries():
        left = expiry.left(now)
        days = "without end" if left is None else f"{left.days} days left"
        yield fine("crl" if expiry.kind == "crl" else "certificate", f"{expiry.path}: {days}")
    report = host.report or {}
    for name, version in {**report.get("packages", {}), **report.get("programs", {})}.items():
        if version:
            yield fine("version", f"{name} {version.removeprefix(name).strip()}")


def _watches(host: HostStatus, now: datetime) -> Iterator[Finding]:
    """Processing that keeps up; findings tell of the other."""
    for entry in host.entries("watches"):
        if not entry["problem"] and not is_late(entry):
            yield Finding("lag", Level.OK, seen(entry, now))


def _left(left: LeftHost) -> None:
    held = ", ".join(_counted(kind, count) for kind, count in left.counts.items())
    _findings_view.host(left.host, Level.WARNING, "left the inventory")
    detail = f"holds {held}, as of run {left.run}"
    step = (
        "Put it back into the inventory and 'cloudlet-deploy destroy' it, or clean it by hand; "
        f"'cloudlet-deploy runs show {left.run}' names what was made."
    )
    _findings_view.rows([Finding("left", Level.WARNING, detail, step)])


def _counted(kind: str, count: int) -> str:
    plurals = {"directory": "directories"}
    return f"1 {kind}" if count == 1 else f"{count} {plurals.get(kind, kind + 's')}"


def _totals(status: SiteStatus) -> Iterator[str]:
    if not status.hosts:
        yield "No host was looked at."
    for level, words in (
        (Level.UNREACHABLE, "not reached"),
        (Level.FAILED, "with failed checks"),
        (Level.DRIFT, "not as applied"),
        (Level.WARNING, "with warnings"),
        (Level.OK, "fine"),
    ):
        hosts = [host for host in status.hosts if host.level is level]
        if hosts:
            yield f"{number(len(hosts), 'host')} {words}"
    if status.left:
        yield f"{number(len(status.left), 'host')} left the inventory"


def as_data(status: SiteStatus) -> dict[str, Any]:
    """In the form of docs/reference/json.md."""
    return {
        "time": status.time.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "hosts": [_host_data(host, status.time) for host in status.hosts],
        "left": [
            {
                "host": left.host,
                "run": left.run,
                "time": left.time,
                "holds": [{"kind": kind, "name": name} for kind, name in left.holds],
            }
            for left in status.left
        ],
    }


def _host_data(host: HostStatus, now: datetime) -> dict[str, Any]:
    report = host.report or {}
    lists = ("sets", "drift", "units", "health", "watches")
    return {
        "host": host.host,
        "status": host.level,
        "applied": host.applied if host.report else None,
        "problems": [vars(problem) for problem in host.problems],
        **{key: [dict(entry) for entry in host.entries(key)] for key in lists},
        "pending": report.get("pending", {}),
        "lease": report.get("lease"),
        "certificates": [
            {
                "path": e.path,
                "kind": e.kind,
                "component": e.component,
                "name": e.name,
                "end": None if e.end is None else e.end.isoformat().replace("+00:00", "Z"),
                "days_left": None if (left := e.left(now)) is None else left.days,
            }
            for e in host.expiries()
        ],
        "packages": report.get("packages", {}),
        "programs": report.get("programs", {}),
    }
