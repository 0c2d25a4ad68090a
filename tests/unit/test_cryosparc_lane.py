"""``cryosparc_lane``: which lanes are tried, connected, left and removed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils.cryosparc_lane_probe import (
    Fault,
    Lane,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import Ledger
from ansible_collections.cloudlet.deploy.plugins.module_utils.idmaps import Refused
from ansible_collections.cloudlet.deploy.plugins.modules.cryosparc_lane import LaneSet

from tests.unit.cryosparc_lanes import MASTER, FakeCryoSparc, KilledError, argument

FAULT = Fault("node1 cannot reach it", "Open the port.")


class Host:
    """A master, its ledger, and trials that find what a test says."""

    def __init__(self, state: Path) -> None:
        self.state, self.cryosparc = str(state), FakeCryoSparc()
        self.tried: list[str] = []
        self.faults: dict[str, list[Fault]] = {}

    def trial(self, lane: Lane, *_: object) -> Any:
        class Told:
            def faults(_self) -> list[Fault]:
                self.tried.append(lane.name)
                return self.faults.get(lane.name, [])

        return Told()

    def set(self, check: bool = False, component: str | None = "cryosparc_lane") -> LaneSet:
        return LaneSet(component, self.state, self.cryosparc, check, self.trial)

    def have(self, *lanes: dict[str, Any]) -> list[str]:
        """What ``present`` changes, which check mode must have foreseen."""
        before = self.ledger, dict(self.cryosparc.held), list(self.tried)
        planned = self.set(check=True).present(list(lanes), MASTER, "/opt/cryosparcm")
        assert (self.ledger, self.cryosparc.held, self.tried) == before
        done = self.set().present(list(lanes), MASTER, "/opt/cryosparcm")
        assert planned == done and done["changed"] == bool(done["changes"])
        return words(done)

    @property
    def ledger(self) -> dict[str, Any]:
        return dict(Ledger(self.state).entries)


def words(result: dict[str, Any]) -> list[str]:
    return [" ".join(filter(None, change.values())) for change in result["changes"]]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "state")


def test_a_lane_is_tried_and_connected_once(host: Host) -> None:
    assert host.have(argument()) == ["lane gpu create not there yet"]
    assert (host.tried, host.cryosparc.asked) == (["gpu"], ["connect /etc/lanes/gpu"])
    assert host.have(argument()) == []
    assert host.tried == ["gpu"]


@pytest.mark.parametrize(
    "changed",
    [
        argument(partition="other"),
        argument(worker_bin_path="/other/cryosparcw"),
        argument(project_directory="/other"),
        {**argument(), "settings": "another key"},
    ],
)
def test_other_settings_are_tried_anew(host: Host, changed: dict[str, Any]) -> None:
    host.have(argument())
    assert host.have(changed) == ["lane gpu change other settings"]
    assert len(host.tried) == 2


def test_patience_is_no_setting_of_the_way(host: Host) -> None:
    host.have(argument())
    assert host.have(argument(timeout=20)) == []


def test_a_lane_that_was_removed_comes_back(host: Host) -> None:
    host.have(argument())
    host.cryosparc.held.clear()
    assert host.have(argument()) == ["lane gpu create was removed in CryoSPARC"]


def test_a_lane_that_fails_is_not_connected(host: Host) -> None:
    host.faults["gpu"] = [FAULT]
    with pytest.raises(Refused) as refused:
        host.set().present([argument()], MASTER, "/opt/cryosparcm")
    said = str(refused.value)
    assert "lane gpu would not work, so it is not connected: node1 cannot reach it." in said
    assert refused.value.next_step == "Open the port."
    assert host.cryosparc.held == {} and host.ledger == {}


def test_a_lane_that_fails_stays_as_it_was_and_keeps_no_other_back(host: Host) -> None:
    host.have(argument())
    host.faults["gpu"] = [FAULT]
    lanes = [argument(partition="other"), argument(name="cpu")]
    with pytest.raises(Refused, match="it stays connected as it was") as refused:
        host.set().present(lanes, MASTER, "/opt/cryosparcm")
    assert [one["name"] for one in refused.value.changes] == ["cpu"]
    assert set(host.cryosparc.held) == {"gpu", "cpu"}
    # And it is tried again by the next run.
    host.faults.clear()
    assert host.have(*lanes) == ["lane gpu change other settings"]


def test_a_lane_that_is_left_out_is_removed(host: Host) -> None:
    host.have(argument(), argument(name="cpu"))
    assert host.have(argument(name="cpu")) == ["lane gpu remove"]
    assert set(host.cryosparc.held) == {"cpu"}
    assert words(host.set().absent()) == ["lane cpu remove"]
    assert host.ledger == {}


def test_a_lane_of_another_hand_is_taken_over_and_stays(host: Host) -> None:
    host.cryosparc.held = {"gpu": "by hand", "other": "by hand"}
    assert host.have(argument()) == ["lane gpu change was connected by another hand"]
    result = host.set().absent()
    assert (result["changes"], result["left"]) == ([], ["gpu"])
    assert set(host.cryosparc.held) == {"gpu", "other"} and host.ledger == {}


@pytest.mark.parametrize("component", ["cryosparc_lane", None])
def test_where_cryosparc_is_away_lanes_are_left(host: Host, component: str | None) -> None:
    host.have(argument())
    host.cryosparc.away = True
    result = host.set(component=component).absent()
    assert (result["changes"], result["left"]) == ([], ["gpu"])
    assert host.ledger == {}


def test_a_plan_needs_no_cryosparc_and_a_run_does(host: Host) -> None:
    host.cryosparc.away = True
    planned = host.set(check=True).present([argument()], MASTER, "/opt/cryosparcm")
    assert words(planned) == ["lane gpu create not there yet"]
    with pytest.raises(Refused, match="it is away"):
        host.set().present([argument()], MASTER, "/opt/cryosparcm")
    host.cryosparc.away = False
    host.have(argument())
    host.cryosparc.away = True
    assert host.set(check=True).present([argument()], MASTER, "/opt/cryosparcm")["changes"] == []


def test_what_was_killed_is_made_up_for(host: Host) -> None:
    host.cryosparc.kills = "connect"
    with pytest.raises(KilledError):
        host.set().present([argument()], MASTER, "/opt/cryosparcm")
    host.cryosparc.kills = ""
    assert host.have(argument()) == ["lane gpu create not there yet"]
    # Connected, and nobody lived to note it.
    entry = host.ledger["lane:gpu"]
    entry["note"]["digest"] = None
    path = Path(host.state, "ledger.json")
    path.write_text(json.dumps({"schema": 1, "entries": {"lane:gpu": entry}}))
    assert host.have(argument()) == ["lane gpu change an earlier run was interrupted"]
    assert words(host.set().absent()) == ["lane gpu remove"]
