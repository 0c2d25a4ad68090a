"""``plan``, ``apply`` and ``runs`` with real Ansible, a toy collection and localhost."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cloudlet_deploy.run.tether import offspring
from tests.contract.toy import Toy, make_toy

pytestmark = pytest.mark.slow


def test_plan_shows_every_change_and_makes_none(toy: Toy) -> None:
    done = toy.run("plan", "--diff")
    assert done.returncode == 2, done.stderr
    assert not toy.files()
    for name in ("one", "two"):
        assert f"{name}.conf" in done.stdout
    assert "+word=hello" in done.stdout
    assert "2 changes on 2 hosts" in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    # A long path is folded, not cut: joined again it is whole.
    assert f"{toy.target}/one.conf" in "".join(done.stdout.split())


def test_apply_makes_what_the_plan_listed_and_then_nothing(toy: Toy) -> None:
    done = toy.json("apply", "--yes")
    assert done["exit_code"] == 0
    listed, made = (
        [c["changes"] for h in done[part]["hosts"] for c in h["components"]]
        for part in ("plan", "result")
    )
    assert sum(map(len, listed)) == 2
    assert sorted(map(str, listed)) == sorted(map(str, made))
    assert toy.files() == {"one.conf": "word=hello\n", "two.conf": "word=hello\n"}
    again = toy.run("apply")
    assert (again.returncode, again.stdout) == (0, "Nothing to do.\n"), again.stderr
    assert not toy.leftovers()


def test_apply_without_terminal_and_yes_changes_nothing(toy: Toy) -> None:
    toy.add_hosts("far")
    toy.set(beta_breaking_plan=["two"])
    done = toy.run("apply")
    assert done.returncode == 64
    assert "1 change on 1 host, and there is no terminal" in done.stderr
    assert "--yes" in done.stderr
    assert "These hosts are left as they are; the plan is that of the others." in done.stderr
    assert "one.conf" in done.stdout
    assert "two.conf" not in done.stdout
    assert not toy.files()
    record = toy.record()
    assert (record["exit_code"], record["phase"], record["state"]) == (64, "plan", "finished")


@pytest.mark.one_core
def test_component_and_limit_narrow_the_run(toy: Toy) -> None:
    toy.set(beta_breaking=["one", "two"])
    done = toy.json("apply", "--yes", "--component", "alpha", "--limit", "two")
    assert done["exit_code"] == 0
    assert set(toy.files()) == {"two.conf"}
    assert {c["component"] for h in done["result"]["hosts"] for c in h["components"]} == {"alpha"}


@pytest.mark.one_core
def test_wrong_usage_and_an_invalid_site_touch_no_host(toy: Toy) -> None:
    done = toy.run("apply", "--yes", "--component", "alpah")
    assert done.returncode == 64
    assert "Did you mean alpha?" in done.stderr
    toy.set(alpha_wrod="x", beta_nap="soon")
    done = toy.run("apply", "--yes")
    assert done.returncode == 4
    assert "alpha_wrod" in done.stderr
    assert "beta_nap" in done.stderr
    assert not toy.files()


def test_broken_playbook_gives_ansibles_words(toy: Toy) -> None:
    tasks = toy.root / "roles" / "alpha" / "tasks" / "main.yml"
    tasks.write_text("- name: Odd\n  nosuch.a.b: {}\n")
    done = toy.run("apply", "--yes")
    assert done.returncode == 1
    assert "ansible-playbook could not start" in done.stderr
    assert "nosuch.a.b" in done.stderr
    record = toy.record()
    assert record["state"] == "finished"
    assert "nosuch.a.b" in record["error"]


# --- one apply on hosts of every fate -----------------------------------------------------

GOOD = ("one", "two", "rescued")


@dataclass
class Fates:
    """An apply with a vaulted word in which hosts fail in every way, and one after it."""

    toy: Toy
    code: int
    document: dict[str, Any]
    stderr: str
    again: list[Any]

    @property
    def failures(self) -> dict[str, dict[str, Any]]:
        """The failure of each host, from wherever it happened."""
        told = [*self.document["plan"]["hosts"], *self.document["result"]["hosts"]]
        return {host["host"]: failure for host in told for failure in host["failures"]}


@pytest.fixture(scope="module")
def fates(tmp_path_factory: pytest.TempPathFactory) -> Fates:
    """Made once for all workers of pytest-xdist: whoever is first makes it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    base = shared / "fates"
    with (shared / "fates.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (base / "results.json").exists():
            base.mkdir()
            (base / "results.json").write_text(json.dumps(_meet_fates(make_toy(base))))
    return Fates(Toy(base), **json.loads((base / "results.json").read_text()))


def _meet_fates(toy: Toy) -> dict[str, Any]:
    toy.add_hosts("rescued", "broken", "hiding", "unplanned", "far")
    toy.set(beta_rescue=["rescued"], beta_breaking_plan=["unplanned"])
    password = toy.base / "vault-password"
    password.write_text("opensesame")
    encrypted = subprocess.run(
        [
            *(sys.executable, "-m", "ansible", "vault", "encrypt_string"),
            *("--vault-password-file", str(password), "--name", "alpha_word", "swordfish"),
        ],
        check=True,
        capture_output=True,
        text=True,
        env=toy.environment(),
    ).stdout
    indented = "".join(f"    {line}\n" for line in encrypted.splitlines())
    toy.inventory.write_text(toy.inventory.read_text().replace("  vars:\n", f"  vars:\n{indented}"))
    vault = ("--vault-password-file", str(password))
    extra = '{"beta_breaking": ["broken"], "alpha_hiding": ["hiding"]}'
    done = toy.run("apply", "--yes", *vault, "-e", extra, "--output", "json")
    again = toy.run("apply", *vault, "--limit", "one,two,rescued,far")
    return {
        "code": done.returncode,
        "document": json.loads(done.stdout),
        "stderr": done.stderr,
        "again": [again.returncode, again.stdout, again.stderr],
    }


def test_hosts_that_fail_do_not_stop_the_others(fates: Fates) -> None:
    assert fates.code == fates.document["exit_code"] == 1
    status = {host["host"]: host["status"] for host in fates.document["result"]["hosts"]}
    assert status == dict.fromkeys(GOOD, "changed") | {"broken": "failed"}
    # Who failed in the plan is not changed.
    assert set(fates.toy.files()) == {f"{name}.conf" for name in (*GOOD, "broken")}
    assert set(fates.failures) == {"broken", "hiding", "unplanned", "far"}
    words = "broken (beta): task 'Break' failed: no luck"
    assert fates.failures["broken"]["message"].startswith(words)


def test_unreachable_host_is_named(fates: Fates) -> None:
    assert fates.failures["far"]["status"] == "unreachable"
    code, out, err = fates.again
    assert code == 3, err
    assert "far: it refuses ssh:" in err
    assert "Connection refused" in " ".join(err.split())
    assert out == "Nothing to do on the other 3 hosts.\n"


def test_the_record_holds_the_hosts_that_failed_in_the_plan(fates: Fates) -> None:
    record = fates.toy.json("runs show", fates.document["run"])["run"]
    assert record["exit_code"] == 1
    assert {f["host"] for f in record["failures"]} == set(fates.failures)
    assert {c["host"] for c in record["components"]} == {*GOOD, *fates.failures}


def test_secrets_are_neither_shown_nor_kept(fates: Fates) -> None:
    assert fates.toy.files()["one.conf"] == "word=swordfish\n"
    assert "no luck, ********" in fates.failures["broken"]["message"]
    assert "no_log" in fates.failures["hiding"]["message"]
    state = fates.toy.base / "state"
    kept = "".join(p.read_text() for p in state.rglob("*") if p.is_file())
    for text in (json.dumps(fates.document), fates.stderr, *map(str, fates.again), kept):
        assert "swordfish" not in text
        assert "opensesame" not in text
    assert not fates.toy.leftovers()
    assert {p.stat().st_mode & 0o077 for p in (state / "cloudlet-deploy").rglob("*")} == {0}


def test_runs_tell_what_happened(fates: Fates) -> None:
    runs = fates.toy.json("runs list")["runs"]
    assert [run["exit_code"] for run in runs] == [3, 1]
    shown = fates.toy.run("runs show", fates.document["run"])
    assert shown.returncode == 0, shown.stderr
    assert "no luck, ********" in shown.stdout
    assert "one.conf" in "".join(shown.stdout.split())


# --- runs that are cut off ----------------------------------------------------------------


def _descendants_of(process: subprocess.Popen[str]) -> list[int]:
    return offspring(process.pid)


def _commands(pids: list[int]) -> list[str]:
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            raw = Path(f"/proc/{pid}/cmdline").read_bytes()
            if raw:
                found.append(raw.replace(b"\0", b" ").decode())
    return found


Start = Callable[..., tuple[subprocess.Popen[str], list[int]]]


@pytest.fixture
def napping(toy: Toy) -> Iterator[Start]:
    """Starts a command and returns once its task sleeps on both hosts, with all its processes."""
    started: list[subprocess.Popen[str]] = []

    def start(*argv: str) -> tuple[subprocess.Popen[str], list[int]]:
        toy.set(beta_nap=77, beta_nap_changing=argv[0] == "apply")
        process = toy.start(*argv)
        started.append(process)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            pids = _descendants_of(process)
            if sum(command.startswith("sleep 77") for command in _commands(pids)) == 2:
                return process, pids
            time.sleep(0.05)
        process.kill()
        raise AssertionError(f"the task never ran: {process.communicate()}")

    yield start
    for process in started:
        process.kill()
        process.communicate()


def _gone_within(pids: list[int], seconds: float) -> list[str]:
    deadline = time.monotonic() + seconds
    while (left := _commands(pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def test_killed_cli_leaves_no_ansible_and_no_secret(toy: Toy, napping: Start) -> None:
    process, pids = napping("plan")
    assert any("ansible-playbook" in command for command in _commands(pids))
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=5)
    assert _gone_within(pids, 3.0) == []
    deadline = time.monotonic() + 2
    while toy.leftovers() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert toy.leftovers() == []
    assert toy.json("runs list")["runs"][0]["state"] == "killed"


@pytest.mark.parametrize(
    ("number", "argv", "phase"),
    [(signal.SIGINT, ("apply", "--yes"), "change"), (signal.SIGTERM, ("plan",), "plan")],
)
def test_interrupted_cli_stops_ansible_and_says_so(
    toy: Toy, napping: Start, number: signal.Signals, argv: tuple[str, ...], phase: str
) -> None:
    process, pids = napping(*argv)
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "Interrupted" in err
    assert _gone_within(pids, 3.0) == []
    assert toy.leftovers() == []
    run = toy.json("runs list")["runs"][0]
    assert (run["state"], run["exit_code"], run["phase"]) == ("interrupted", 130, phase)
