"""Kernel settings of the network: queues of hosts that listen, buffers of hosts that transfer."""

from __future__ import annotations

from collections.abc import Iterator

from cloudlet_deploy.tuning.case import Case
from cloudlet_deploy.tuning.rule import Draft, Order, Rule, as_int, next_power_of_two
from cloudlet_deploy.tuning.verdict import left_alone

#: The most that the queue of a socket can have in every kernel, and that our services can ask for.
QUEUE_MOST = 65_535
#: The greatest number of the kernel's settings.
MOST = 2**31 - 1
#: Mbit/s from which an interface is a fast one; one whose speed is not known counts as 1 Gbit/s.
FAST, UNKNOWN_SPEED = 10_000, 1_000
_FILE = "in /etc/sysctl.d/90-cloudlet.conf, at once and at every boot"


def sysctl_rule(
    variable: str,
    name: str,
    title: str,
    formula: str,
    source: str,
    *,
    unit: str = "",
    harm: str = "",
) -> Rule:
    """The rule of one kernel variable, which a file of ours and ``sysctl`` set."""
    return Rule(
        *(variable, title, unit, formula, source),
        applied=f"{name} {_FILE}",
        verified=f"sysctl {name}",
        harm=harm,
    )


def had(case: Case, variable: str) -> int:
    """What the host had before the first tune, or has; 0 if that is not known.

    No setting is brought below that. After an earlier tune the present value is of its making, so
    the one before it counts.
    """
    seen = case.seen(variable)
    found = as_int(seen.before)
    if found is None:
        found = as_int(seen.effective)
    return min(MOST, max(0, found or 0))


SOMAXCONN = sysctl_rule(
    "kernel_somaxconn",
    "net.core.somaxconn",
    "longest queue of a listening socket",
    f"max(had, min({QUEUE_MOST}, next_power_of_two(max(5000, 2 x N))))",
    "kernel; scalability paper: 5000 to 10000",
    harm="it cuts the queues of all services",
)


def somaxconn(case: Case, clients: int) -> int:
    least = min(QUEUE_MOST, next_power_of_two(max(5000, 2 * case.here(clients))))
    return max(had(case, SOMAXCONN.variable), least)


def somaxconn_in_force(case: Case, clients: int) -> int:
    """What will cut the services' own queues: not always what is recommended."""
    wanted, seen = somaxconn(case, clients), case.seen(SOMAXCONN.variable)
    effective, pin = as_int(seen.effective), case.pins.get(SOMAXCONN.variable)
    if not seen.settable or (pin is not None and left_alone(SOMAXCONN.variable, pin.value)):
        return wanted if effective is None else effective
    return case.pinned(SOMAXCONN.variable) or wanted


SYN_BACKLOG = sysctl_rule(
    "kernel_max_syn_backlog",
    "net.ipv4.tcp_max_syn_backlog",
    "connections that are half open",
    "max(had, somaxconn)",
    "kernel",
    harm="bursts then lose their first packet",
)
ABORT = Rule(
    "kernel_abort_on_overflow",
    "reset of clients that find the queue full",
    "",
    '"off"',
    "the kernel's documentation warns of it",
    f"net.ipv4.tcp_abort_on_overflow {_FILE}",
    "sysctl net.ipv4.tcp_abort_on_overflow",
    harm="clients in a burst are then reset instead of trying again",
    order=Order.EXACT,
)
NETDEV = sysctl_rule(
    "kernel_netdev_max_backlog",
    "net.core.netdev_max_backlog",
    "packets that wait for a processor",
    f"max(had, 30000 if speed >= {FAST} else 2500)",
    "LBNL; ESnet",
    harm="fast transfers then lose packets",
)
BUFFERS = tuple(
    sysctl_rule(
        f"kernel_{name.replace('net.core.', '').replace('net.ipv4.', '')}",
        name,
        title,
        f"max(had, 67108864 if speed >= {FAST} else 16777216)",
        "LBNL; ESnet",
        unit="bytes",
        harm="single streams over long ways are then slow",
    )
    for name, title in (
        ("net.core.rmem_max", "receive buffer that a program may ask for"),
        ("net.core.wmem_max", "send buffer that a program may ask for"),
        ("net.ipv4.tcp_rmem", "receive buffer of a connection, at most"),
        ("net.ipv4.tcp_wmem", "send buffer of a connection, at most"),
    )
)
QDISC = Rule(
    "kernel_default_qdisc",
    "queueing discipline of network interfaces",
    "",
    '"fq"',
    "ESnet",
    f"net.core.default_qdisc {_FILE}; interfaces that are up keep theirs until they restart",
    "sysctl net.core.default_qdisc",
    harm="bursts of one stream then fill the queues on the way",
    order=Order.EXACT,
)
CONNTRACK = sysctl_rule(
    "kernel_conntrack_max",
    "net.netfilter.nf_conntrack_max",
    "connections that the packet filter follows",
    "max(had, 262144, 64 x N)",
    "LBNL",
    harm="new connections are then dropped",
)


def speed(case: Case) -> int:
    """Mbit/s of the fastest interface."""
    return case.reading.nic_mbps or UNKNOWN_SPEED


def buffer_bytes(case: Case) -> int:
    return 64 * 2**20 if speed(case) >= FAST else 16 * 2**20


def listens(case: Case) -> bool:
    """Whether many connect to the host at once."""
    return case.is_door or case.is_transfer or case.is_name_node


def drafts(case: Case, clients: int) -> Iterator[Draft]:
    """The network settings of a host for ``clients`` of the site."""
    n = case.here(clients)
    if listens(case):
        queue = somaxconn(case, clients)
        yield SOMAXCONN.draft(
            queue, "It cuts the queue of every service, whatever that asks for.",
            N=n, had=had(case, SOMAXCONN.variable),
        )  # fmt: skip
        before = had(case, SYN_BACKLOG.variable)
        why = "Half-open connections come before those that wait: as many."
        yield SYN_BACKLOG.draft(max(before, queue), why, somaxconn=queue, had=before)
        yield ABORT.draft("off", "A client that finds the queue full shall try again.")
    if case.is_transfer or case.is_data_node:
        yield from _transfer(case)
    if case.seen(CONNTRACK.variable).effective is not None:
        before = had(case, CONNTRACK.variable)
        why = "A full table drops new connections; each client has many."
        yield CONNTRACK.draft(max(before, 262_144, 64 * n), why, N=n, had=before)


def _transfer(case: Case) -> Iterator[Draft]:
    rate, before = speed(case), had(case, NETDEV.variable)
    known = case.reading.nic_mbps is not None
    link = f"{rate / 1000:g} Gbit/s" if known else "1 Gbit/s (not known, so assumed)"
    yield NETDEV.draft(
        max(before, 30_000 if rate >= FAST else 2500), f"Room for bursts at {link}.",
        speed=rate, had=before,
    )  # fmt: skip
    for rule in BUFFERS:
        before = had(case, rule.variable)
        why = f"Long ways at {link} need large buffers."
        yield rule.draft(max(before, buffer_bytes(case)), why, speed=rate, had=before)
    yield QDISC.draft("fq", "It spaces the packets of each stream.")
