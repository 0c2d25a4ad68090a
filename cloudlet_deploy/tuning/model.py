"""The model: what a host should have for a load, and for how many clients it has room."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cloudlet_deploy.tuning import carried, cautions, door, hdfs, kernel, kernel_limits, transfer
from cloudlet_deploy.tuning.case import Case
from cloudlet_deploy.tuning.pins import settle
from cloudlet_deploy.tuning.rule import Draft, Rule
from cloudlet_deploy.tuning.types import Advice, HostReading, Load, Pin, Shape

#: Rises when the same reading and load give other values than before.
MODEL_VERSION = 1

HEADROOM_MOST = 10

#: Every setting that the model knows, in the order in which they are shown.
RULES: tuple[Rule, ...] = (
    *(door.HEAP, door.STACK, door.THREADS, door.THREADS_MIN, door.THREADS_IDLE),
    *(door.ACCEPTORS, door.QUEUE, door.FS_CONCURRENCY, door.EVENT_LOG, door.NOFILE, door.TASKS),
    *(transfer.SESSIONS, transfer.PORTS, transfer.NOFILE, transfer.TASKS),
    *(hdfs.NAME_HANDLERS, hdfs.BACKLOG, hdfs.DATA_HANDLERS, hdfs.TRANSFER_THREADS),
    hdfs.MOUNT_HEAP,
    *(kernel.SOMAXCONN, kernel.SYN_BACKLOG, kernel.ABORT, kernel.NETDEV, *kernel.BUFFERS),
    *(kernel.QDISC, kernel.CONNTRACK),
    *(kernel_limits.FILES, kernel_limits.PID_MAX, kernel_limits.MAPS),
)


def advise(reading: HostReading, load: Load, shape: Shape, pins: Mapping[str, Pin]) -> Advice:
    """What ``reading.host`` should have for its part of ``load``, which is the whole site's.

    ``pins`` are values that the inventory gives by another hand, by variable: each wins and is
    judged. If the host has not room for the load, the settings are those for the clients that it
    has room for, or for 1 if it has not even room for that.

    Raises ValueError for a load or shape that is none: fewer than 1 client, entry, door or
    transfer server, or a headroom that is not within 1 to 10.
    """
    _refuse(load, shape)
    case = Case(reading, load, shape, pins)
    found = carried.solve(case)
    clients = max(1, found.clients)
    settings = settle(case, _drafts(case, clients), clients)
    by_variable = {one.variable: one for one in settings}
    return Advice(
        host=reading.host,
        asked=load.clients,
        carried=found.clients,
        settings=settings,
        binding=found.against.resource if found.against else "",
        limit=carried.sentence(case, found),
        warnings=tuple(cautions.cautions(case, by_variable, clients)),
    )


def _drafts(case: Case, clients: int) -> Iterator[Draft]:
    if case.is_door:
        yield from door.drafts(case, clients)
    if case.is_transfer:
        yield from transfer.drafts(case, clients)
    yield from hdfs.drafts(case, clients)
    yield from kernel.drafts(case, clients)
    yield from kernel_limits.drafts(case, clients)


def _refuse(load: Load, shape: Shape) -> None:
    numbers = {
        "clients": load.clients,
        "entries": load.entries,
        "doors": shape.doors,
        "transfer servers": shape.transfer_servers,
    }
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name}: {number} is fewer than 1")
    if not 1 <= load.headroom <= HEADROOM_MOST:  # false for NaN, too
        raise ValueError(f"headroom: {load.headroom} is not within 1 to {HEADROOM_MOST}")
