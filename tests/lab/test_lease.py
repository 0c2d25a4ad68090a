"""Two runs never change the same hosts at once, whoever starts them, and a dead one bars nobody.

Every run is a process of its own with a state directory of its own: all that keeps them apart
lies on the hosts. The tests build on each other; costs about a minute.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cloudlet_deploy.run.tether import offspring
from tests.lab.conftest import CLI, SERVERS, TRANSFER, TestLab, set_values

pytestmark = pytest.mark.lab

LEASE = "/var/lib/cloudlet-deploy/lease.json"
GRIDMAP = "/etc/grid-security/grid-mapfile"
#: Files on both hosts, few tasks, no service.
QUICK = ("--yes", "--component", "grid_trust")


@dataclass
class Admin:
    """Somebody with an own copy of the site, which differs in one line of one file."""

    name: str
    site: Path
    state: Path

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "XDG_STATE_HOME": str(self.state)}

    def start(self, *args: str) -> subprocess.Popen[str]:
        """Begin an apply of the quick component."""
        return subprocess.Popen(
            [CLI, "apply", "-i", str(self.site), *QUICK, *args],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def apply(self, *args: str) -> Done:
        return ended(self.start(*args))

    def marks(self, words: str) -> str:
        """Put a mark into this admin's version of the file, and return it."""
        mark = f"{self.name} {words} {secrets.token_hex(2)}"
        gridmap = [{"dn": f"/O=Grid/OU=lab/CN={mark}", "account": "grid"}]
        set_values(self.site / "group_vars" / "all.yml", grid_trust_gridmap=gridmap)
        return mark

    def last_record(self) -> dict[str, Any]:
        done = subprocess.run(
            [CLI, "runs", "show", "last", "--output", "json"],
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        record: dict[str, Any] = json.loads(done.stdout)["run"]
        return record


@dataclass(frozen=True)
class Done:
    """How an apply ended; its words without the folding."""

    code: int
    out: str
    err: str


def ended(process: subprocess.Popen[str]) -> Done:
    out, err = process.communicate(timeout=180)
    return Done(process.returncode, " ".join(out.split()), " ".join(err.split()))


@pytest.fixture(scope="module")
def admins(lab: TestLab, tmp_path_factory: pytest.TempPathFactory) -> tuple[Admin, Admin]:
    base = tmp_path_factory.mktemp("admins")
    made = []
    for name in ("Ann", "Bob"):
        site = base / name
        shutil.copytree(lab.site, site)
        made.append(Admin(name, site, base / f"{name}-state"))
    return made[0], made[1]


def on_each(lab: TestLab, command: str) -> dict[str, str]:
    return {host: lab.run(host, command).stdout for host in SERVERS}


def leases(lab: TestLab) -> dict[str, dict[str, Any] | None]:
    found = on_each(lab, f"cat {LEASE} 2>/dev/null || true")
    return {host: json.loads(text) if text else None for host, text in found.items()}


#: No host is held.
FREE = dict.fromkeys(SERVERS)


def who_wrote(lab: TestLab) -> dict[str, list[str]]:
    """The marks in the file of every host."""
    found = on_each(lab, f"cat {GRIDMAP} 2>/dev/null || true")
    return {host: re.findall(r'CN=((?:Ann|Bob) [^"]+)', text) for host, text in found.items()}


def everywhere(mark: str) -> dict[str, list[str]]:
    return {host: [mark] for host in SERVERS}


@contextlib.contextmanager
def frozen(lab: TestLab, process: subprocess.Popen[str]) -> Iterator[list[int]]:
    """In the block ``process`` holds all hosts, has changed none, and stands still.

    Hands out its processes; what is left of them ends with the block.
    """
    waiting = f"for i in $(seq 1200); do test -e {LEASE} && exit; sleep 0.05; done; exit 9"
    before = who_wrote(lab)
    pids: list[int] = []
    try:
        watching = [subprocess.Popen(lab.ssh(host, waiting)) for host in SERVERS]
        assert [watch.wait(90) for watch in watching] == [0, 0]
        while fresh := {process.pid, *offspring(process.pid)} - set(pids):
            send(fresh, signal.SIGSTOP)
            pids += fresh
        assert who_wrote(lab) == before, "too late: the process had begun to change hosts"
        yield pids
    finally:
        send(pids, signal.SIGKILL)
        process.kill()
        process.communicate()


def send(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def test_of_two_started_together_one_wins(lab: TestLab, admins: tuple[Admin, Admin]) -> None:
    marks = [admin.marks("first") for admin in admins]
    done = [ended(process) for process in [admin.start() for admin in admins]]
    assert sorted(one.code for one in done) == [0, 75], done
    winner = [one.code for one in done].index(0)
    assert who_wrote(lab) == everywhere(marks[winner])
    loser = done[1 - winner]
    holder = admins[winner].last_record()
    assert f"is held by run {holder['run_id']} (apply) of {holder['user']} on" in loser.err
    assert "nothing was changed" in loser.err
    record = admins[1 - winner].last_record()
    assert (record["exit_code"], record["phase"], record["state"]) == (75, "plan", "finished")
    assert leases(lab) == FREE


def test_the_lease_of_a_dead_process_is_taken_over(
    lab: TestLab, admins: tuple[Admin, Admin]
) -> None:
    ann, bob = admins
    ann.marks("killed")
    with frozen(lab, ann.start()) as pids:
        send(pids, signal.SIGKILL)
    holder = ann.last_record()
    assert holder["state"] == "killed"
    assert {lease and lease["run"] for lease in leases(lab).values()} == {holder["run_id"]}
    mark = bob.marks("after the dead")
    done = bob.apply()
    assert done.code == 0, done.err
    for host in SERVERS:
        assert f"{host}: lease taken over from run {holder['run_id']} (apply) of" in done.err
    assert who_wrote(lab) == everywhere(mark)
    assert leases(lab) == FREE


def test_a_lease_of_another_controller_stands_until_it_is_broken(
    lab: TestLab, admins: tuple[Admin, Admin]
) -> None:
    ann, bob = admins
    ann.marks("broken")
    slow = ann.start()
    with frozen(lab, slow) as pids:
        on_each(lab, f'sed -i \'s/"machine": ".*"/"machine": "elsewhere"/\' {LEASE}')
        held = leases(lab)
        assert {lease and lease["machine"] for lease in held.values()} == {"elsewhere"}
        mark = bob.marks("breaker")
        done = bob.apply()
        assert done.code == 75, done.err
        assert ann.last_record()["run_id"] in done.err
        assert "--break-lock" in done.err
        assert leases(lab) == held
        done = bob.apply("--break-lock")
        assert done.code == 0, done.err
        assert (
            f"{TRANSFER}: lease broken that was held by run {ann.last_record()['run_id']}"
            in done.err
        )
        # The one that was broken goes on, and finds out.
        send(reversed(pids), signal.SIGCONT)
        done = ended(slow)
    assert done.code == 75, done.err
    assert "another run broke its lease" in done.err
    assert who_wrote(lab) == everywhere(mark)
    assert leases(lab) == FREE


def test_an_apply_without_changes_takes_no_lease(admins: tuple[Admin, Admin]) -> None:
    bob = admins[1]
    done = bob.apply()
    assert (done.code, done.out) == (0, "Nothing to do.")
    assert not [entry for entry in bob.last_record()["timeline"] if entry["what"] == "lease"]
