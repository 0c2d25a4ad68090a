"""What a host reported becomes a reading for the model, or a clear refusal."""

from __future__ import annotations

from typing import Any

import pytest

from cloudlet_deploy.errors import RunFailedError
from cloudlet_deploy.run.readings import problems, reading
from cloudlet_deploy.tuning.types import Seen

DOOR = "door.example.org"


def setting(**more: Any) -> dict[str, Any]:
    plain = {
        "configured": 40,
        "effective": None,
        "before": None,
        "settable": True,
        "cause": "why",
        "in_use": 7,
    }
    return {**plain, **more}


def report(**more: Any) -> dict[str, Any]:
    return {
        "memory_mb": 7900,
        "cores": 8,
        "kernel": "6.1.0-25-amd64",
        "container": "",
        "nic_mbps": None,
        "nofile_hard": 524288,
        "java_version": 17,
        "settings": {"bestman_fs_concurrency": setting()},
        "problems": [],
        **more,
    }


def read(told: dict[str, Any]) -> Any:
    return reading(DOOR, frozenset({"bestman"}), frozenset({"bestman"}), told, 1024)


def test_a_report_is_taken_as_it_is() -> None:
    found = read(report())
    assert (found.host, found.components, found.reserved_mb) == (DOOR, {"bestman"}, 1024)
    assert (found.memory_mb, found.cores, found.kernel) == (7900, 8, "6.1.0-25-amd64")
    assert (found.nic_mbps, found.nofile_hard, found.java_version) == (None, 524288, 17)
    assert found.settings == {"bestman_fs_concurrency": Seen(40, None, None, True, "why", 7)}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"memory_mb": None}, "memory_mb is missing"),
        ({"memory_mb": 0}, "memory_mb is 0"),
        ({"memory_mb": "7900"}, "memory_mb is '7900'"),
        ({"cores": True}, "cores is True"),
        ({"cores": 1.5}, "cores is 1.5"),
        ({"nic_mbps": -1}, "nic_mbps is -1"),
        ({"container": None}, "container is None"),
        ({"settings": []}, r"settings is \[\]"),
        ({"settings": {"v": 4}}, "v: configured is missing"),
        ({"settings": {"v": setting(settable=1)}}, "v: settable is 1"),
        ({"settings": {"v": setting(in_use=-1)}}, "v: in_use is -1"),
        ({"settings": {"v": setting(effective=[1])}}, r"v: effective is \[1\]"),
        ({"settings": {"v": setting(before=1.5)}}, "v: before is 1.5"),
        ({"settings": {"v": setting(cause=None)}}, "v: cause is None"),
    ],
)
def test_a_report_of_another_form_is_refused(more: dict[str, Any], words: str) -> None:
    with pytest.raises(RunFailedError, match=words) as caught:
        read(report(**more))
    assert caught.value.message.startswith(f"{DOOR}: the report of host_tuning cannot be used: ")
    assert "release" in caught.value.next_step


@pytest.mark.parametrize("key", sorted(set(report()) - {"problems"}))
def test_nothing_may_be_missing(key: str) -> None:
    told = report()
    del told[key]
    with pytest.raises(RunFailedError, match=f"{key} is missing"):
        read(told)


def test_problems_are_handed_on() -> None:
    assert problems(DOOR, report(problems=["no systemd"])) == ("no systemd",)
    with pytest.raises(RunFailedError, match="problems is None"):
        problems(DOOR, report(problems=None))
