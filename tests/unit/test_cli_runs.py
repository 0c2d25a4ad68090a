"""``runs list`` and ``runs show``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cloudlet_deploy.cli import main, render
from cloudlet_deploy.errors import ExitCode
from cloudlet_deploy.run.events import Change, Notice, Status, TaskEnded, TaskStarted
from cloudlet_deploy.run.outcome import ComponentOutcome, Failure, RunOutcome
from cloudlet_deploy.run.record import Journal
from cloudlet_deploy.run.secrets import Redactor


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")
    render.console.cache_clear()


def _made(phase: str) -> str:
    change = Change("package", "jre", "install", "17")
    outcome = RunOutcome(
        (ComponentOutcome("door", "java", Status.FAILED, (change,)),),
        (Failure("door", "java", "Install", Status.FAILED, "[no] space"),),
        complete=True,
    )
    words = ("door", "java", "Install", Status.FAILED)
    with Journal("apply", "/sites/mine", {"user": "me"}, Redactor([]), hosts=["door"]) as journal:
        journal.phase(phase)
        journal.event(TaskStarted("door", "java", "Install"))
        journal.event(TaskEnded(*words, (change,), message="[no] space"))
        journal.finish(ExitCode.TASK_FAILED, outcome)
    return journal.record.run_id


def test_no_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "list"]) == ExitCode.DONE
    assert capsys.readouterr().out == "No run is on record.\n"
    assert main(["runs", "show", "last"]) == ExitCode.USAGE


def test_list_counts_what_was_made(capsys: pytest.CaptureFixture[str]) -> None:
    planned, changed = _made("plan"), _made("change")
    assert main(["runs", "list", "--output", "json"]) == ExitCode.DONE
    listed = {run["run_id"]: run for run in json.loads(capsys.readouterr().out)["runs"]}
    assert {name: run["changes"] for name, run in listed.items()} == {planned: 0, changed: 1}
    assert main(["runs", "list"]) == ExitCode.DONE
    lines = capsys.readouterr().out.splitlines()
    (line,) = (line for line in lines if line.startswith(changed))
    assert line.split() == [changed, "apply", "1", "(task", "failed)", "1", "mine"]
    assert main(["runs", "list", "-n", "1", "--output", "json"]) == ExitCode.DONE
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 1


@pytest.mark.parametrize("phase", ["plan", "change"])
def test_show_tells_planned_from_made(phase: str, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = _made(phase)
    assert main(["runs", "show", run_id]) == ExitCode.DONE
    out = capsys.readouterr().out
    assert "site     /sites/mine" in out
    assert "door (java): task 'Install' failed: [no] space" in out
    assert "door: failed (java: Install)" in out
    assert "jre" in out
    assert ("Planned, not made" in out) == (phase == "plan")
    assert ("nothing was changed" in out) == (phase == "plan")
    assert main(["runs", "show", run_id, "--output", "json"]) == ExitCode.DONE
    record = json.loads(capsys.readouterr().out)["run"]
    assert record["run_id"] == run_id
    assert record["failures"][0]["message"] == "[no] space"


def test_a_run_is_replayed_in_the_order_of_time(capsys: pytest.CaptureFixture[str]) -> None:
    """What was so in the plan, who held the hosts, what was made, and where it was cut off."""
    made = [Change("file", f"/etc/{name}", "create", "root:root 0644") for name in "ab"]
    with (
        pytest.raises(KeyboardInterrupt),
        Journal("apply", "/sites/mine", {}, Redactor(["hush"]), hosts=["one", "two"]) as journal,
    ):
        for host in ("one", "two"):
            journal.event(TaskStarted(host, "java", "T"))
            journal.event(TaskEnded(host, "java", "T", Status.CHANGED, tuple(made)))
        journal.lease("one", "take-over", "run X (apply) of hush")
        for host in ("one", "two"):
            journal.lease(host, "take", "")
        journal.phase("change")
        journal.event(TaskStarted("one", "java", "T"))
        journal.event(TaskEnded("one", "java", "T", Status.CHANGED, tuple(made[:1])))
        journal.event(TaskEnded("one", "java", "U", Status.CHANGED, tuple(made[1:])))
        journal.event(TaskEnded("one", "java", "V", Status.FAILED, message="odd"))
        journal.event(TaskStarted("two", "bestman", "T"))
        journal.event(Notice("warning", "odd " * 30))
        raise KeyboardInterrupt
    assert main(["runs", "show", "last"]) == ExitCode.DONE
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    replay = [line[9:] for line in lines[lines.index("") + 1 :]]
    assert replay == [
        "looks what would change",
        "one: 2 changes to make",
        "two: 2 changes to make",
        "one: lease taken over from run X (apply) of ********: its process is",
        "gone",
        "one, two: lease taken",
        "changes the hosts",
        "one: java",
        "  create  file  /etc/a  root:root 0644",
        "  create  file  /etc/b  root:root 0644",
        "one (java): task 'V' failed: odd",
        " ".join(["odd"] * 18),
        " ".join(["odd"] * 12),
        "one: was at java",
        "two: was at bestman",
        "ended: interrupted",
    ]
    assert "         two: the run was interrupted before it ended there" in lines


def test_a_failure_that_was_mended_is_told_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    with Journal("apply", "/sites/mine", {}, Redactor([])) as journal:
        journal.event(TaskEnded("one", "java", "V", Status.FAILED, message="odd"))
        journal.finish(ExitCode.DONE, RunOutcome(complete=True))
    assert main(["runs", "show", "last"]) == ExitCode.DONE
    out = capsys.readouterr().out
    assert "one (java): task 'V' failed: odd\n         The role mended it." in out
