"""Whether a site is still as it was made: what its hosts report, judged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cloudlet_deploy.errors import ExitCode, strongest
from cloudlet_deploy.run.findings import Finding, Level, refusal, worst
from cloudlet_deploy.run.left import LeftHost
from cloudlet_deploy.run.looking import Looked

#: From when on the end of a certificate is told of.
SOON = timedelta(days=30)
_APPLY = "'cloudlet-deploy plan' shows what apply would do; 'apply' mends it."


@dataclass(frozen=True)
class Expiry:
    """A certificate or revocation list on a host; ``kind`` is certificate, ca or crl."""

    path: str
    kind: str
    component: str
    name: str
    begin: datetime
    end: datetime | None

    def left(self, now: datetime) -> timedelta | None:
        """Time until its end; None if it has none."""
        return None if self.end is None else self.end - now

    @property
    def soon(self) -> timedelta:
        """When to tell of the end: lists are renewed often, so it goes by their life."""
        if self.kind != "crl" or self.end is None:
            return SOON
        return min(SOON, (self.end - self.begin) / 4)


@dataclass(frozen=True)
class HostStatus:
    """One host: what is wrong with it (nothing, at best), and what it reported."""

    host: str
    problems: tuple[Finding, ...]
    report: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def level(self) -> Level:
        """The strongest of its problems."""
        return worst(self.problems)

    @property
    def applied(self) -> bool:
        """Whether something of ours is on the host, as far as it was reached."""
        return bool(self.report and self.report["applied"])

    def entries(self, key: str) -> tuple[Mapping[str, Any], ...]:
        """A list of the report."""
        return tuple(self.report.get(key) or ()) if self.report else ()

    def expiries(self) -> tuple[Expiry, ...]:
        """What can expire on the host, as far as it could be read."""
        return tuple(_expiry(e) for e in self.entries("certificates") if "error" not in e)


@dataclass(frozen=True)
class SiteStatus:
    """All hosts in the order of the inventory, and those that left it."""

    hosts: tuple[HostStatus, ...]
    left: tuple[LeftHost, ...]
    time: datetime

    @property
    def exit_code(self) -> ExitCode:
        """Drift, failed checks and unreachable hosts; hosts that left are only told of."""
        return strongest(host.level.exit_code for host in self.hosts)


def judged(
    hosts: Iterable[str],
    looked: Looked,
    users: Mapping[str, str | None],
    left: tuple[LeftHost, ...] = (),
    now: datetime | None = None,
) -> SiteStatus:
    """What the reports mean; ``users`` are the hosts' login users, as far as known."""
    now = now or datetime.now(UTC)
    found = []
    for host in hosts:
        if host in looked.reports:
            report = looked.reports[host]
            found.append(HostStatus(host, tuple(_problems(report, now)), report))
        elif host in looked.failures:
            found.append(HostStatus(host, (refusal(looked, host, users.get(host)),)))
        # Else no role is for it.
    return SiteStatus(tuple(found), left, now)


def _problems(report: Mapping[str, Any], now: datetime) -> Iterator[Finding]:
    """A run at work, then the worst first."""
    if held := report.get("lease"):
        words = f"{held['holder']} holds the host: what is seen may be on its way"
        step = f"Wait for its end; 'cloudlet-deploy runs show {held['run']}' tells of it."
        yield Finding("lease", Level.WARNING, words, step)
    pending = any(report["pending"].values())
    if not report["applied"] and not report["problems"] and not pending:
        yield Finding("files", Level.DRIFT, "never applied: nothing of ours is here", _APPLY)
        return
    every = [
        *(
            Finding("state", Level.FAILED, text, "Restore the file from a backup, or apply again.")
            for text in report["problems"]
        ),
        *_of_health(report),
        *_of_units(report),
        *_of_certificates(report, now),
        *_of_sets(report),
        *_of_packages(report),
        *_of_probes(report),
        *_of_watches(report, now),
    ]
    yield from sorted(every, key=lambda finding: -finding.status.rank)


def _of_health(report: Mapping[str, Any]) -> Iterator[Finding]:
    for entry in report["health"]:
        if not entry["healthy"]:
            yield Finding(
                "service",
                Level.FAILED,
                f"{entry['kind']} {entry['host']}:{entry['port']}: {entry['explanation']}",
                entry["next_step"],
                entry["component"],
            )


def _of_units(report: Mapping[str, Any]) -> Iterator[Finding]:
    for entry in report["units"]:
        unit, component = entry["unit"], entry["component"]
        if not entry["exists"]:
            words, step = f"{unit} is not on the host", _APPLY
            yield Finding("unit", Level.FAILED, words, step, component)
        elif not entry["active"]:
            journal = entry.get("journal", f"journalctl -u {unit}")
            step = f"See why ('{journal}' on the host); apply starts it."
            words = f"{unit} is {entry['state']}"
            yield Finding("unit", Level.FAILED, words, step, component)
        if entry["exists"] and entry["enabled"] is False:
            words = f"{unit} is disabled: it would not start at boot"
            yield Finding("unit", Level.DRIFT, words, _APPLY, component)
    for kind, units in report["pending"].items():
        for unit, sets in units.items():
            words = f"{unit} runs with an older configuration: it must {kind}"
            yield Finding("unit", Level.DRIFT, words, f"Apply makes it {kind}.", ", ".join(sets))


def _of_certificates(report: Mapping[str, Any], now: datetime) -> Iterator[Finding]:
    drifted = {entry["path"] for entry in report["drift"]}
    for entry in report["certificates"]:
        if "error" not in entry:
            yield from _of_expiry(_expiry(entry), now)
        elif entry["path"] not in drifted:
            words = f"{entry['path']} {entry['error']}"
            yield Finding("certificate", Level.FAILED, words, _APPLY, entry["component"])


_TITLES = {"certificate": "certificate", "ca": "CA certificate", "crl": "revocation list"}
_RENEW = {
    "certificate": "Renew it, put it where the inventory names it, then apply.",
    "ca": "Get the CA's new certificate (with its distribution), then apply.",
    "crl": "Get the new list (fetch-crl, or the CA's distribution), then apply.",
}


def _of_expiry(expiry: Expiry, now: datetime) -> Iterator[Finding]:
    left = expiry.left(now)
    if left is None or left >= expiry.soon:
        return
    days = left.total_seconds() / 86400
    assert expiry.end is not None
    what = f"{_TITLES[expiry.kind]} {expiry.path} ({expiry.name})"
    if days <= 0:
        level, words = Level.FAILED, f"{what} expired on {expiry.end:%F}"
    else:
        level, words = Level.WARNING, f"{what} expires on {expiry.end:%F}, in {days:.0f} days"
    check = "crl" if expiry.kind == "crl" else "certificate"
    yield Finding(check, level, words, _RENEW[expiry.kind], expiry.component)


def _of_sets(report: Mapping[str, Any]) -> Iterator[Finding]:
    for entry in report["drift"]:
        secret = "secret " if entry["secret"] else ""
        words = f"{secret}{entry['path']} {_KINDS[entry['kind']]}"
        if entry["detail"]:
            words += f": {entry['detail']}"
        step = "Apply puts it back; what another hand wrote is kept aside on the host."
        if entry["restarts"]:
            step += f" It restarts {', '.join(entry['restarts'])}."
        yield Finding("file", Level.DRIFT, words, step, entry["component"])
    for entry in report["sets"]:
        if entry["unfinished"]:
            words = "a run was interrupted while it replaced files"
            yield Finding("files", Level.DRIFT, words, "Apply finishes it.", entry["set"])


_KINDS = {
    "missing": "is gone",
    "changed": "was edited by another hand",
    "attributes": "has other attributes",
    "replaced": "was replaced",
    "unreadable": "cannot be compared",
}


def _of_packages(report: Mapping[str, Any]) -> Iterator[Finding]:
    for name, version in report["packages"].items():
        if not version:
            yield Finding("package", Level.DRIFT, f"{name} is not installed", _APPLY)


def _of_probes(report: Mapping[str, Any]) -> Iterator[Finding]:
    for entry in report.get("probes", ()):
        yield Finding("state", Level.DRIFT, entry["what"], entry["next_step"], entry["component"])


#: Seconds that an instrument's clock may be ahead of a host's.
_AHEAD = 60.0


def _of_watches(report: Mapping[str, Any], now: datetime) -> Iterator[Finding]:
    for entry in report.get("watches", ()):
        name, component = entry["name"], entry["component"]
        if problem := entry["problem"]:
            step = "Look at that mount and its server, or correct data_watch_directories."
            yield Finding("lag", Level.FAILED, f"{name}: {problem}", step, component)
            continue
        if is_late(entry):
            yield Finding("lag", Level.FAILED, seen(entry, now), _keep_up(entry), component)
        if entry["ahead"] > _AHEAD:
            words = f"{name}: the newest movie is {span(entry['ahead'])} in the future"
            step = "Set the clock of the instrument, or of this host: lag is told by both."
            yield Finding("lag", Level.WARNING, words, step, component)


def _keep_up(entry: Mapping[str, Any]) -> str:
    if entry["outputs"] and not entry["processed"]:
        return (
            f"None of the {entry['outputs']} files of output has the name of a movie: look at "
            "output and output_pattern in data_watch_directories, then at what processes."
        )
    return "See whether what processes them runs, and what it waits for (its log, GPUs, space)."


def is_late(entry: Mapping[str, Any]) -> bool:
    """Whether the lag of a watched directory is known and passes its limit."""
    return not entry["problem"] and bool(entry["lag"] > entry["limit"])


def seen(entry: Mapping[str, Any], now: datetime) -> str:
    """What was seen of a watched directory that could be read, in words."""
    told = [f"{entry['name']}: {_waiting(entry)} (limit {entry['limit']} s)"]
    told += [
        f"newest {title} {span(max(0.0, now.timestamp() - file['time']))} ago, {file['path']}"
        for title, file in (("movie", entry["raw"]), ("output", entry["output"]))
        if file
    ]
    if entry["movies"] and not entry["output"]:
        told.append("no output")
    if entry["skipped"]:
        movies = "1 older movie" if entry["skipped"] == 1 else f"{entry['skipped']} older movies"
        told.append(f"{movies} without output")
    return "; ".join(told)


def _waiting(entry: Mapping[str, Any]) -> str:
    if not entry["movies"]:
        return "no movie"
    if not entry["waiting"]:
        return "nothing waits"
    movies = "1 movie waits" if entry["waiting"] == 1 else f"{entry['waiting']} movies wait"
    return f"{movies} for output, for {span(entry['lag'])}"


def span(seconds: float) -> str:
    """A span of time as people say it: to the second below 10 minutes, else to the minute."""
    if seconds < 600:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _expiry(entry: Mapping[str, Any]) -> Expiry:
    end = entry["end"]
    return Expiry(
        path=entry["path"],
        kind=entry["kind"],
        component=entry["component"],
        name=entry["name"],
        begin=datetime.fromtimestamp(entry["begin"], UTC),
        end=None if end is None else datetime.fromtimestamp(end, UTC),
    )
