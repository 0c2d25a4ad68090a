"""HDFS: name node, data nodes, and the mount on the hosts that serve clients."""

from __future__ import annotations

import math
from collections.abc import Iterator

from cloudlet_deploy.tuning import kernel
from cloudlet_deploy.tuning.case import Case
from cloudlet_deploy.tuning.rule import Draft, Rule, whole

#: End of the range that the role declares for its backlog.
BACKLOG_MOST = 65_535
_NAME_NODE, _DATA_NODE = "the name node restarts", "data nodes restart one after another"

NAME_HANDLERS = Rule(
    "hdfs_namenode_handlers",
    "requests that the name node works on",
    "",
    "min(200, max(40, ceil(20 x log2(D))))",
    "Cloudera; OSG",
    f"dfs.namenode.handler.count in hdfs-site.xml; {_NAME_NODE}",
    "/conf of the running name node",
    harm="calls then queue at the name node",
)


def name_handlers(data_nodes: int) -> int:
    return min(200, max(40, whole(20 * math.log2(max(1, data_nodes)))))


BACKLOG = Rule(
    "hdfs_rpc_backlog",
    "calls that wait at the name node",
    "",
    f"min({BACKLOG_MOST}, somaxconn)",
    "HADOOP-6308",
    f"ipc.server.listen.queue.size in core-site.xml; {_NAME_NODE}",
    "Send-Q of the listening socket (ss -Hltn)",
    harm="bursts then overflow the queue",
)


def backlog(case: Case, clients: int) -> int:
    return max(1, min(BACKLOG_MOST, kernel.somaxconn_in_force(case, clients)))


DATA_HANDLERS = Rule(
    "hdfs_datanode_handlers",
    "requests that a data node works on",
    "",
    "20",
    "OSG",
    f"dfs.datanode.handler.count in hdfs-site.xml; {_DATA_NODE}",
    "/conf of the running data node",
)
TRANSFER_THREADS = Rule(
    "hdfs_datanode_transfer_threads",
    "transfers of a data node at a time",
    "",
    "4096 if h x clients <= 4096 else 8192",
    "OSG",
    f"dfs.datanode.max.transfer.threads in hdfs-site.xml; {_DATA_NODE}",
    "/conf of the running data node",
    harm="reads and writes are then refused",
)


def transfer_threads(case: Case, clients: int) -> int:
    """Threads for the case that all clients of the site read the same file."""
    return 4096 if whole(case.load.headroom * clients) <= 4096 else 8192


MOUNT_HEAP = Rule(
    "hdfs_fuse_heap_mb",
    "Java heap of the mount",
    "MB",
    "512 if N <= 1000 else 1024",
    "Bigtop; Cloudera",
    "-Xmx in LIBHDFS_OPTS of hdfs-fuse.service; the mount restarts, and what uses it",
    "flag MaxHeapSize of the mount's Java machine",
    harm="the mount then fails when many list at once",
)


def mount_heap_mb(case: Case, clients: int) -> int:
    return 512 if case.here(clients) <= 1000 else 1024


def has_mount(case: Case) -> bool:
    """Whether the host mounts HDFS with a client whose heap can be set."""
    return "hdfs_fuse" in case.reading.components and MOUNT_HEAP.variable in case.reading.settings


def mount_mb(case: Case, clients: int) -> int:
    """MB that the mount takes on this host."""
    return mount_heap_mb(case, clients) if has_mount(case) else 0


def drafts(case: Case, clients: int) -> Iterator[Draft]:
    """The settings of a host's part in HDFS for ``clients`` of the site."""
    nodes, load = max(1, case.shape.data_nodes), case.load
    if case.is_name_node:
        why = "Each data node adds calls; more than 200 are not advised."
        yield NAME_HANDLERS.draft(name_handlers(nodes), why, D=nodes)
        yield BACKLOG.draft(
            backlog(case, clients), "As long as the kernel's own queue, which cuts it.",
            somaxconn=kernel.somaxconn_in_force(case, clients),
        )  # fmt: skip
    if case.is_data_node:
        yield DATA_HANDLERS.draft(20, "Enough for the calls of name node and clients.")
        yield TRANSFER_THREADS.draft(
            transfer_threads(case, clients), "Room for all clients at one data node.",
            h=load.headroom, clients=clients,
        )  # fmt: skip
    if has_mount(case):
        yield MOUNT_HEAP.draft(
            mount_heap_mb(case, clients), "Each call that waits for HDFS takes heap of the mount.",
            N=case.here(clients),
        )  # fmt: skip
