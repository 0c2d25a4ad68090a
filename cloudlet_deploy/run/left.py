"""Hosts that left the inventory with something of ours still on them, by the run records.

A record tells what a run changed; all records of a site together, the oldest first, tell what
a host holds. Records are kept for a limited number of runs, so this is no proof of absence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from cloudlet_deploy.run.events import Change
from cloudlet_deploy.run.record import Record

#: What brings a thing of each kind to a host, and what takes it away again.
_COMES = {"create", "install", "enable", "start", "set"}
_GOES = {"remove", "uninstall", "disable", "stop", "restore"}


@dataclass(frozen=True)
class LeftHost:
    """A host that the inventory knows no more. ``holds`` are kinds and names, as of ``run``."""

    host: str
    run: str
    time: str
    holds: tuple[tuple[str, str], ...]

    @property
    def counts(self) -> Mapping[str, int]:
        """How many things of each kind it holds."""
        return Counter(kind for kind, _ in self.holds)


def left_hosts(
    records: Iterable[Record], sources: Collection[str], known: Collection[str]
) -> tuple[LeftHost, ...]:
    """Hosts of runs on the inventory ``sources`` that are not ``known`` and still hold something.

    ``sources`` are absolute, as the records keep them.
    """
    wanted = set(sources)
    holds: dict[str, dict[tuple[str, str], None]] = {}
    last: dict[str, Record] = {}
    for record in sorted(records, key=lambda one: one.run_id):
        if record.phase != "change" or set(record.sources) != wanted:
            continue
        for part in record.components:
            if part.host not in known and part.changes:
                _replay(part.changes, holds.setdefault(part.host, {}))
                last[part.host] = record
    return tuple(
        LeftHost(host, last[host].run_id, last[host].started, tuple(held))
        for host, held in sorted(holds.items())
        if held
    )


def _replay(changes: Iterable[Change], held: dict[tuple[str, str], None]) -> None:
    for change in changes:
        key = (change.kind, change.name)
        if change.action in _COMES:
            held[key] = None
        elif change.action in _GOES:
            held.pop(key, None)
