"""The SRM door: heap, threads and what moves together with them, for N clients at one door."""

from __future__ import annotations

from collections.abc import Iterator

from cloudlet_deploy.tuning import kernel
from cloudlet_deploy.tuning.case import Case
from cloudlet_deploy.tuning.rule import Draft, Order, Rule, whole

#: Ends of the ranges that the role declares.
HEAP_MOST_MB, THREADS_MOST, QUEUE_MOST = 1_048_576, 100_000, 65_535
TASKS_MOST, ACCEPTORS_MOST = 4_194_304, 1000
STACK_KB, STACK_LEAST_KB = 256, 144
#: What the paper's servers bore as they came.
UNTUNED_CLIENTS = 500
NOFILE_LEAST = 1024
_RESTARTS = "the door restarts"

HEAP = Rule(
    "bestman_heap_mb",
    "Java heap of the door",
    "MB",
    f"max(512, min({HEAP_MOST_MB}, ceil(256 + m x N))) where m = max(2.5, 0.005 x entries)",
    "scalability paper, with its erratum: 5 GB for 2000 clients is 2.5 MB each; LBNL; measured",
    f"-Xmx and -XX:MaxDirectMemorySize of bestman2.service; {_RESTARTS}",
    "flag MaxHeapSize of the running Java machine",
    harm="too small a heap leaves calls unanswered",
)


def client_mb(entries: int) -> float:
    """MB that one waiting client takes in the heap.

    The erratum: the paper writes 2.5 KB for each client and 5 GB for 2000 of them; 5 GB / 2000 is
    2.5 MB, and LBNL's own examples have 2 to 4 MB. Listings of 1000 entries died at 2.6 MB a
    client and lived at 5.1, hence the second term.
    """
    return max(2.5, 0.005 * entries)


def heap_needed_mb(case: Case, clients: int) -> int:
    """MB of heap. Headroom is in the threads and not in here."""
    return max(512, whole(256 + client_mb(case.load.entries) * case.per_door(clients)))


def heap_mb(case: Case, clients: int) -> int:
    """The same, as far as the role takes it."""
    return min(HEAP_MOST_MB, heap_needed_mb(case, clients))


ACCEPTORS = Rule(
    "bestman_acceptors",
    "threads that accept connections",
    "",
    "min(8, 2 x cores)",
    "LBNL",
    f"-DAcceptorSize of bestman2.service; {_RESTARTS}",
    "environment of the running process",
    harm="connections are then accepted more slowly",
)


def acceptors(case: Case) -> int:
    return min(8, 2 * max(1, case.reading.cores))


def accepting(case: Case) -> int:
    """The acceptors that the threads have to leave room for: more if more are pinned."""
    return min(ACCEPTORS_MOST, case.raised(ACCEPTORS.variable, acceptors(case)))


THREADS = Rule(
    "bestman_container_threads",
    "threads of the container",
    "",
    "ceil(h x N) + acceptors + 10",
    "LBNL; Globus; measured: 285 idle clients lock all others out of 256 threads",
    f"maxThreads in jetty.xml, or containerThreadsMax in server-config.wsdd; {_RESTARTS}",
    "the file, once the door has started after it was written",
    harm="idle clients then lock out the others",
)


def threads(case: Case, clients: int) -> int:
    """T: each open connection holds a thread, and so does each acceptor."""
    return whole(case.load.headroom * case.per_door(clients)) + accepting(case) + 10


def threads_allowed(case: Case, clients: int) -> int:
    """The threads that other ceilings have to leave room for: T, or more if more is pinned."""
    return case.raised(THREADS.variable, threads(case, clients))


THREADS_MIN = Rule(
    "bestman_container_threads_min",
    "threads at the start",
    "",
    "ceil(T / 10)",
    "Globus",
    f"containerThreads in server-config.wsdd; {_RESTARTS}",
    "the file, once the door has started after it was written",
)
THREADS_IDLE = Rule(
    "bestman_container_threads_idle_max",
    "idle threads that are kept",
    "",
    "ceil(T / 5)",
    "Globus",
    f"containerThreadsHighWaterMark in server-config.wsdd; {_RESTARTS}",
    "the file, once the door has started after it was written",
)
STACK = Rule(
    "bestman_stack_kb",
    "stack of each thread",
    "KB",
    str(STACK_KB),
    "LBNL; measured: Java 17 does not start with 128 KB, so never below 144",
    f"-Xss of bestman2.service; {_RESTARTS}",
    "flag ThreadStackSize of the running Java machine",
)


def stacks_mb(case: Case, clients: int) -> int:
    """MB that the stacks of all threads take."""
    return whole(threads(case, clients) * STACK_KB / 1024)


QUEUE = Rule(
    "bestman_accept_queue",
    "connections that wait to be accepted",
    "",
    "min(max(512, 2 x N), somaxconn)",
    "scalability paper; LBNL; measured: 50 overflow at bursts of 200",
    f"-DConnectorAcceptQueueSize of bestman2.service; {_RESTARTS}",
    "Send-Q of the listening socket (ss -Hltn)",
    harm="bursts then overflow the queue",
)


def queue_needed(case: Case, clients: int) -> int:
    """Places that a burst of all clients needs."""
    return max(512, 2 * case.per_door(clients))


FS_CONCURRENCY = Rule(
    "bestman_fs_concurrency",
    "requests on the file system at a time",
    "",
    "min(100000, 8 x cores)",
    "OSG",
    f"fsConcurrency in bestman2.rc; {_RESTARTS}",
    "the file, once the door has started after it was written",
    order=Order.EXACT,
)


def fs_concurrency(case: Case) -> int:
    return min(THREADS_MOST, 8 * max(1, case.reading.cores))


EVENT_LOG = Rule(
    "bestman_event_log",
    "event log",
    "",
    f"N <= {UNTUNED_CLIENTS}",
    "scalability paper",
    f"noEventLog in bestman2.rc; {_RESTARTS}",
    "the file, once the door has started after it was written",
    harm="writing the log costs capacity",
)


def event_log(case: Case, clients: int) -> bool:
    return case.per_door(clients) <= UNTUNED_CLIENTS


NOFILE = Rule(
    "bestman_nofile",
    "open files of the door",
    "",
    "max(1024, min(hard, max(65536, 8 x N + 4096)))",
    "scalability paper; OSG's init script",
    f"LimitNOFILE of bestman2.service; {_RESTARTS}",
    "Max open files in /proc/PID/limits",
    harm="connections are then refused",
)


def nofile_needed(case: Case, clients: int) -> int:
    """Files that the door has open at the most."""
    return 8 * case.per_door(clients) + 4096


def nofile(case: Case, clients: int) -> int:
    """What the unit is given: not more than its service manager can hand on."""
    wanted = max(65536, nofile_needed(case, clients))
    hard = case.reading.nofile_hard
    return wanted if hard is None else max(NOFILE_LEAST, min(hard, wanted))


TASKS = Rule(
    "bestman_tasks_max",
    "processes and threads of the door",
    "",
    f"min({TASKS_MOST}, 2 x T + 1024)",
    "systemd",
    f"TasksMax and LimitNPROC of bestman2.service; {_RESTARTS}",
    "smallest pids.max of the unit's control group and those above it",
    harm="the door then cannot start its threads",
)


def tasks_max(case: Case, clients: int) -> int:
    return min(TASKS_MOST, 2 * threads_allowed(case, clients) + 1024)


def drafts(case: Case, clients: int) -> Iterator[Draft]:
    """The settings of a door for ``clients`` of the site."""
    n, cores = case.per_door(clients), case.reading.cores
    entries, each = case.load.entries, client_mb(case.load.entries)
    why = f"Each client takes {each:g} MB when listings have {entries} entries."
    if each == client_mb(0):
        why = "Each client takes 2.5 MB: the paper's 2.5 KB is a slip, as its 5 GB for 2000 show."
    yield HEAP.draft(heap_mb(case, clients), why, N=n, entries=entries)
    yield STACK.draft(STACK_KB, "Enough for the door; Java's own 1024 KB would cost much memory.")
    yield from _threads(case, clients, n)
    yield FS_CONCURRENCY.draft(
        fs_concurrency(case), "More at a time would only wait for the processors.",
        cores=max(1, cores),
    )  # fmt: skip
    log = event_log(case, clients)
    why = "So few clients leave time to write it." if log else "Writing it costs capacity."
    yield EVENT_LOG.draft(log, why, N=n)
    yield _nofile(case, clients, n)
    total = threads_allowed(case, clients)
    yield TASKS.draft(tasks_max(case, clients), "All threads of the door, twice over.", T=total)


def _threads(case: Case, clients: int, n: int) -> Iterator[Draft]:
    total = threads(case, clients)
    yield THREADS.draft(
        total, "Each open connection holds a thread, an idle one too.",
        N=n, h=case.load.headroom, acceptors=accepting(case),
    )  # fmt: skip
    if case.is_globus:
        yield THREADS_MIN.draft(whole(total / 10), "A tenth of the threads stands ready.", T=total)
        yield THREADS_IDLE.draft(
            whole(total / 5), "More idle threads than this are given back.", T=total
        )
        return
    cores = max(1, case.reading.cores)
    yield ACCEPTORS.draft(acceptors(case), "Two for each core keep the queue short.", cores=cores)
    cap, needed = kernel.somaxconn_in_force(case, clients), queue_needed(case, clients)
    why = "Clients that arrive together wait here; 50 is the default, and overflows."
    if cap < needed:
        why = f"{needed} are needed, but net.core.somaxconn is {cap} here, and cuts it."
    yield QUEUE.draft(max(1, min(needed, cap, QUEUE_MOST)), why, N=n, somaxconn=cap)


def _nofile(case: Case, clients: int, n: int) -> Draft:
    hard, found = case.reading.nofile_hard, nofile(case, clients)
    if hard is None:
        return NOFILE.draft(found, "Connections, pipes and files of all clients.", N=n)
    why = "Connections, pipes and files of all clients."
    if found == hard:
        why = f"All that the service manager can hand on; {nofile_needed(case, clients)} are used."
    return NOFILE.draft(found, why, N=n, hard=hard)
