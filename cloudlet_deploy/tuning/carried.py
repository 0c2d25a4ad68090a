"""Solving backwards: for how many clients a host has room, and which resource ends first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cloudlet_deploy.tuning import door, hdfs, kernel_limits, transfer
from cloudlet_deploy.tuning.case import Case
from cloudlet_deploy.tuning.rule import as_int, whole

#: MB for the system and for Java beside heap and stacks.
SYSTEM_MB = 1024


@dataclass(frozen=True)
class Bound:
    """What a number of clients needs of one resource of a host, and what is there of it."""

    resource: str
    needed: int
    available: int
    unit: str
    #: What the sum is made of.
    made_of: str = ""
    #: What else is to be said of what is there.
    remark: str = ""

    @property
    def holds(self) -> bool:
        return self.needed <= self.available

    def told(self) -> str:
        """Both numbers in words."""
        needed = f"{self.needed} {self.unit}" + (f" ({self.made_of})" if self.made_of else "")
        return f"needs {needed} and has {self.available} {self.unit}{self.remark}"


@dataclass(frozen=True)
class Carried:
    """``clients`` of the site for which a host has room, and the first bound against more."""

    clients: int
    against: Bound | None = None


def solve(case: Case) -> Carried:
    """The most clients, up to those asked for, for which every bound holds.

    No bound needs less for more clients, so one can halve the way.
    """
    asked = case.load.clients
    if _fits(case, asked):
        return Carried(asked)
    fits, fails = 0, asked
    while fails - fits > 1:
        middle = (fits + fails) // 2
        fits, fails = (middle, fails) if _fits(case, middle) else (fits, middle)
    first = next(i for i, bound in enumerate(bounds(case, fails)) if not bound.holds)
    return Carried(fits, tuple(bounds(case, asked))[first])


def sentence(case: Case, carried: Carried) -> str:
    """Why a host carries fewer clients than asked for; empty if it does not."""
    bound, asked = carried.against, case.load.clients
    if bound is None:
        return ""
    if carried.clients == 0:
        one = next(b for b in bounds(case, 1) if not b.holds)
        return (
            f"Not even 1 client fits, for want of {one.resource}: this host {one.told()}; "
            "the settings are those for 1 client."
        )
    several = case.is_door and case.shape.doors > 1
    share = f" ({case.per_door(asked)} at each door)" if several else ""
    return (
        f"The limit is {bound.resource}: for {asked} clients{share} this host {bound.told()}, "
        f"which is enough for {carried.clients}."
    )


def _fits(case: Case, clients: int) -> bool:
    return all(bound.holds for bound in bounds(case, clients))


def bounds(case: Case, clients: int) -> Iterator[Bound]:
    """Everything that may end, for ``clients`` of the site."""
    if case.is_door or case.is_transfer:
        yield from _memory(case, clients)
    if case.is_door:
        yield from _door(case, clients)
    if case.is_transfer:
        needed = transfer.ports_needed(transfer.sessions_needed(case, clients))
        yield Bound("data ports", needed, transfer.ports_most(case), "ports")
    yield from _barred(case, clients)


def _memory(case: Case, clients: int) -> Iterator[Bound]:
    """The sum of what door, mount and sessions take, beside what is reserved for others."""
    reading = case.reading
    free = reading.memory_mb - reading.reserved_mb
    remark = f", beside {reading.reserved_mb} MB for other services" * (reading.reserved_mb > 0)
    mount = hdfs.mount_mb(case, clients)
    sessions = transfer.sessions_needed(case, clients) if case.is_transfer else 0
    mounted = f" + mount {mount}" if mount else ""
    if case.is_transfer:
        each = transfer.planned_mb(case)
        made_of = f"{sessions} sessions of {each} MB{mounted}"
        yield Bound("RAM", sessions * each + mount, free, "MB", made_of, remark)
    if case.is_door:
        heap, stacks = door.heap_needed_mb(case, clients), door.stacks_mb(case, clients)
        made_of = f"heap {heap} + {door.threads(case, clients)} stacks {stacks}"
        made_of += f" + system {SYSTEM_MB}{mounted}"
        taken = 0
        if case.is_transfer:
            taken = whole(sessions * transfer.measured_mb(case))
            made_of += f" + {sessions} sessions {taken}"
        needed = heap + stacks + SYSTEM_MB + mount + taken
        yield Bound("RAM", needed, free, "MB", made_of, remark)


def _door(case: Case, clients: int) -> Iterator[Bound]:
    hard = case.reading.nofile_hard
    if hard is not None:
        yield Bound("open files", door.nofile_needed(case, clients), hard, "open files")
    queue = 2 * case.per_door(clients)
    yield Bound("accept queue", queue, door.QUEUE_MOST, "places in the queue")
    yield Bound("threads", door.threads(case, clients), door.THREADS_MOST, "threads")
    yield Bound("Java heap", door.heap_needed_mb(case, clients), door.HEAP_MOST_MB, "MB")


def _barred(case: Case, clients: int) -> Iterator[Bound]:
    """Ceilings of the host that cannot be raised there."""
    sessions = transfer.sessions_needed(case, clients) if case.is_transfer else 0
    threads = door.threads(case, clients) if case.is_door else 0
    used = threads + transfer.tasks_each(case) * sessions
    found = [(kernel_limits.PID_MAX.variable, "process numbers", used, "processes and threads")]
    if case.is_door:
        maps = kernel_limits.maps_needed(threads)
        found.append((kernel_limits.MAPS.variable, "memory maps", maps, "memory maps"))
        found.append((door.TASKS.variable, "tasks", threads, "threads"))
    for variable, resource, needed, unit in found:
        seen = case.seen(variable)
        most = as_int(seen.effective)
        if not seen.settable and most is not None:
            remark = f", and {variable} cannot be raised there"
            yield Bound(resource, needed, most, unit, remark=remark)
