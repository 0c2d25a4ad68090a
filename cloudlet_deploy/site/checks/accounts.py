"""The gridmap and the accounts it maps to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cloudlet_deploy.site.checks import forms
from cloudlet_deploy.site.faults import Fault, Severity, Subject, at, fault, is_known, shown
from cloudlet_deploy.site.model import Host, Place, Value

_GRIDMAP, _ACCOUNTS = "grid_trust_gridmap", "grid_trust_accounts"


@dataclass(frozen=True)
class _Entries:
    """The well-formed entries of a list, with their places in it."""

    host: Host
    value: Value
    indexes: tuple[int, ...]
    entries: tuple[dict[str, object], ...]

    def fault(
        self, at_entry: int, key: str, message: str, next_step: str, severity: Severity
    ) -> Fault:
        place: Place = (self.indexes[at_entry], key)
        return fault(
            message,
            next_step,
            at(self.host, self.value, place),
            host=self.host,
            variable=shown(self.value.name, place),
            severity=severity,
        )

    def line(self, at_entry: int) -> str:
        """Where an entry stands, for the other one's message."""
        return str(at(self.host, self.value, (self.indexes[at_entry],)).line or "")


def gridmap(subject: Subject) -> Iterator[Fault]:
    """Malformed names and accounts, and names that stand twice."""
    for found in _lists(subject, _GRIDMAP, ("dn", "account")):
        for index, key, problem, next_step in forms.names().gridmap_problems(found.entries):
            yield found.fault(index, key, problem, next_step, Severity.ERROR)
        seen: dict[tuple[object, object], int] = {}
        for index, entry in enumerate(found.entries):
            first = seen.setdefault((entry["dn"], entry["account"]), index)
            if first != index:
                message = f"{entry['dn']} stands in line {found.line(first)} already"
                yield found.fault(index, "dn", message, "Remove one.", Severity.WARNING)


def duplicate_accounts(subject: Subject) -> Iterator[Fault]:
    """Accounts with the same name or number."""
    for found in _lists(subject, _ACCOUNTS, ("name", "uid")):
        for key in ("name", "uid"):
            seen: dict[str, int] = {}
            for index, entry in enumerate(found.entries):
                first = seen.setdefault(str(entry[key]), index)
                if first != index:
                    other = found.entries[first]["name"]
                    message = f"{other} in line {found.line(first)} has the {key} {entry[key]} too"
                    yield found.fault(index, key, message, "Change one.", Severity.ERROR)


def _lists(subject: Subject, name: str, keys: tuple[str, ...]) -> Iterator[_Entries]:
    """``name`` of each host, without the entries that lack one of ``keys`` or are unknown."""
    for host in subject.targets:
        value = host.effective(name) if name in {o.name for o in subject.wanted(host)} else None
        if value is None or not isinstance(value.value, list):
            continue
        good = {
            index: entry
            for index, entry in enumerate(value.value)
            if isinstance(entry, dict)
            and all(isinstance(entry.get(key), str | int) for key in keys)
            and is_known(entry)
        }
        yield _Entries(host, value, tuple(good), tuple(good.values()))
