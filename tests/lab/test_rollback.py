"""A rollback brings back bytes, modes and running processes of before, and touches no more.

The tests of this module build on each other: three configurations of the door are applied,
then rolled back one by one.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from typing import Any

import pytest

from tests.lab.conftest import CLI, DOOR, SERVERS, TRANSFER, TestLab, set_values
from tests.lab.killing import UNIT, Rig, Sight
from tests.lab.snapshot import Snapshot, changed_keys, difference

pytestmark = pytest.mark.lab

ONLY_DOOR = ("--limit", DOOR, "--component", "bestman")
#: The third has no sudoers file, and other numbers in three others.
SETTINGS: tuple[dict[str, Any], ...] = (
    {"bestman_heap_mb": 512, "bestman_sudo": True},
    {"bestman_heap_mb": 400, "bestman_sudo": True},
    {"bestman_heap_mb": 300, "bestman_sudo": False, "bestman_fs_concurrency": 41},
)
SUDOERS, ENVIRONMENT = "/etc/sudoers.d/cloudlet-bestman2", "/etc/default/bestman2"
SET = "/var/lib/cloudlet-deploy/sets/bestman"


@pytest.fixture(scope="module")
def story(lab: TestLab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The hosts and the door's service after each of three applies; the site is ruined then."""
    rig = Rig(lab, tmp_path_factory.mktemp("rollback"))
    rig.prepare()
    own = lab.site / "host_vars" / f"{DOOR}.yml"
    looks, hosts = [], []
    for number, settings in enumerate(SETTINGS):
        set_values(own, **settings)
        lab.apply(*(ONLY_DOOR if number else ()))
        looks.append(rig.look())
        hosts.append({host: lab.snapshot(host) for host in SERVERS})
    set_values(own, bestman_port="no port", bestman_nonsense=1)
    assert lab.cli("plan").returncode == 4
    return {"rig": rig, "looks": looks, "hosts": hosts}


def same(sight: Sight, control: Sight) -> None:
    """The door's files, and the service that runs with them, are those of ``control``."""
    assert sight.files == control.files
    assert (sight.journals, sight.staged, sight.aside) == ([], [], [])
    assert heap(sight) == heap(control)


def heap(sight: Sight) -> list[str]:
    assert sight.unit["ActiveState"] == "active"
    return [word for word in sight.unit["command"] if word.startswith("-Xmx")]


def restarted(before: Snapshot, after: Snapshot) -> set[str]:
    """Units that run as another process now, or in another state."""
    return changed_keys(before.units, after.units)


def test_nothing_happens_unless_somebody_says_yes(lab: TestLab, story: dict[str, Any]) -> None:
    done = lab.cli("rollback")
    assert done.returncode == 64
    assert "-BESTMAN_MAX_JAVA_HEAP=300" in done.stdout
    assert "+BESTMAN_MAX_JAVA_HEAP=400" in done.stdout
    for host in SERVERS:
        assert not difference(story["hosts"][2][host], lab.snapshot(host))


def test_a_generation_that_never_was_is_refused(lab: TestLab, story: dict[str, Any]) -> None:
    done = lab.cli("rollback", "--yes", "--to", "9", "--component", "bestman")
    assert done.returncode == 1
    assert "There is no generation 9: bestman on door.lab.test has 1, 2, 3." in _one_line(done)
    for wrong in (["--to", "2"], ["--to", "0", "--component", "bestman"]):
        assert lab.cli("rollback", "--yes", *wrong).returncode == 64
    assert story["rig"].look().generation == 3


@pytest.fixture(scope="module")
def back(lab: TestLab, story: dict[str, Any]) -> dict[str, Any]:
    """Rolled back once, by a run that says in check mode before what it does."""
    foretold = json.loads(lab.cli("rollback", "--check", "--output", "json").stdout)
    done = lab.cli("rollback", "--yes", "--output", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    return {
        "foretold": foretold,
        "done": json.loads(done.stdout),
        "look": story["rig"].look(),
        "hosts": {host: lab.snapshot(host) for host in SERVERS},
    }


def test_bytes_modes_and_processes_are_those_of_before(
    story: dict[str, Any], back: dict[str, Any]
) -> None:
    same(back["look"], story["looks"][1])
    assert back["look"].generation == 4
    assert SUDOERS in back["look"].managed
    assert not difference(story["hosts"][1][DOOR], back["hosts"][DOOR], times=False).files


def test_nothing_else_was_touched(story: dict[str, Any], back: dict[str, Any]) -> None:
    before = story["hosts"][2]
    assert not difference(before[TRANSFER], back["hosts"][TRANSFER])
    assert restarted(before[DOOR], back["hosts"][DOOR]) == {UNIT}
    changed = difference(before[DOOR], back["hosts"][DOOR]).files
    assert changed <= set(story["looks"][1].managed) | {"/etc/sudoers.d"}
    assert ENVIRONMENT in changed


def test_the_plan_is_what_is_done(back: dict[str, Any]) -> None:
    assert back["foretold"]["exit_code"] == 2 and back["foretold"]["result"] is None
    assert changes(back["done"]["plan"]) == changes(back["foretold"]["plan"])
    assert changes(back["done"]["result"]) == changes(back["done"]["plan"])
    assert ("unit", UNIT, "restart") in changes(back["done"]["plan"])


def changes(outcome: dict[str, Any]) -> set[tuple[str, str, str]]:
    return {
        (change["kind"], change["name"], change["action"])
        for host in outcome["hosts"]
        for component in host["components"]
        for change in component["changes"]
    }


def test_a_killed_rollback_is_finished_by_the_next(
    lab: TestLab, story: dict[str, Any], back: dict[str, Any]
) -> None:
    """The second rollback goes back one run more; killed half way, the third does the same."""
    rig: Rig = story["rig"]
    rig.arm((rf"^os\.rename .* {SET}/manifest\.json",))
    killed = rig.start_command("rollback", "--yes")
    try:
        rig.await_stop(killed)
        killed.kill_all()
        rig.kill_sessions("session")
    finally:
        killed.kill_all()
        rig.release()
    half = rig.look()
    assert (half.journal, half.generation) == ("commit", 4)
    assert half.files[ENVIRONMENT] == story["looks"][0].files[ENVIRONMENT]
    assert heap(half) == heap(story["looks"][1])
    done = lab.cli("rollback", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "this one finishes it" in done.stdout
    same(rig.look(), story["looks"][0])
    assert rig.look().generation == 5


def test_there_is_nothing_before_the_first(lab: TestLab, story: dict[str, Any]) -> None:
    before = lab.snapshot(DOOR)
    done = lab.cli("rollback", "--yes")
    assert done.returncode == 0 and "Nothing to do." in done.stdout, done.stdout + done.stderr
    assert "bestman on door.lab.test stays" in done.stdout.replace("\n", " ")
    assert not difference(before, lab.snapshot(DOOR))


def test_forward_again_and_what_another_hand_wrote_is_kept(
    lab: TestLab, story: dict[str, Any]
) -> None:
    rig: Rig = story["rig"]
    lab.run(DOOR, f"echo '# by hand' >>{ENVIRONMENT}")
    done = lab.cli("rollback", "--yes", "--to", "3", "--component", "bestman", "--limit", DOOR)
    assert done.returncode == 0, done.stdout + done.stderr
    sight = rig.look()
    assert sight.files == story["looks"][2].files
    assert heap(sight) == ["-Xmx300m"]
    (kept,) = sight.aside
    assert "# by hand" in lab.run(DOOR, f"cat {kept}").stdout


def test_list_and_records_tell_the_story(lab: TestLab, story: dict[str, Any]) -> None:
    done = lab.cli("rollback", "--list")
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^  (.) +(\d+)  \S+ \S+  (\S+) +(.*)$", done.stdout, re.MULTILINE)
    of_bestman = [row for row in rows if int(row[1]) > 1 or row[0] == " "]
    changed = [
        len(changed_keys(*(look.of(set(look.managed) | {SUDOERS}) for look in two)))
        for two in itertools.pairwise(story["looks"])
    ]
    assert [(row[0], row[1], row[3].split()[0]) for row in of_bestman[:-1]] == [
        ("*", "6", "as"),
        (" ", "3", str(changed[1])),
        (" ", "2", str(changed[0])),
    ]
    assert all(len(line) <= 80 for line in done.stdout.splitlines())
    told = subprocess.run(
        [CLI, "runs", "list", "-n", "200", "--output", "json"],
        capture_output=True,
        text=True,
        check=True,
    )
    records = json.loads(told.stdout)["runs"]
    own = [run for run in records if run["site"] == str(lab.site)]
    made = [run for run in own if run["command"] == "rollback" and run["changes"]]
    assert [run["exit_code"] for run in made[:2]] == [0, 0]
    assert made[0]["run_id"] == of_bestman[0][2]


def _one_line(done: Any) -> str:
    return " ".join((done.stdout + done.stderr).split())
