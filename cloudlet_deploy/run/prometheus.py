"""A site's status in the text form that Prometheus reads (text/plain; version=0.0.4).

For node_exporter's textfile collector: no timestamps, each family once, and the same families
whatever was found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cloudlet_deploy.run.findings import Level
from cloudlet_deploy.run.status import HostStatus, SiteStatus

#: A family is told once, with all its samples.
Labels = tuple[tuple[str, str], ...]
Sample = tuple[Labels, float]


@dataclass(frozen=True)
class Family:
    """All samples of one name; every metric is a gauge."""

    name: str
    help: str
    samples: tuple[Sample, ...]

    def lines(self) -> Iterator[str]:
        """HELP, TYPE and one line a sample."""
        yield f"# HELP {self.name} {_escaped(self.help, quote=False)}"
        yield f"# TYPE {self.name} gauge"
        for labels, value in self.samples:
            told = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels)
            yield (
                f"{self.name}{{{told}}} {_number(value)}"
                if told
                else (f"{self.name} {_number(value)}")
            )


def text(status: SiteStatus, site: str) -> str:
    """The whole document; ``site`` becomes a label of all samples."""
    return "".join(f"{line}\n" for family in families(status, site) for line in family.lines())


def families(status: SiteStatus, site: str) -> Iterator[Family]:
    """Every family, those without samples too."""
    of_site: Labels = (("site", site),)

    def family(name: str, about: str, found: Iterator[Sample]) -> Family:
        samples = tuple((of_site + labels, value) for labels, value in found)
        return Family(f"cloudlet_{name}", about, samples)

    every = status.hosts
    reached = [h for h in every if h.report is not None]
    yield family(
        "status_time_seconds",
        "When the hosts were looked at, in seconds since 1970.",
        iter([((), status.time.timestamp())]),
    )
    yield family(
        "status_exit_code",
        "What cloudlet-deploy status exited with: 0 fine, 2 drift, 3 a host was not reached, "
        "5 a check failed.",
        iter([((), float(status.exit_code))]),
    )
    yield family(
        "host_reachable",
        "Whether the host was reached (1) or not (0).",
        (_of(h, value=h.level is not Level.UNREACHABLE) for h in every),
    )
    yield family(
        "host_applied",
        "Whether something of cloudlet-deploy is on the host.",
        (_of(h, value=h.applied) for h in reached),
    )
    yield family(
        "host_problems",
        "Findings on the host, by level.",
        (
            (_labels(h, level=level), float(sum(p.status is level for p in h.problems)))
            for h in every
            for level in (Level.WARNING, Level.DRIFT, Level.FAILED)
        ),
    )
    yield family(
        "host_left",
        "Hosts that left the inventory and still hold this many files, packages, units and "
        "accounts.",
        (((("host", left.host),), float(len(left.holds))) for left in status.left),
    )
    yield family("drift_files", "Managed files that differ, by kind.", _drift(reached))
    yield family(
        "config_generation",
        "Generation of a component's files.",
        (
            (_labels(h, component=entry["set"]), float(entry["generation"]))
            for h in reached
            for entry in h.entries("sets")
        ),
    )
    yield family(
        "unit_active",
        "Whether the unit runs.",
        (
            (_labels(h, component=e["component"], unit=e["unit"]), float(e["active"]))
            for h in reached
            for e in h.entries("units")
        ),
    )
    yield family(
        "unit_enabled",
        "Whether the unit starts at boot.",
        (
            (_labels(h, component=e["component"], unit=e["unit"]), float(e["enabled"] is not False))
            for h in reached
            for e in h.entries("units")
        ),
    )
    yield family(
        "unit_pending",
        "Units that run with an older configuration, by what they must do.",
        (
            (_labels(h, unit=unit, action=kind), 1.0)
            for h in reached
            for kind, units in (h.report or {}).get("pending", {}).items()
            for unit in units
        ),
    )
    yield family(
        "service_healthy",
        "Whether the service gave a good answer to a real request.",
        (
            (_service(h, e), float(e["healthy"]))
            for h in reached
            if h.applied
            for e in h.entries("health")
        ),
    )
    yield family(
        "service_response_seconds",
        "How long the service took to answer.",
        (
            (_service(h, e), float(e["seconds"]))
            for h in reached
            for e in h.entries("health")
            if e["healthy"]
        ),
    )
    yield family(
        "certificate_expiry_time_seconds",
        "End of a certificate or revocation list (kind crl), in seconds since 1970.",
        (
            (_labels(h, kind=e.kind, path=e.path, name=e.name), e.end.timestamp())
            for h in reached
            for e in h.expiries()
            if e.end is not None
        ),
    )
    yield from _of_watches(family, reached)
    yield family(
        "package_info",
        "Packages that the site wants; the version is a label and empty if there is none.",
        (
            (_labels(h, package=name, version=version), 1.0)
            for h in reached
            for name, version in (h.report or {}).get("packages", {}).items()
        ),
    )


def _of_watches(family: Callable[..., Family], hosts: list[HostStatus]) -> Iterator[Family]:
    """What cannot be read has no other sample than that."""

    def samples(value: Callable[[Mapping[str, Any]], float | None]) -> Iterator[Sample]:
        for host in hosts:
            for entry in host.entries("watches"):
                told = value(entry)
                if told is not None:
                    yield _labels(host, watch=entry["name"]), told

    def time_of(what: str) -> Callable[[Mapping[str, Any]], float | None]:
        return lambda entry: (entry.get(what) or {}).get("time")

    for name, about, value in (
        (
            "watch_readable",
            "Whether movies and output could be looked at (1) or not (0).",
            lambda entry: float(not entry["problem"]),
        ),
        (
            "watch_lag_seconds",
            "Age of the oldest movie that came after the last processed one.",
            lambda entry: entry.get("lag"),
        ),
        (
            "watch_limit_seconds",
            "The lag that the site allows.",
            lambda entry: float(entry["limit"]),
        ),
        (
            "watch_movies_waiting",
            "Movies that came after the last processed one.",
            lambda entry: None if entry["problem"] else float(entry["waiting"]),
        ),
        (
            "watch_movies_skipped",
            "Movies without output that are older than the last processed one.",
            lambda entry: None if entry["problem"] else float(entry["skipped"]),
        ),
        (
            "watch_newest_movie_time_seconds",
            "When the newest movie was written, in seconds since 1970.",
            time_of("raw"),
        ),
        (
            "watch_newest_output_time_seconds",
            "When the output of the last processed movie was written, in seconds since 1970.",
            time_of("output"),
        ),
    ):
        yield family(name, about, samples(value))


def _drift(hosts: list[HostStatus]) -> Iterator[Sample]:
    """Zeros too: an alert must see the value fall back."""
    for host in hosts:
        entries = host.entries("drift")
        components = dict.fromkeys(entry["set"] for entry in host.entries("sets"))
        for component in components:
            for kind in ("changed", "missing", "attributes", "replaced", "unreadable"):
                count = sum(e["component"] == component and e["kind"] == kind for e in entries)
                yield _labels(host, component=component, kind=kind), float(count)


def _of(host: HostStatus, *, value: bool) -> Sample:
    return _labels(host), float(value)


def _labels(host: HostStatus, **more: str) -> Labels:
    return (("host", host.host), *more.items())


def _service(host: HostStatus, entry: object) -> Labels:
    assert isinstance(entry, dict)
    where = f"{entry['host']}:{entry['port']}"
    return _labels(host, component=entry["component"], kind=entry["kind"], endpoint=where)


def _escaped(text_: str, *, quote: bool = True) -> str:
    escaped = text_.replace("\\", "\\\\").replace("\n", "\\n")
    return escaped.replace('"', '\\"') if quote else escaped


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
