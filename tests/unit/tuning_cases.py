"""Hosts, loads and sites at random for the tuning model, and its formulas worked out from words."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from cloudlet_deploy.tuning import HostReading, Load, Scalar, Seen, Setting, Shape
from cloudlet_deploy.tuning.rule import next_power_of_two

#: Groups and the component that each brings.
_GROUPS = {
    "bestman": "bestman",
    "gridftp": "gridftp",
    "hdfs_namenode": "hdfs",
    "hdfs_datanode": "hdfs",
}
_BEFORE = {
    "kernel_somaxconn": st.sampled_from([128, 4096, 65535]),
    "kernel_max_syn_backlog": st.integers(128, 65536),
    "kernel_netdev_max_backlog": st.integers(1000, 50_000),
    "kernel_rmem_max": st.integers(212_992, 2**27),
    "kernel_wmem_max": st.integers(212_992, 2**27),
    "kernel_tcp_rmem": st.integers(4_194_304, 2**27),
    "kernel_tcp_wmem": st.integers(4_194_304, 2**27),
    "kernel_conntrack_max": st.integers(65_536, 2**22),
    "kernel_pid_max": st.integers(32_768, 4_194_304),
    "kernel_max_map_count": st.integers(65_530, 2**20),
}


@st.composite
def readings(draw: st.DrawFn) -> HostReading:
    groups = draw(st.sets(st.sampled_from(sorted(_GROUPS)), min_size=1))
    components = {_GROUPS[group] for group in groups} | {"kernel"}
    settings: dict[str, Seen] = {}
    for variable, values in _BEFORE.items():
        if draw(st.booleans()):
            settable = draw(st.integers(0, 3)) > 0
            settings[variable] = Seen(effective=draw(values), settable=settable, cause="so")
    if draw(st.booleans()):
        components.add("hdfs_fuse")
        settings["hdfs_fuse_heap_mb"] = Seen()
    first, size = draw(st.integers(1024, 60_000)), draw(st.integers(0, 5000))
    settings["gridftp_port_range"] = Seen(configured=f"{first},{first + size}")
    return HostReading(
        host="h",
        components=frozenset(components),
        groups=frozenset(groups),
        memory_mb=draw(st.integers(256, 2**22)),
        cores=draw(st.integers(1, 50_000)),
        nic_mbps=draw(st.sampled_from([None, 100, 1000, 9999, 10_000, 100_000])),
        nofile_hard=draw(st.sampled_from([None, 512, 4096, 20_000, 524_288, 2**30])),
        java_version=draw(st.sampled_from([None, 7, 8, 17])),
        reserved_mb=draw(st.sampled_from([0, 1024, 4096])),
        settings=settings,
    )


CLIENTS = st.one_of(st.integers(1, 6000), st.integers(1, 1_000_000))
LOADS = st.builds(
    Load, CLIENTS, st.integers(1, 1_000_000), st.floats(1, 4).map(lambda number: round(number, 2))
)
SHAPES = st.builds(
    Shape,
    doors=st.integers(1, 20),
    transfer_servers=st.integers(1, 200),
    data_nodes=st.integers(0, 5000),
    flavour=st.sampled_from(["jetty", "globus"]),
    hdfs_dsi=st.booleans(),
)


def amount(value: Scalar) -> int | None:
    """A value as a number: of a range of ports how many there are; None for what is none."""
    if isinstance(value, bool):
        return None
    if match := re.fullmatch(r"(\d+),(\d+)", str(value)):
        return int(match[2]) - int(match[1]) + 1
    return int(value) if re.fullmatch(r"-?\d+", str(value)) else None


def worked_out(setting: Setting) -> Any:
    """What the words of the formula come to with the inputs that are shown."""
    expression, *defined = re.split(r" where ", setting.formula)
    names: dict[str, Any] = {"hard": math.inf, **_FUNCTIONS, **setting.inputs}
    for line in defined:
        name, _, how = line.partition(" = ")
        names[name] = _value(how, names)
    return _value(expression, names)


def _value(text: str, names: Mapping[str, Any]) -> Any:
    return eval(text.replace(" x ", " * "), {"__builtins__": {}}, dict(names))


_FUNCTIONS = {
    "max": max,
    "min": min,
    "floor": math.floor,
    "log2": math.log2,
    "ceil": lambda number: math.ceil(round(number, 6)),
    "next_power_of_two": next_power_of_two,
}
