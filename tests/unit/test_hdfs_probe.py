"""What is read from the name node's JMX page, and what is waited for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import hdfs_probe
from ansible_collections.cloudlet.deploy.plugins.module_utils.srm_probe import ProbeError
from ansible_collections.cloudlet.deploy.plugins.modules import hdfs_cluster


def seen(
    safe_mode: str = "", under: int = 0, missing: int = 0, state: str = "In Service"
) -> hdfs_probe.Cluster:
    info = {
        "ClusterId": "CID-1",
        "SoftwareVersion": "3.4.3",
        "Safemode": safe_mode,
        "NumberOfMissingBlocks": missing,
        "LiveNodes": json.dumps({"a.x:9866": {"adminState": state}}),
        "DeadNodes": json.dumps({"b.x:9866": {"adminState": "In Service"}}),
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
