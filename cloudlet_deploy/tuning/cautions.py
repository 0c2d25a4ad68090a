"""What an administrator should know beside the numbers, one sentence each, with what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cloudlet_deploy.tuning import door, kernel
from cloudlet_deploy.tuning.case import Case
from cloudlet_deploy.tuning.rule import as_int
from cloudlet_deploy.tuning.types import Setting

#: From the paper: where the Globus container hangs, and entries that a directory should not exceed.
GLOBUS_MOST, ENTRIES_MOST = 2500, 1000
#: Servers up to which the paper wants their load probed.
PROBED_MOST = 10
#: Major version of Java below which nothing was ever measured or documented.
JAVA_LEAST = 8


def cautions(case: Case, settings: Mapping[str, Setting], clients: int) -> Iterator[str]:
    """The warnings for a host; ``clients`` are those that its settings are for."""
    if case.is_door:
        yield from _door(case)
        yield from _memory(case, settings)
        yield from _java(case)
    yield from _kernel(case, settings, clients)


def _door(case: Case) -> Iterator[str]:
    asked = case.per_door(case.load.clients)
    if case.is_globus and asked > GLOBUS_MOST:
        yield (
            f"Beyond {GLOBUS_MOST} clients the Globus container hangs and does not recover until "
            f"it is restarted: use the Jetty flavour or more doors than give {asked} to each."
        )
    if case.load.entries > ENTRIES_MOST:
        yield (
            f"Directories of more than {ENTRIES_MOST} entries make listings slow and large: spread "
            f"the {case.load.entries} entries over several directories."
        )
    if case.shape.selection == "load_probe" and case.shape.transfer_servers > PROBED_MOST:
        yield (
            f"Probing the load of {case.shape.transfer_servers} transfer servers costs more than "
            "it gains: set bestman_transfer_selection to round_robin."
        )
    if case.shape.mapping == "gums" and asked > door.UNTUNED_CLIENTS:
        yield (
            f"GUMS may end before the door does at {asked} clients: set bestman_mapping to "
            "gridmap, or try it with a load test first."
        )


def _memory(case: Case, settings: Mapping[str, Setting]) -> Iterator[str]:
    heap = as_int(settings[door.HEAP.variable].wanted)
    free = case.reading.memory_mb - case.reading.reserved_mb
    if heap is not None and free < 2 * heap:
        yield (
            f"Direct memory may grow as large as the heap of {heap} MB, and both do not fit into "
            f"{free} MB: watch the door's memory, or add {2 * heap - free} MB."
        )


def _java(case: Case) -> Iterator[str]:
    version = case.reading.java_version
    if version is None:
        yield (
            "The version of Java is not known, and limits were measured with Java 17: "
            "look with 'java -version' and verify once the door runs."
        )
    elif version < JAVA_LEAST:
        yield f"Java {version} is older than any that the door was tried with: install Java 17."


def _kernel(case: Case, settings: Mapping[str, Setting], clients: int) -> Iterator[str]:
    """A kernel that cuts queues, and others that cannot be raised."""
    barred = []
    for one in settings.values():
        now, needed = as_int(one.now), as_int(one.recommended)
        if one.component != "kernel" or one.settable or now is None or needed is None:
            continue
        if now < needed:
            barred.append(one.variable)
    where = "on the machine that runs this container" if case.reading.container else "by hand"
    somaxconn = kernel.SOMAXCONN.variable
    if somaxconn in barred:
        barred.remove(somaxconn)
        yield (
            f"net.core.somaxconn stays {kernel.somaxconn_in_force(case, clients)} and cuts the "
            f"queues of all services: raise it to {settings[somaxconn].recommended} {where}."
        )
    if barred:
        yield f"These cannot be raised from here, so do it {where}: {', '.join(barred)}."
