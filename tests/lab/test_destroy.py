"""A destroy gives the hosts back as they were before the first apply.

The tests of this module build on each other: bare hosts, an apply, then the door is destroyed
with its packages, by a run that is killed and one that finishes it, and the transfer server
without packages but with its data.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.conftest import CLI, DOOR, SERVERS, TRANSFER, TestLab, set_values
from tests.lab.killing import STATE, Rig
from tests.lab.snapshot import CONSEQUENCES, Snapshot, changed_keys, difference

pytestmark = pytest.mark.lab

LOGS, STORED = "/var/log/bestman2", "/srv/storage/lab"
RC = "/etc/bestman2/conf/bestman2.rc"
#: Files of accounts and their copies, which the tools for accounts write anew: accounts and
#: groups are compared by themselves. Everything else must be as before.
LEFT_BY_TOOLS = frozenset(CONSEQUENCES)


def left(before: Snapshot, after: Snapshot) -> list[str]:
    """Paths that differ, times of files aside: dpkg and systemd write some of theirs again."""
    paths = changed_keys(
        *({path: told[:5] for path, told in one.files.items()} for one in (before, after))
    )
    return sorted(paths - LEFT_BY_TOOLS)


def check_gone(before: Snapshot, after: Snapshot) -> None:
    """Accounts, groups and what runs and is enabled are as before."""
    for kind in ("accounts", "groups"):
        assert getattr(after, kind) == getattr(before, kind)
    assert {unit: told for unit, told in after.units.items() if told[0] == "active" or told[1]} == {
        unit: told for unit, told in before.units.items() if told[0] == "active" or told[1]
    }


def typed(lab: TestLab, answer: str) -> tuple[int, str]:
    """Exit code and output of a destroy on a terminal on which ``answer`` is typed."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [CLI, "destroy", "-i", str(lab.site), "--limit", TRANSFER],
        stdin=slave,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    os.close(slave)
    os.write(master, f"{answer}\n".encode())
    said, _ = process.communicate(timeout=120)
    os.close(master)
    return process.returncode, said


@pytest.fixture(scope="module")
def story(lab: TestLab, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    rig = Rig(lab, tmp_path_factory.mktemp("destroy"))
    rig.prepare()
    bare = {host: lab.snapshot(host) for host in SERVERS}
    lab.apply()
    lab.run(DOOR, f"echo precious >{STORED}/precious; touch {LOGS}/by-hand.log")
    return {
        "rig": rig,
        "bare": bare,
        "applied": {TRANSFER: lab.snapshot(TRANSFER)},
    }


def test_nothing_happens_without_the_name_of_the_site(lab: TestLab, story: dict[str, Any]) -> None:
    wrong = lab.cli("destroy", "--confirm", "another-site")
    assert (wrong.returncode, "another-site" in wrong.stderr) == (64, True)
    unasked = lab.cli("destroy", "--limit", TRANSFER)
    assert unasked.returncode == 64
    assert re.search("remove +package +globus-gridftp-server-progs", unasked.stdout)
    assert f"--confirm {lab.site.name}" in unasked.stderr.replace("\n", " ")
    code, said = typed(lab, "another-site")
    assert (code, "is not the name of this site" in said) == (64, True)
    assert not difference(story["applied"][TRANSFER], lab.snapshot(TRANSFER))
    for host in SERVERS:
        assert lab.run(host, f"ls {STATE}").stdout.split() == ["ledger.json", "lock", "sets"]


@pytest.fixture(scope="module")
def ruined(lab: TestLab, story: dict[str, Any]) -> Path:
    """The site says other things now, and nothing that an apply would accept."""
    path = lab.site / "group_vars" / "all.yml"
    path.rename(path.with_suffix(".aside"))
    told = yaml.safe_load(path.with_suffix(".aside").read_text())
    connection = {key: value for key, value in told.items() if key.startswith(("ansible_", "lab_"))}
    set_values(path, **connection, bestman_port="no port", storage_path="relative")
    assert lab.cli("plan").returncode == 4
    return path


@pytest.fixture(scope="module")
def destroyed(lab: TestLab, story: dict[str, Any], ruined: Path) -> dict[str, Any]:
    rig: Rig = story["rig"]
    door = ["--limit", DOOR, "--confirm", lab.site.name]
    rig.arm((rf"^os\.remove {RC}",))
    killed = rig.start_command("destroy", *door)
    try:
        rig.await_stop(killed)
        killed.kill_all()
        rig.kill_sessions("session")
    finally:
        killed.kill_all()
        rig.release()
    half = rig.look()
    plan = lab.cli("destroy", *door[:2], "--check")
    finished = lab.cli("destroy", *door)
    kept = lab.cli(
        *("destroy", "--limit", TRANSFER, "--confirm", lab.site.name),
        *("--keep-packages", "--purge-data"),
    )
    ruined.with_suffix(".aside").rename(ruined)
    return {
        "killed": killed,
        "half": half,
        "plan": plan,
        "finished": finished,
        "kept": kept,
        "after": {host: lab.snapshot(host) for host in SERVERS},
    }


def test_what_was_killed_is_finished(destroyed: dict[str, Any]) -> None:
    half = destroyed["half"]
    assert half.journal == "commit" and RC in half.files
    assert destroyed["plan"].returncode == 2, destroyed["plan"].stderr
    assert re.search(f"remove +file +{RC}", destroyed["plan"].stdout)
    done = destroyed["finished"]
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_door_is_bare_again(story: dict[str, Any], destroyed: dict[str, Any]) -> None:
    before, after = story["bare"][DOOR], destroyed["after"][DOOR]
    assert after.packages == before.packages
    assert left(before, after) == []
    check_gone(before, after)


def test_the_transfer_server_has_its_packages_and_nothing_else(
    lab: TestLab, story: dict[str, Any], destroyed: dict[str, Any]
) -> None:
    done = destroyed["kept"]
    assert done.returncode == 0, done.stdout + done.stderr
    before, after = story["bare"][TRANSFER], destroyed["after"][TRANSFER]
    came = after.packages - before.packages
    assert "globus-gridftp-server-progs" in came and before.packages <= after.packages
    # What packages brought, and what their scripts made, is theirs: see snapshot.py.
    assert sorted(difference(before, after, times=False).files) == []
    # systemd does not list what is neither running nor enabled.
    unit = "globus-gridftp-server.service"
    asked = f"systemctl is-active {unit}; systemctl is-enabled {unit}"
    told = lab.run(TRANSFER, asked, check=False).stdout
    assert told.split() == ["inactive", "disabled"]
    for kind in ("accounts", "groups"):
        assert getattr(after, kind) == getattr(before, kind)


def test_data_goes_only_if_it_is_told_to(lab: TestLab, destroyed: dict[str, Any]) -> None:
    there = f"ls {LOGS} {STORED} {STATE} 2>/dev/null; true"
    assert "by-hand.log" in lab.run(DOOR, there).stdout
    assert f"{DOOR}: {LOGS} stays: it holds data" in destroyed["killed"].output()
    assert re.search(rf"remove +data +{STORED} +1 entry", destroyed["kept"].stdout)
    assert lab.run(TRANSFER, there).stdout == ""
    assert lab.run(DOOR, f"test ! -e {STATE} && echo gone").stdout == "gone\n"


def test_a_second_destroy_finds_nothing(lab: TestLab, destroyed: dict[str, Any]) -> None:
    done = lab.cli("destroy", "--confirm", lab.site.name)
    assert (done.returncode, done.stdout) == (0, "Nothing to do.\n"), done.stderr
    assert not difference(destroyed["after"][TRANSFER], lab.snapshot(TRANSFER))


def test_an_apply_works_again(lab: TestLab, destroyed: dict[str, Any]) -> None:
    lab.apply("--limit", TRANSFER)
    assert "Nothing to do." in lab.apply("--limit", TRANSFER).stdout
