"""What is read from the name node's JMX page, and what is waited for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import hdfs_probe
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import Result
from ansible_collections.cloudlet.deploy.plugins.module_utils.srm_probe import ProbeError
from ansible_collections.cloudlet.deploy.plugins.modules import hdfs_cluster


def seen(
    safe_mode: str = "",
    under: int = 0,
    missing: int = 0,
    state: str = "In Service",
    silent: int = 1,
) -> hdfs_probe.Cluster:
    info = {
        "ClusterId": "CID-1",
        "SoftwareVersion": "3.4.3",
        "Safemode": safe_mode,
        "NumberOfMissingBlocks": missing,
        "LiveNodes": json.dumps({"a.x:9866": {"adminState": state, "lastContact": silent}}),
        "DeadNodes": json.dumps({"b.x:9866": {"adminState": "In Service", "lastContact": 1}}),
        "DecomNodes": json.dumps({"a.x:9866": {"underReplicatedBlocks": 7}}),
    }
    return hdfs_probe.read(info, {"UnderReplicatedBlocks": under}, {"MissingBlocks": missing})


def test_one_may_be_stopped_only_when_all_is_safe() -> None:
    assert seen().unsafe(["a.x"]) == ""
    assert "safe mode" in seen(safe_mode="on").unsafe(["a.x"])
    assert "1 of 2 data nodes are not live (b.x)" in seen().unsafe(["a.x", "b.x"])
    assert "3 blocks have too few copies" in seen(under=3).unsafe(["a.x"])
    assert "2 blocks are missing" in seen(missing=2).unsafe(["a.x"])


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("In Service", "In Service"),
        ("Decommission In Progress", "Decommission in progress: 7 blocks left"),
        ("Decommissioned", "Decommissioned"),
    ],
)
def test_a_leaving_data_node_is_told_of(
    monkeypatch: pytest.MonkeyPatch, state: str, told: str
) -> None:
    monkeypatch.setattr(hdfs_probe, "look", lambda *_args: seen(state=state))
    assert hdfs_probe.ask_datanode("nn", 1, 1, "a.x").explanation == told
    options = {"until": "decommissioned", "node": "a.x"}
    assert (hdfs_cluster.missing(seen(state=state), options) == "") == (state == "Decommissioned")


@pytest.mark.parametrize(("node", "words"), [("b.x", "takes it for dead"), ("c.x", "knows no")])
def test_a_data_node_that_does_not_report_is_unhealthy(
    monkeypatch: pytest.MonkeyPatch, node: str, words: str
) -> None:
    monkeypatch.setattr(hdfs_probe, "look", lambda *_args: seen())
    with pytest.raises(ProbeError, match=words):
        hdfs_probe.ask_datanode("nn", 1, 1, node)


@pytest.mark.parametrize(
    ("silent", "up", "back"), [(0, 5.0, True), (4, 5.0, True), (5, 5.0, False), (0, 0.0, False)]
)
def test_a_data_node_is_back_when_it_was_heard_of_since_its_start(
    silent: int, up: float, back: bool
) -> None:
    options: dict[str, Any] = {"until": "back", "node": "a.x", "expected": ["a.x"]}
    told = hdfs_cluster.missing(seen(silent=silent), options, up=lambda: up)
    assert told == ("" if back else "it has not heard of a.x since hdfs-datanode.service came up")
    assert "too few" in hdfs_cluster.missing(seen(under=1), options, up=lambda: 100.0)
    options["node"] = "b.x"  # one that it takes for dead
    assert "not heard of b.x" in hdfs_cluster.missing(seen(), options, up=lambda: 100.0)


@pytest.mark.parametrize(("state", "up"), [("active", 4.5), ("activating", 0.0)])
def test_systemd_knows_how_long_the_data_node_is_up(state: str, up: float) -> None:
    told = Result(0, f"ActiveState={state}\nActiveEnterTimestampMonotonic=95500000\n", "")
    assert hdfs_cluster.seconds_up(lambda _argv: told, lambda: 100.0) == up


def test_the_hosts_own_files_name_the_name_node(tmp_path: Path) -> None:
    names = {"dfs.namenode.http-address": "nn.x:9871", "dfs.datanode.hostname": "a.x"}
    properties = "".join(
        f"<property><name>{name}</name><value>{value}</value></property>"
        for name, value in names.items()
    )
    path = tmp_path / "hdfs-site.xml"
    path.write_text(f"<configuration>{properties}</configuration>")
    assert hdfs_probe.addresses(str(tmp_path)) == ("nn.x", 9871, "a.x")
    for text in ("<configuration>", "<configuration/>", None):
        path.unlink() if text is None else path.write_text(text)
        with pytest.raises(ProbeError, match=r"hdfs-site\.xml does not name"):
            hdfs_probe.addresses(str(tmp_path))


def test_waiting_ends_with_what_is_missing() -> None:
    now = [0.0]
    looks: list[Any] = [ProbeError("away", "", starting=True), seen(under=1), seen()]
    options: dict[str, Any] = {
        "host": "nn",
        "port": 1,
        "node": "",
        "until": "safe",
        "expected": ["a.x"],
    }
    options["timeout"] = 60

    def look(*_args: Any) -> hdfs_probe.Cluster:
        found = looks.pop(0) if len(looks) > 1 else looks[0]
        if isinstance(found, ProbeError):
            raise found
        return found

    def sleep(seconds: float) -> None:
        now[0] += seconds

    given: dict[str, Any] = {"look": look, "sleep": sleep, "clock": lambda: now[0]}
    assert hdfs_cluster.wait(options, False, **given) == ""
    looks[:] = [seen(under=1)]
    assert "too few copies" in hdfs_cluster.wait(options, False, **given)
    assert now[0] < 70


def test_nobody_at_the_port_is_told_in_time() -> None:
    with pytest.raises(ProbeError, match="does not answer"):
        hdfs_probe.look("127.0.0.1", 9, 1)
