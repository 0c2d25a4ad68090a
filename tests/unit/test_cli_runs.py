"""``runs list`` and ``runs show``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cloudlet_deploy.cli import main, render
from cloudlet_deploy.errors import ExitCode
from cloudlet_deploy.run.events import Change, Status
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
    with Journal("apply", "/sites/mine", {"user": "me"}, Redactor([])) as journal:
        journal.phase(phase)
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
    assert "failed: door: java: Install: [no] space" in out
    assert "jre" in out
    assert ("planned, not made" in out) == (phase == "plan")
    assert main(["runs", "show", run_id, "--output", "json"]) == ExitCode.DONE
    record = json.loads(capsys.readouterr().out)["run"]
    assert record["run_id"] == run_id
    assert record["failures"][0]["message"] == "[no] space"
