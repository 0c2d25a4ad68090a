"""``apply --resume`` does what an apply left undone, and nothing else.

The tests build on each other; they use the one component that both hosts have and that has no
service, so that they cost about a minute.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from cloudlet_deploy import lab as labs
from cloudlet_deploy.run.tether import offspring
from tests.lab.conftest import CLI, DOOR, SERVERS, TRANSFER, TestLab, set_values
from tests.lab.processes import await_gone

pytestmark = pytest.mark.lab

LEASE = "/var/lib/cloudlet-deploy/lease.json"
GRIDMAP = "/etc/grid-security/grid-mapfile"
QUICK = ("--yes", "--component", "grid_trust")


@pytest.fixture(autouse=True)
def state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records of this module's runs alone, kept from test to test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "resume-state"))


def mark(lab: TestLab) -> str:
    """Make the site want one file of both hosts to be another than ever before."""
    word = secrets.token_hex(4)
    gridmap = [{"dn": f"/O=Grid/OU=lab/CN={word}", "account": "grid"}]
    set_values(lab.site / "group_vars" / "all.yml", grid_trust_gridmap=gridmap)
    return word


def marked(lab: TestLab, word: str) -> dict[str, bool]:
    return {
        host: lab.run(host, f"grep -q {word} {GRIDMAP}", check=False).returncode == 0
        for host in SERVERS
    }


def leases(lab: TestLab) -> set[str]:
    return {lab.run(host, f"cat {LEASE} 2>/dev/null || true").stdout for host in SERVERS}


def tasks_on(lab: TestLab, host: str) -> int:
    """How often Ansible ever became root on a host, by the host's own journal."""
    found = lab.run(host, "journalctl -q _COMM=sudo | grep -c BECOME-SUCCES[S] || true")
    return int(found.stdout)


def resume(lab: TestLab, *args: str) -> subprocess.CompletedProcess[str]:
    return lab.cli("apply", "--yes", "--resume", *args)


def last_record() -> dict[str, Any]:
    done = subprocess.run(
        [CLI, "runs", "show", "last", "--output", "json"],
        capture_output=True,
        text=True,
        check=True,
    )
    record: dict[str, Any] = json.loads(done.stdout)["run"]
    return record


def test_without_a_record_there_is_nothing_to_resume(lab: TestLab) -> None:
    done = resume(lab)
    assert done.returncode == 64
    assert "is on record here" in " ".join(done.stderr.split())


def test_a_host_that_was_down_is_done_later_and_alone(lab: TestLab) -> None:
    word = mark(lab)
    labs.kill(lab.name, DOOR)
    try:
        done = lab.cli("apply", *QUICK)
    finally:
        labs.start(lab.name, DOOR)
    assert done.returncode == 3, done.stderr
    assert marked(lab, word) == {TRANSFER: True, DOOR: False}
    assert last_record()["done"] == [TRANSFER]

    contradiction = resume(lab, "--component", "storage")
    assert contradiction.returncode == 64
    assert "--component storage does not fit run" in " ".join(contradiction.stderr.split())
    assert resume(lab, "--limit", DOOR).returncode == 64

    before = {host: tasks_on(lab, host) for host in SERVERS}
    done = resume(lab, "--output", "json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["resumed"]["hosts"] == {DOOR: "could not be reached"}
    for part in ("plan", "result"):
        assert [host["host"] for host in document[part]["hosts"]] == [DOOR]
        components = {c["component"] for c in document[part]["hosts"][0]["components"]}
        assert components == {"host_check", "grid_trust"}
    assert tasks_on(lab, TRANSFER) == before[TRANSFER] > 0
    assert tasks_on(lab, DOOR) > before[DOOR]
    assert marked(lab, word) == dict.fromkeys(SERVERS, True)

    again = resume(lab)
    assert again.returncode == 0
    assert "left nothing undone" in again.stdout
    assert tasks_on(lab, TRANSFER) == before[TRANSFER]
    assert leases(lab) == {""}


@pytest.mark.parametrize(
    "number",
    [
        # Its short form is tests/contract/test_interrupt.py.
        pytest.param(signal.SIGINT, id="Ctrl-C", marks=pytest.mark.soak),
        pytest.param(signal.SIGKILL, id="SIGKILL"),
    ],
)
def test_a_run_that_was_cut_off_is_resumed(
    lab: TestLab, number: signal.Signals, tmp_path: Path
) -> None:
    word = mark(lab)
    log = tmp_path / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [CLI, "apply", "-i", str(lab.site), *QUICK],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
        )
    waiting = f"for i in $(seq 1200); do test -e {LEASE} && exit; sleep 0.05; done; exit 9"
    assert lab.run(DOOR, waiting).returncode == 0
    started = offspring(process.pid)
    os.kill(process.pid, number)
    code = process.wait(30)
    assert await_gone(started, 3.0) == []
    assert not all(marked(lab, word).values()), "too late: all was done"
    record = last_record()
    if number is signal.SIGINT:
        assert code == 130, log.read_text()
        assert (record["state"], record["exit_code"]) == ("interrupted", 130)
        # It gave the hosts back on its way out.
        assert leases(lab) == {""}
    else:
        assert record["state"] == "killed"
        assert "" not in leases(lab)

    done = resume(lab)
    assert done.returncode == 0, done.stderr
    assert f"Run {record['run_id']} left 2 of 2 hosts undone" in " ".join(done.stdout.split())
    assert marked(lab, word) == dict.fromkeys(SERVERS, True)
    assert leases(lab) == {""}
    assert last_record()["done"] == list(record["hosts"])
