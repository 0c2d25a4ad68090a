"""What hops and mounts of a cloudlet carry, and whether that is what the site demands. Pure.

A rate of the network is in Mb/s, one of a file system in MB/s, both by powers of ten.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from cloudlet_deploy.errors import ExitCode, InvalidSiteError
from cloudlet_deploy.site.model import Site
from cloudlet_deploy.smoke.verdict import Finding
from cloudlet_deploy.smoke.words import clean, megabits, megabytes

SCHEMA = 1
#: Groups whose hosts have mounts.
MOUNTING = ("cloudlet", "data_hop")
#: Bytes below which a rate says little.
_LEAST_BYTES = 64 << 20


@dataclass(frozen=True)
class Hop:
    """A way of the data. ``least`` and ``most`` are in Mb/s; 0 demands nothing."""

    name: str
    source: str
    target: str
    address: str = ""
    streams: int = 1
    least: float = 0
    most: float = 0


@dataclass(frozen=True)
class Demand:
    """What is demanded of the mounts of a name, in MB/s; None leaves it to the kind of mount."""

    name: str
    least_read: float | None = None
    least_write: float = 0


@dataclass(frozen=True)
class Wanted:
    """All that is to be measured; ``mounts`` are hosts whose mounts are."""

    hops: tuple[Hop, ...]
    mounts: tuple[str, ...]
    demands: tuple[Demand, ...]
    #: MB/s of a share that no demand is for.
    share_least_read: float
    port: int
    seconds: int
    mib: int

    @property
    def ends(self) -> tuple[str, ...]:
        """The hosts of all hops, each once."""
        return tuple(dict.fromkeys(end for hop in self.hops for end in (hop.source, hop.target)))

    @property
    def hosts(self) -> tuple[str, ...]:
        """All hosts, each once."""
        return tuple(dict.fromkeys((*self.ends, *self.mounts)))


@dataclass(frozen=True)
class Rate:
    """So much in so long."""

    bytes: int
    seconds: float

    @property
    def mb(self) -> float:
        """MB/s."""
        return self.bytes / 1e6 / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class HopSeen:
    """A hop as it was measured, or why it was not."""

    hop: Hop
    mbit: float | None = None
    retransmits: int | None = None
    problem: str = ""


@dataclass(frozen=True)
class MountSeen:
    """A mount as it was measured, or why it was not. ``left`` is a file that is still there."""

    host: str
    name: str
    kind: str
    where: str
    read: Rate | None = None
    write: Rate | None = None
    problem: str = ""
    left: str = ""


@dataclass(frozen=True)
class Measurement:
    """One test of a site. ``took`` is in seconds, ``began`` in seconds since 1970."""

    run_id: str
    site: str
    began: float
    took: float
    wanted: Wanted
    hops: tuple[HopSeen, ...]
    mounts: tuple[MountSeen, ...]
    #: Hosts that could not be measured, and why.
    lost: Mapping[str, str] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def wanted(site: Site, settings: Mapping[str, Any]) -> Wanted:
    """What the site says (the role ``smoke``). Raises InvalidSiteError for what cannot be."""
    hops = tuple(_hop(one, site) for one in settings["hops"])
    demands = tuple(
        Demand(one["name"], one.get("least_read"), one.get("least_write") or 0)
        for one in settings["mounts"]
    )
    for variable, named in (("smoke_hops", hops), ("smoke_mounts", demands)):
        names = [one.name for one in named]
        for name in names:
            if names.count(name) > 1:
                raise InvalidSiteError(
                    f"{variable} has the name {name} twice.", next_step="Name each once."
                )
    chosen = set(site.targets)
    return Wanted(
        # With --limit only what lies within it.
        hops=tuple(hop for hop in hops if {hop.source, hop.target} <= chosen),
        mounts=tuple(name for name in site.targets if set(site.hosts[name].groups) & set(MOUNTING)),
        demands=demands,
        share_least_read=float(settings["share_least_read"]),
        port=int(settings["hop_port"]),
        seconds=int(settings["transfer_seconds"]),
        mib=int(settings["transfer_mib"]),
    )


def _hop(one: Mapping[str, Any], site: Site) -> Hop:
    for key in ("from", "to"):
        if one[key] not in site.hosts:
            raise InvalidSiteError(
                f"smoke_hops has in {one['name']} the host {one[key]} ({key}), which is not in "
                "the inventory.",
                next_step="Write its name there, or take it into the inventory.",
            )
    if one["from"] == one["to"]:
        raise InvalidSiteError(
            f"smoke_hops has in {one['name']} the same host at both ends.",
            next_step="Name the two hosts that the data go between.",
        )
    return Hop(
        name=one["name"],
        source=one["from"],
        target=one["to"],
        address=one.get("address") or "",
        streams=one.get("streams") or 1,
        least=one.get("least_mbit") or 0,
        most=one.get("most_mbit") or 0,
    )


# --- what the hosts reported --------------------------------------------------------------

Reports = Iterable[tuple[str, Mapping[str, Any]]]


def hops_seen(asked: Wanted, reports: Reports, lost: Mapping[str, str]) -> tuple[HopSeen, ...]:
    """Each hop with what its two ends reported."""
    told = {(report["hop"], report["state"]): report for _, report in reports if "hop" in report}
    return tuple(_hop_seen(hop, told, lost, asked.port) for hop in asked.hops)


def _hop_seen(
    hop: Hop,
    told: Mapping[tuple[str, str], Mapping[str, Any]],
    lost: Mapping[str, str],
    port: int,
) -> HopSeen:
    for end in (hop.target, hop.source):
        if end in lost:
            return HopSeen(hop, problem=f"{end}: {lost[end]}")
    serving, asked = told.get((hop.name, "serving"), {}), told.get((hop.name, "asked"), {})
    if problem := serving.get("problem"):
        return HopSeen(hop, problem=f"{hop.target}: {problem}")
    if problem := asked.get("problem"):
        through = f"Let {hop.source} through to port {port} of {hop.target} (smoke_hop_port)."
        return HopSeen(hop, problem=f"{hop.source}: {problem}. {through}")
    if "mbit" not in asked:
        return HopSeen(hop, problem="nothing was reported")
    return HopSeen(hop, asked["mbit"], asked.get("retransmits"))


def mounts_seen(reports: Reports) -> tuple[MountSeen, ...]:
    """Each mount that a host reported."""
    return tuple(
        MountSeen(
            host=host,
            name=report["mount"],
            kind=report["kind"],
            where=report["where"],
            read=report["read"] and Rate(**report["read"]),
            write=report["write"] and Rate(**report["write"]),
            problem=report["problem"],
            left=report["left"],
        )
        for host, report in reports
        if "mount" in report
    )


# --- the verdict --------------------------------------------------------------------------


def judge(seen: Measurement) -> tuple[Finding, ...]:
    """One finding a demand, and one for each that could not be measured."""
    return tuple(_judged(seen))


def exit_code(findings: tuple[Finding, ...]) -> ExitCode:
    """0 if all holds, else 5, as of the scaling test."""
    return ExitCode.DONE if all(one.held for one in findings) else ExitCode.CHECK_FAILED


def _judged(seen: Measurement) -> Iterator[Finding]:
    if not seen.hops and not seen.mounts and not seen.lost:
        words = "Name hops in smoke_hops, or mounts in data_mounts_cifs or data_mounts_sshfs."
        yield Finding("whole", "a hop or a mount", "none", False, words)
    for hop in seen.hops:
        yield from _of_hop(hop)
    for host in seen.wanted.mounts:
        if host in seen.lost:
            yield Finding(f"mounts on {host}", "rates", "none", False, f"{seen.lost[host]}")
    demands = {one.name: one for one in seen.wanted.demands}
    for mount in seen.mounts:
        yield from _of_mount(mount, demands.get(mount.name), seen.wanted)
    known = {mount.name for mount in seen.mounts}
    for name in demands if not seen.lost else ():
        if name not in known:
            words = "smoke_mounts names it, and no host that was looked at has it in data_mounts."
            yield Finding(name, "a mount of this name", "none", False, words)


def _of_hop(seen: HopSeen) -> Iterator[Finding]:
    hop = seen.hop
    name = f"hop {hop.name}"
    asked = [f"at least {megabits(hop.least)}"] if hop.least else []
    asked += [f"at most {megabits(hop.most)}"] if hop.most else []
    if seen.mbit is None:
        yield Finding(name, " and ".join(asked) or "a rate", "none", False, _sentence(seen.problem))
    elif asked:
        held = seen.mbit >= hop.least and (not hop.most or seen.mbit <= hop.most)
        words = f"From {hop.source} to {hop.target}."
        yield Finding(name, " and ".join(asked), megabits(seen.mbit), held, words)


def _of_mount(mount: MountSeen, demand: Demand | None, asked: Wanted) -> Iterator[Finding]:
    name = f"{mount.name} on {mount.host}"
    where = f"{mount.where} ({mount.kind})."
    if mount.problem:
        left = f" {mount.left} may be left there." if mount.left else ""
        step = "Look at that mount ('cloudlet-deploy status') and at its server."
        words = f"{where[:-1]}: {_sentence(mount.problem)}{left} {step}"
        yield Finding(f"mount {name}", "a rate", "none", False, words)
        return
    least_read = demand.least_read if demand else None
    if least_read is None:
        least_read = asked.share_least_read if mount.kind == "cifs" else 0
    least_write = demand.least_write if demand else 0
    for title, least, rate in (
        ("reading", least_read, mount.read),
        ("writing", least_write, mount.write),
    ):
        if least and rate is None:
            words = f"{where} It is mounted read-only."
            yield Finding(f"{title} {name}", f"at least {megabytes(least)}", "none", False, words)
        elif least and rate is not None:
            # Of what is written there is as much as time allows.
            few = rate.bytes < _LEAST_BYTES and mount.write is None and rate.seconds < asked.seconds
            short = f" Only {rate.bytes / 1e6:.1f} MB were there for it." if few else ""
            held = rate.mb >= least
            words = f"{where}{short}"
            yield Finding(
                f"{title} {name}", f"at least {megabytes(least)}", megabytes(rate.mb), held, words
            )


def _sentence(problem: str) -> str:
    said = clean(problem.strip(), 300) or "no reason was given"
    return said if said[-1] in ".!" else f"{said}."


# --- documents ----------------------------------------------------------------------------


def dumps(seen: Measurement) -> str:
    """The JSON text, with what was demanded and what came of it; ASCII."""
    findings = [vars(one) for one in judge(seen)]
    document = {"schema": SCHEMA, "measurement": asdict(seen), "findings": findings}
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def csv_text(seen: Measurement) -> str:
    """A row for each rate: Mb/s of hops, MB/s of mounts. Empty where there is none."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(("what", "name", "from", "to", "rate", "unit", "bytes", "seconds", "problem"))
    for hop in seen.hops:
        ends = (hop.hop.source, hop.hop.target)
        writer.writerow(("hop", hop.hop.name, *ends, hop.mbit, "Mb/s", "", "", hop.problem))
    for mount in seen.mounts:
        for what, rate in (("read", mount.read), ("write", mount.write)):
            ends = (mount.where, mount.host) if what == "read" else (mount.host, mount.where)
            row = (round(rate.mb, 3), "MB/s", rate.bytes, rate.seconds) if rate else ("",) * 4
            if rate or mount.problem:
                writer.writerow((what, mount.name, *ends, *row, mount.problem))
    return stream.getvalue()
