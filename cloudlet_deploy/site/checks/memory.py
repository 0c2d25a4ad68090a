"""Whether Java's heaps fit into the memory that the site says a host has."""

from __future__ import annotations

from collections.abc import Iterator

from cloudlet_deploy.site.faults import Fault, Severity, Subject, at, fault
from cloudlet_deploy.site.model import Host, Value

_HEAP, _MEMORY = "Java heap in MB", "memory in MB"
#: What a Java machine takes beside heap, direct memory and stacks (measured: about 300 MB).
_BESIDE_MB = 300


def heaps(subject: Subject) -> Iterator[Fault]:
    """Heaps that do not fit, and those that fit only while little direct memory is used."""
    for host in subject.targets:
        found = heaps_of(subject, host)
        memory = memory_of(subject, host)
        if not found or memory is None:
            continue
        total = sum(size for _, size in found)
        declared = f"the {memory[1]} MB of memory that {memory[0].name} declares"
        largest = max(found, key=lambda one: one[1])[0]
        if total >= memory[1]:
            yield fault(
                f"a heap of {total} MB does not fit into {declared}",
                "Make it smaller: less than half leaves room for direct memory too.",
                at(host, largest),
                host=host,
                variable=largest.name,
            )
        elif 2 * total + _BESIDE_MB > memory[1]:
            yield fault(
                f"heap and direct memory may grow to {2 * total + _BESIDE_MB} MB,"
                f" more than {declared}",
                f"Make it {max((memory[1] - _BESIDE_MB) // 2, 0)} or less to be safe.",
                at(host, largest),
                host=host,
                variable=largest.name,
                severity=Severity.WARNING,
            )


def heaps_of(subject: Subject, host: Host) -> list[tuple[Value, int]]:
    """The heaps of ``host`` in MB."""
    return list(_numbers(subject, host, _HEAP))


def memory_of(subject: Subject, host: Host) -> tuple[Value, int] | None:
    """The memory of ``host`` in MB; None if the site does not say."""
    return next((one for one in _numbers(subject, host, _MEMORY) if one[1] > 0), None)


def _numbers(subject: Subject, host: Host, form: str) -> Iterator[tuple[Value, int]]:
    for _, value, found in subject.of_form(host, form):
        if not isinstance(found, bool) and str(found).isdigit():
            yield value, int(str(found))
