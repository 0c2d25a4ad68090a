"""GridFTP: sessions and the ports, files and processes that they take, by transfer server."""

from __future__ import annotations

import re
from collections.abc import Iterator

from cloudlet_deploy.tuning import hdfs
from cloudlet_deploy.tuning.case import Case
from cloudlet_deploy.tuning.rule import Draft, Rule, whole
from cloudlet_deploy.tuning.types import Scalar

#: MB of a session as planned with (measured: 10.4, the rest is the system's), and through HDFS.
PLANNED_MB, HDFS_MB = 12, 500
#: What a session was seen to take.
MEASURED_MB = 10.4
#: Processes and threads of a session; through HDFS it holds a Java machine (unverified).
HDFS_TASKS = 64
#: Ports stay above those of other services of ours and within the kernel's own range, below what
#: is often used for address translation.
PORTS_FROM, PORTS_TO = 20_000, 60_999
DEFAULT_PORTS = "50000,51000"
_RANGE = re.compile(r"^\s*(\d{1,5})\s*,\s*(\d{1,5})\s*$")
_RESTARTS = "the server restarts"
_UNIT = "globus-gridftp-server.service"

SESSIONS = Rule(
    "gridftp_connections_max",
    "sessions at a time",
    "",
    "max(1, min(floor(RAM / MB), ceil(h x clients / G)))",
    "measured: 10.4 MB a session; OSG: 500 MB a transfer through HDFS",
    f"connections_max in /etc/gridftp.d/cloudlet.conf; {_RESTARTS}",
    "the file, once the server has started after it was written",
    harm="clients are then told 421 Service busy",
)


def sessions_needed(case: Case, clients: int) -> int:
    """Sessions at this server, with headroom."""
    return whole(case.load.headroom * clients / case.shape.transfer_servers)


def planned_mb(case: Case) -> int:
    """MB of one session as the cap counts it."""
    return HDFS_MB if case.shape.hdfs_dsi else PLANNED_MB


def measured_mb(case: Case) -> float:
    """MB of one session beside a door, whose sum has room for the system already."""
    return HDFS_MB if case.shape.hdfs_dsi else MEASURED_MB


def memory_mb(case: Case, clients: int) -> int:
    """Memory that sessions may share among themselves (a door's share is not yet taken off)."""
    return case.reading.memory_mb - case.reading.reserved_mb - hdfs.mount_mb(case, clients)


def sessions(case: Case, clients: int) -> int:
    bearable = memory_mb(case, clients) // planned_mb(case)
    return max(1, min(bearable, sessions_needed(case, clients)))


def sessions_allowed(case: Case, clients: int) -> int:
    """The sessions that other ceilings have to leave room for: more if more is pinned."""
    return case.raised(SESSIONS.variable, sessions(case, clients))


PORTS = Rule(
    "gridftp_port_range",
    "ports of the data channels",
    "",
    "the present range if it has 2 x sessions ports, else as many from its first port, "
    f"moved down where they would end above {PORTS_TO}",
    "OSG",
    f"port_range in /etc/gridftp.d/cloudlet.conf; {_RESTARTS}; open it in other firewalls too",
    "the file, once the server has started after it was written",
    harm="transfers then run out of ports",
)


def ports_of(value: Scalar | None) -> tuple[int, int] | None:
    """First and last port of ``FIRST,LAST``; None if it is none."""
    match = _RANGE.match(str(value))
    if match is None or int(match[1]) > int(match[2]):
        return None
    return int(match[1]), int(match[2])


def width(value: Scalar | None) -> int:
    """How many ports a range has; 0 if it is none."""
    ends = ports_of(value)
    return 0 if ends is None else ends[1] - ends[0] + 1


def present_ports(case: Case) -> str:
    """The range that the server has, as far as is known."""
    seen = case.seen(PORTS.variable)
    for value in (seen.configured, seen.effective):
        if ports_of(value):
            return str(value)
    return DEFAULT_PORTS


def ports_most(case: Case) -> int:
    """Data ports that the server can be given."""
    return max(PORTS_TO - PORTS_FROM + 1, width(present_ports(case)))


def ports_needed(number: int) -> int:
    """Two for each transfer, of one stream each."""
    return 2 * number


def port_range(case: Case, number: int) -> str:
    """The range for ``number`` sessions."""
    present, needed = present_ports(case), ports_needed(number)
    if width(present) >= needed:
        return present
    first, _ = ports_of(present) or (PORTS_FROM, PORTS_TO)
    first = max(min(first, PORTS_TO - needed + 1), PORTS_FROM)
    return f"{first},{min(first + needed - 1, PORTS_TO)}"


NOFILE = Rule(
    "gridftp_nofile",
    "open files of each session",
    "",
    "max(1024, min(hard, 65536))",
    "OSG's init script",
    f"LimitNOFILE of {_UNIT}; {_RESTARTS}",
    "Max open files in /proc/PID/limits",
)


def nofile(case: Case) -> int:
    hard = case.reading.nofile_hard
    return 65536 if hard is None else max(1024, min(hard, 65536))


TASKS = Rule(
    "gridftp_tasks_max",
    "processes and threads of the server",
    "",
    "each x sessions + 64",
    "measured: one process a session; with a Java machine in each, through HDFS, unverified",
    f"TasksMax of {_UNIT}; {_RESTARTS}",
    "smallest pids.max of the unit's control group and those above it",
    harm="the server then cannot start a process for each session",
)


def tasks_each(case: Case) -> int:
    """Processes and threads of one session."""
    return HDFS_TASKS if case.shape.hdfs_dsi else 1


def drafts(case: Case, clients: int) -> Iterator[Draft]:
    """The settings of a transfer server for ``clients`` of the site."""
    number, allowed = sessions(case, clients), sessions_allowed(case, clients)
    why = f"One for each transfer; each takes about {measured_mb(case):g} MB."
    yield SESSIONS.draft(
        number, why,
        clients=clients, h=case.load.headroom, G=case.shape.transfer_servers,
        RAM=memory_mb(case, clients), MB=planned_mb(case),
    )  # fmt: skip
    yield PORTS.draft(
        port_range(case, allowed), "Two ports for each transfer, which the firewall must let in.",
        sessions=allowed, present=present_ports(case),
    )  # fmt: skip
    hard = case.reading.nofile_hard
    known = {} if hard is None else {"hard": hard}
    why = "Each session is a process of its own with a limit of its own."
    yield NOFILE.draft(nofile(case), why, **known)
    why = "A Java machine runs in each session." if tasks_each(case) > 1 else ""
    yield TASKS.draft(
        str(tasks_each(case) * allowed + 64), why or "One process for each session, and some more.",
        each=tasks_each(case), sessions=allowed,
    )  # fmt: skip
