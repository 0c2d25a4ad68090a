"""Kernel settings on processes, memory maps and open files: they follow what runs on the host."""

from __future__ import annotations

from collections.abc import Iterator

from cloudlet_deploy.tuning import door, transfer
from cloudlet_deploy.tuning.case import Case
from cloudlet_deploy.tuning.kernel import MOST, had, sysctl_rule
from cloudlet_deploy.tuning.rule import Draft, as_int

PID_LEAST, PID_MOST = 65_536, 4_194_304
#: What the kernel comes with, which no process can exceed either.
NR_OPEN, MAPS_LEAST = 1_048_576, 65_530
#: Ends of the range of fs.nr_open.
NR_OPEN_MOST = MOST - 63

PID_MAX = sysctl_rule(
    "kernel_pid_max",
    "kernel.pid_max",
    "processes and threads of the host",
    f"max(had, min({PID_MOST}, max({PID_LEAST}, 4 x tasks)))",
    "kernel",
    harm="services then cannot start their threads",
)
MAPS = sysctl_rule(
    "kernel_max_map_count",
    "vm.max_map_count",
    "memory maps of one process",
    f"max(had, {MAPS_LEAST}, 4 x T + 10000)",
    "kernel; about 2 maps a thread (unverified)",
    harm="the door then cannot start its threads",
)
FILES = sysctl_rule(
    "kernel_nr_open",
    "fs.nr_open",
    "open files that a process may be allowed",
    "max(had, nofile)",
    "kernel",
    harm="systemd then cannot give the service its open files",
)


def door_threads(case: Case, clients: int) -> int:
    """T on a door, and 0 elsewhere."""
    return door.threads_allowed(case, clients) if case.is_door else 0


def tasks(case: Case, clients: int) -> int:
    """Processes and threads that our services have in use."""
    found = door_threads(case, clients)
    if case.is_transfer:
        found += transfer.tasks_each(case) * transfer.sessions_allowed(case, clients)
    return found


def pid_max(case: Case, clients: int) -> int:
    least = min(PID_MOST, max(PID_LEAST, 4 * tasks(case, clients)))
    return min(PID_MOST, max(had(case, PID_MAX.variable), least))


def maps(case: Case, clients: int) -> int:
    least = max(MAPS_LEAST, 4 * door_threads(case, clients) + 10_000)
    return max(had(case, MAPS.variable), least)


def maps_needed(threads: int) -> int:
    """Maps without which so many threads do not start, by two for each."""
    return 2 * threads + 10_000


def files_wanted(case: Case, clients: int) -> int:
    """The most open files that a service of the host is given, pins among them."""
    found = []
    if case.is_door:
        found.append(case.pinned(door.NOFILE.variable) or door.nofile(case, clients))
    if case.is_transfer:
        found.append(case.pinned(transfer.NOFILE.variable) or transfer.nofile(case))
    return max(found, default=0)


def drafts(case: Case, clients: int) -> Iterator[Draft]:
    """The settings of a host for ``clients`` of the site."""
    wanted, present = files_wanted(case, clients), as_int(case.seen(FILES.variable).effective)
    before = had(case, FILES.variable)
    if wanted > (NR_OPEN if present is None else min(present, NR_OPEN)):
        yield FILES.draft(
            min(NR_OPEN_MOST, max(before, wanted)), "No service can be given more open files.",
            nofile=wanted, had=before,
        )  # fmt: skip
    before, used = had(case, PID_MAX.variable), tasks(case, clients)
    why = "Each thread takes a number; others on the host need some too."
    yield PID_MAX.draft(pid_max(case, clients), why, tasks=used, had=before)
    before, threads = had(case, MAPS.variable), door_threads(case, clients)
    why = "Each thread takes maps, and does not start without them."
    yield MAPS.draft(maps(case, clients), why, T=threads, had=before)
