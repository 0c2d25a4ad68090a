"""Ports: ranges that are none, and services of one host that want the same."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from cloudlet_deploy.site.faults import Fault, Severity, Subject, at, fault, short
from cloudlet_deploy.site.model import Host, Source, Value

_PORT, _RANGE = "listening port", "listening port range"
_TEN = "first of ten listening ports"
#: Ports below belong to root; data channels are opened by the mapped account.
_LOWEST, _HIGHEST = 1024, 65535
_WRITTEN = re.compile(r"(\d{1,9}),(\d{1,9})")
_ALMOST = re.compile(r"\D*(\d{1,9})\D+(\d{1,9})\D*")
_SSH = 22


@dataclass(frozen=True)
class _Listener:
    """What listens on the ports ``low`` to ``high``; of those of transfers some may be taken."""

    value: Value
    low: int
    high: int
    of_transfers: bool = False

    @property
    def is_range(self) -> bool:
        return self.low != self.high

    def __str__(self) -> str:
        ports = f"{self.low},{self.high}" if self.is_range else f"{self.low}"
        return f"{self.value.name} ({ports})"


def malformed_ranges(subject: Subject) -> Iterator[Fault]:
    """Ranges that are not FIRST,LAST, are reversed or hold ports that cannot be used."""
    for host in subject.targets:
        for option, value, found in subject.of_form(host, _RANGE):
            if not isinstance(found, str | int) or (found == "" and option.default == ""):
                continue
            if problem := _problem(str(found)):
                message, next_step = problem
                yield fault(
                    message,
                    next_step,
                    at(host, value),
                    host=host,
                    variable=value.name,
                    value=short(found) if message.startswith("must") and not value.secret else None,
                )


def _problem(text: str) -> tuple[str, str] | None:
    match = _WRITTEN.fullmatch(text)
    if not match:
        near = _ALMOST.fullmatch(text)
        numbers = sorted(map(int, near.groups())) if near else [50000, 51000]
        return "must be FIRST,LAST", f"Write it like {numbers[0]},{numbers[1]}."
    low, high = map(int, match.groups())
    if low > high:
        return "begins above its end", f"Write {high},{low}."
    if low < _LOWEST or high > _HIGHEST:
        step = "Data channels are opened by the mapped account, which may use no port below."
        return f"must be within {_LOWEST} to {_HIGHEST}", step
    return None


def clashes(subject: Subject) -> Iterator[Fault]:
    """Services of one host that want the same port."""
    for host in subject.targets:
        listeners = list(_listeners(subject, host))
        for one in listeners:
            if one.low <= _SSH <= one.high:
                yield _at(host, one, "is the port of ssh", "Choose another.", Severity.WARNING)
        for one, other in itertools.combinations(listeners, 2):
            if one.low <= other.high and other.low <= one.high:
                yield _clash(host, one, other)


def _clash(host: Host, one: _Listener, other: _Listener) -> Fault:
    # Point at what the site sets rather than at a default of a role.
    if one.value.source is not Source.DEFAULT and other.value.source is Source.DEFAULT:
        one, other = other, one
    if one.is_range and other.is_range:
        message = f"shares ports with {one}"
        if one.of_transfers and other.of_transfers:
            message += ": transfers may run out of them"
            return _at(host, other, message, "Give each its own range.", Severity.WARNING)
        return _at(host, other, message, "Give each its own range.", Severity.ERROR)
    word = "lies in" if one.is_range else "holds" if other.is_range else "is the port of"
    message = f"{word} {one} on the same host"
    return _at(host, other, message, "Give each its own ports.", Severity.ERROR)


def _at(host: Host, one: _Listener, message: str, next_step: str, severity: Severity) -> Fault:
    return fault(
        message,
        next_step,
        at(host, one.value),
        host=host,
        variable=one.value.name,
        severity=severity,
    )


def _listeners(subject: Subject, host: Host) -> Iterator[_Listener]:
    for option, value, found in subject.of_form(host, _PORT, _TEN, _RANGE):
        if isinstance(found, bool) or not isinstance(found, str | int):
            continue
        if option.form == _PORT and str(found).isdigit():
            yield _Listener(value, int(found), int(found))
        elif option.form == _TEN and str(found).isdigit():
            yield _Listener(value, int(found), int(found) + 9)
        elif option.form == _RANGE and _problem(str(found)) is None:
            low, high = map(int, str(found).split(","))
            yield _Listener(value, low, high, of_transfers=True)
