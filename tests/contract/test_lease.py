"""The lease through ansible-playbook itself: its answers, its order, and who heeds it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudlet_deploy.run.lease import Lease
from cloudlet_deploy.run.plan import RunPlan
from cloudlet_deploy.run.record import Journal
from cloudlet_deploy.run.secrets import Redactor, Secrets
from tests.contract.test_config_set import PYTHONS
from tests.contract.toy import Toy

pytestmark = pytest.mark.slow

Run = Callable[..., Any]


def _dead() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen(["true"]) as process:
        return process.pid


@pytest.mark.parametrize("python", PYTHONS, ids=["controller", "python3.9"])
def test_config_set_heeds_whoever_lives(tmp_path: Path, run_tasks: Run, python: str) -> None:
    state, target = tmp_path / "state", tmp_path / "target"

    def lease(run: str, pid: int, **more: Any) -> dict[str, Any]:
        told = {"command": "apply", "user": "ann", "controller": "ctl", "since": "then"}
        return {
            "cloudlet.deploy.lease": {
                **{"run": run, "pid": pid, "state_dir": str(state), **told, **more}
            }
        }

    def configure(**more: Any) -> dict[str, Any]:
        files = [{"path": str(target), "content": "ours\n"}]
        args = {"name": "demo", "state_dir": str(state), "files": files}
        return {"cloudlet.deploy.config_set": args, "ignore_errors": True, **more}

    alive, dead = os.getpid(), _dead()
    results = run_tasks(
        [
            lease("A", alive),
            configure(),
            configure(vars={"cloudlet_run_id": "B", "cloudlet_leased": True}),
            configure(check_mode=True),
            lease("B", alive),
            lease("A", alive, state="absent"),
            configure(vars={"cloudlet_run_id": "A", "cloudlet_leased": True}),
            lease("C", dead),
            configure(),
            lease("D", alive),
            lease("E", dead, break_lock=True),
        ],
        python=python,
    )
    holder = "run A (apply) of ann on ctl, since then"
    took, plain, other, looked, refused, back, late, away, freed, over, broke = results

    def told(result: dict[str, Any]) -> list[tuple[str, str, str]]:
        assert "invocation" not in result
        return [(c["action"], c["name"], c["detail"]) for c in result["changes"]]

    assert (told(took), took["changed"]) == ([("take", "A", "")], True)
    assert plain["failed"] and f"this host is held by {holder}" in plain["msg"]
    assert "--break-lock" in plain["next_step"]
    assert other["failed"] and "which broke the lease of this run" in other["msg"]
    assert not looked.get("failed") and looked["changed"]
    assert f"{holder}, is at work on this host." in " ".join(results.output.split())
    assert not refused.get("failed") and not refused["changed"] and refused["refused"]
    assert told(refused) == [("refuse", "A", holder)]
    assert told(back) == [("give-back", "A", "")]
    assert late["failed"] and "another run broke its lease" in late["msg"]
    assert told(away) == [("take", "C", "")]
    # Plain Ansible does not wait for the dead, and leaves their lease to who takes it over.
    assert not freed.get("failed") and freed["changed"]
    assert target.read_text() == "ours\n"
    assert told(over) == [("take-over", "C", "run C (apply) of ann on ctl, since then")]
    assert told(broke) == [("break", "D", "run D (apply) of ann on ctl, since then")]
    assert json.loads((state / "lease.json").read_text())["run"] == "E"


def _hold(toy: Toy, host: str) -> dict[str, Any]:
    """Put the lease of somebody on another controller on a host."""
    lease = {"run": "R", "user": "ann", "controller": "far.example.org", "machine": "far"}
    (toy.leases / host).mkdir(parents=True)
    (toy.leases / host / "lease.json").write_text(json.dumps({**lease, "schema": 1}))
    return lease


def _lease_events(toy: Toy) -> list[tuple[str, str]]:
    told = toy.json("runs show", "last")["run"]["timeline"]
    return [(entry["host"], entry["action"]) for entry in told if entry["what"] == "lease"]


def test_the_first_host_by_name_is_asked_alone(toy: Toy) -> None:
    toy.add_hosts("begin")
    lease = _hold(toy, "begin")
    done = toy.run("apply", "--yes")
    assert done.returncode == 75, done.stderr
    words = " ".join(done.stderr.split())
    assert f"begin is held by run {lease['run']}" in words
    assert "of ann on far.example.org" in words
    # Nobody else was even asked.
    assert _lease_events(toy) == [("begin", "refuse")]
    assert [path.name for path in toy.leases.iterdir()] == ["begin"]
    assert not toy.files()


@pytest.mark.one_core
def test_what_was_taken_before_a_refusal_is_given_back(toy: Toy) -> None:
    _hold(toy, "two")
    done = toy.run("apply", "--yes", "--output", "json")
    assert done.returncode == 75, done.stderr
    document = json.loads(done.stdout)
    assert "two is held by run R" in document["error"]["message"]
    assert "--break-lock" in document["error"]["next_step"]
    assert [path.name for path in toy.leases.iterdir()] == ["two"]
    assert not toy.files()
    assert _lease_events(toy) == [("one", "take"), ("two", "refuse"), ("one", "give-back")]
    done = toy.run("apply", "--yes", "--break-lock", "--resume")
    assert done.returncode == 0, done.stderr
    assert "one: never begun: another run was at work" in done.stdout
    assert set(toy.files()) == {"one.conf", "two.conf"}
    assert not any(toy.leases.iterdir())


def test_hosts_that_cannot_be_taken_do_not_stop_the_others(toy: Toy) -> None:
    """Also the first one: here its state directory cannot be made."""
    toy.leases.mkdir()
    (toy.leases / "one").write_text("a file where the directory should be")
    done = toy.json("apply", "--yes")
    assert done["exit_code"] == 1
    status = {host["host"]: host["status"] for host in done["result"]["hosts"]}
    assert status == {"one": "failed", "two": "changed"}
    assert set(toy.files()) == {"two.conf"}
    (failure,) = [f for host in done["result"]["hosts"] for f in host["failures"]]
    assert "lease.json" in failure["message"]


def test_a_first_host_that_is_away_does_not_stop_the_others(tmp_path: Path) -> None:
    away = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "ansible_become": False,
        "cloudlet_state_dir": f"{tmp_path}/{{{{ inventory_hostname }}}}",
    }
    inventory = tmp_path / "site.yml"
    hosts = {"one": {}, "two": {}, "away": away}
    inventory.write_text(yaml.safe_dump({"all": {"vars": variables, "hosts": hosts}}))
    plan = RunPlan(Path("is replaced"), (inventory,), limit="one", components=("none",))
    redact = Redactor([])
    record = Journal("apply", "site", {}, redact).record
    lease = Lease(plan, Secrets(), redact, record)
    taken = lease.take(("one", "two", "away"), break_lock=False)
    assert taken.hosts == ("one", "two")
    assert taken.refusal is None
    (failure,) = taken.lost.failures
    assert (failure.host, failure.exit_code) == ("away", 3)
    assert json.loads((tmp_path / "two" / "lease.json").read_text())["run"] == record.run_id
    events = lease.give_back(("one", "two", "away"), seconds=60)
    assert {(event.host, event.action) for event in events} == {
        *(("one", "give-back"), ("two", "give-back"), ("away", "keep")),
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["site.yml"]
