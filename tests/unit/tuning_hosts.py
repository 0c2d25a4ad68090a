"""Reference hosts of the tuning model, and what is kept of its answers.

After a change that is meant, write the golden tables and the table of docs/tuning.md anew with

    python -m tests.unit.tuning_hosts

and read the difference before it is committed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cloudlet_deploy import tuning
from cloudlet_deploy.tuning import Advice, HostReading, Load, Pin, Scalar, Seen, Setting, Shape

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).resolve().parent / "golden"
DOCS = ROOT / "docs" / "tuning.md"
_BEGIN, _END = (
    "<!-- Made by python -m tests.unit.tuning_hosts. -->\n",
    "<!-- End of the table. -->\n",
)


def _now(**values: tuning.Scalar) -> dict[str, Seen]:
    return {variable: Seen(effective=value) for variable, value in values.items()}


#: What the facts name as values of an untuned door and kernel.
_DOOR = _now(
    bestman_heap_mb=1024,
    bestman_stack_kb=1024,
    bestman_container_threads=256,
    bestman_acceptors=1,
    bestman_accept_queue=50,
    bestman_fs_concurrency=40,
    bestman_event_log=True,
    bestman_nofile=65536,
)
_KERNEL = _now(
    kernel_somaxconn=4096,
    kernel_max_syn_backlog=512,
    kernel_abort_on_overflow="off",
    kernel_netdev_max_backlog=1000,
    kernel_rmem_max=212992,
    kernel_wmem_max=212992,
    kernel_tcp_rmem=6291456,
    kernel_tcp_wmem=4194304,
    kernel_default_qdisc="fq_codel",
    kernel_nr_open=1048576,
    kernel_pid_max=32768,
    kernel_max_map_count=65530,
)
_GRIDFTP = _now(gridftp_connections_max=100, gridftp_port_range="50000,51000", gridftp_nofile=65536)
_DATA_NODE = _now(hdfs_datanode_handlers=10, hdfs_datanode_transfer_threads=4096)

#: The door at UCSD (section 3.4): four dual-core processors, 8 GB, 1 Gbit/s, HDFS through FUSE.
PAPER = HostReading(
    host="paper",
    components=frozenset({"bestman", "hdfs_fuse", "kernel"}),
    groups=frozenset({"bestman"}),
    memory_mb=8192,
    cores=8,
    nic_mbps=1000,
    nofile_hard=1048576,
    java_version=8,
    settings={
        **_DOOR,
        **_KERNEL,
        **_now(kernel_somaxconn=128, hdfs_fuse_heap_mb=128),
    },
)
PAPER_SHAPE = Shape(data_nodes=12, transfer_servers=12)
DATA_SERVER = HostReading(
    host="dataserver",
    components=frozenset({"gridftp", "hdfs", "hdfs_fuse", "kernel"}),
    groups=frozenset({"gridftp", "hdfs_datanode"}),
    memory_mb=262144,
    cores=64,
    nic_mbps=25000,
    nofile_hard=524288,
    java_version=17,
    reserved_mb=1024,
    settings={
        **_GRIDFTP,
        **_DATA_NODE,
        **_KERNEL,
        **_now(
            hdfs_fuse_heap_mb=512,
            kernel_conntrack_max=262144,
            kernel_pid_max=4194304,
            kernel_max_map_count=1048576,
        ),
    },
)
DATA_SERVER_SHAPE = Shape(doors=2, data_nodes=12, transfer_servers=4)
LAPTOP = HostReading(
    host="laptop",
    components=frozenset({"bestman", "gridftp", "hdfs", "hdfs_fuse", "kernel"}),
    groups=frozenset({"bestman", "gridftp", "hdfs_namenode", "hdfs_datanode"}),
    memory_mb=7800,
    cores=2,
    nofile_hard=524288,
    java_version=17,
    reserved_mb=3072,
    settings={
        **_DOOR,
        **_GRIDFTP,
        **_DATA_NODE,
        **_KERNEL,
        **_now(hdfs_fuse_heap_mb=512, hdfs_namenode_handlers=10, hdfs_rpc_backlog=128),
    },
)


@dataclass(frozen=True)
class Reference:
    """A host with the loads for which its table is kept."""

    what: str
    reading: HostReading
    shape: Shape
    loads: tuple[Load, ...]


REFERENCES = {
    "paper": Reference(
        "The paper's door: 8 cores, 8 GB, 1 Gbit/s, mount of HDFS; 12 data nodes",
        PAPER,
        PAPER_SHAPE,
        (Load(2000), Load(4000)),
    ),
    "data_server": Reference(
        "A transfer server of 4 that is a data node too: 64 cores, 256 GB, 25 Gbit/s",
        DATA_SERVER,
        DATA_SERVER_SHAPE,
        (Load(8000),),
    ),
    "laptop": Reference(
        "A laptop with everything: 2 cores, 7800 MB",
        LAPTOP,
        Shape(data_nodes=1),
        (Load(100), Load(500)),
    ),
}


def advised(
    reading: HostReading, clients: int, shape: Shape = PAPER_SHAPE, **pins: Scalar
) -> Advice:
    """The model's answer with ``pins`` of one file."""
    given = {variable: Pin(value, "host_vars/h.yml:3") for variable, value in pins.items()}
    return tuning.advise(reading, Load(clients), shape, given)


def by_variable(advice: Advice) -> dict[str, Setting]:
    return {one.variable: one for one in advice.settings}


def table(reference: Reference) -> str:
    """The model's answers for one reference host, to be read by people."""
    parts = [f"{reference.what}\n"]
    for load in reference.loads:
        advice = tuning.advise(reference.reading, load, reference.shape, {})
        parts.append(_section(advice, load))
    return "\n".join(parts)


def _section(advice: Advice, load: Load) -> str:
    lines = [
        f"== {load.clients} clients, {load.entries} entries, headroom {load.headroom:g}: "
        f"carries {advice.carried}" + (f", binding: {advice.binding}" if advice.binding else ""),
        *([f"limit: {advice.limit}"] if advice.limit else []),
        *(f"warning: {warning}" for warning in advice.warnings),
        "",
    ]
    rows = [("setting", "now", "recommended", "inputs", "why"), *map(_row, advice.settings)]
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join((*cells, row[4])))
    return "\n".join(lines) + "\n"


def _row(one: Setting) -> tuple[str, str, str, str, str]:
    inputs = ", ".join(f"{name} {_text(value)}" for name, value in one.inputs.items())
    recommended = f"{_text(one.recommended)} {one.unit}".strip()
    return one.variable, _text(one.now), recommended, inputs, one.reason


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def rules_table() -> str:
    """The table of all settings for docs/tuning.md."""
    lines = ["| setting | formula | source | applied | verified |", "|---|---|---|---|---|"]
    for rule in tuning.RULES:
        what = f"`{rule.variable}`: {rule.title}" + (f", {rule.unit}" if rule.unit else "")
        formula = rule.formula if rule.variable == "gridftp_port_range" else f"`{rule.formula}`"
        lines.append(f"| {what} | {formula} | {rule.source} | {rule.applied} | {rule.verified} |")
    return "\n".join(lines) + "\n"


def docs_page(present: str) -> str:
    """``present`` with its table made anew."""
    before, _, rest = present.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}{rules_table()}{_END}{after}"


def golden_path(name: str) -> Path:
    return GOLDEN / f"tuning_{name}.txt"


if __name__ == "__main__":
    for name, reference in REFERENCES.items():
        golden_path(name).write_text(table(reference), encoding="utf-8")
    DOCS.write_text(docs_page(DOCS.read_text(encoding="utf-8")), encoding="utf-8")
