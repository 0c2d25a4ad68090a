"""Records: whole, private, redacted, and true about runs that were killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cloudlet_deploy.errors import CheckFailedError, ExitCode, UsageError
from cloudlet_deploy.run import record as records
from cloudlet_deploy.run.events import Change, Diff, Status
from cloudlet_deploy.run.outcome import ComponentOutcome, Failure, RunOutcome
from cloudlet_deploy.run.record import Journal, list_records, read_record
from cloudlet_deploy.run.secrets import Redactor

_OUTCOME = RunOutcome(
    components=(
        ComponentOutcome(
            "door",
            "java",
            Status.FAILED,
            (Change("package", "jre", "install", "17"),),
            (Diff("/etc/x", "+private"),),
            {"failed": 1},
            2.5,
        ),
    ),
    failures=(Failure("door", "java", "Install", Status.FAILED, "no space"),),
    complete=True,
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def _journal(command: str = "apply") -> Journal:
    options = {"user": "me", "extra_vars": ["a=hushhush"], "forks": None}
    return Journal(command, "/site", options, Redactor(["hushhush"]))


def test_finished_run_is_read_back_as_it_was(home: Path) -> None:
    with _journal() as journal:
        assert read_record("last").state == "running"
        journal.phase("change")
        journal.finish(ExitCode.TASK_FAILED, _OUTCOME, error="because of hushhush")
    found = read_record(journal.record.run_id)
    assert found == journal.record
    assert (found.state, found.phase, found.exit_code) == ("finished", "change", 1)
    assert found.ended >= found.started
    assert found.failures == _OUTCOME.failures
    assert found.components[0].changes == _OUTCOME.components[0].changes
    text = "".join(path.read_text() for path in home.rglob("*.json"))
    assert "hushhush" not in text
    assert "+private" not in text
    for path in (home / "cloudlet-deploy" / "runs").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600)
    assert (home / "cloudlet-deploy" / "runs").stat().st_mode & 0o777 == 0o700


def test_error_without_an_end_is_an_interruption() -> None:
    with pytest.raises(ZeroDivisionError), _journal() as journal:
        journal.keep(_OUTCOME)
        raise ZeroDivisionError("by hushhush")
    found = read_record("last")
    assert (found.state, found.error) == ("interrupted", "by ********")
    assert found.failures == _OUTCOME.failures


def test_an_error_of_ours_ends_the_record_with_its_exit_code() -> None:
    with pytest.raises(UsageError), _journal() as journal:
        journal.keep(_OUTCOME)
        raise UsageError("no hushhush")
    found = read_record("last")
    assert (found.state, found.exit_code, found.error) == ("finished", 64, "no ********")
    assert found.failures == _OUTCOME.failures


def test_killed_run_is_called_so(home: Path) -> None:
    code = """
import time
from cloudlet_deploy.run.record import Journal
from cloudlet_deploy.run.secrets import Redactor
with Journal("apply", "/site", {}, Redactor([])):
    print("ready", flush=True)
    time.sleep(60)
"""
    env = {**os.environ, "XDG_STATE_HOME": str(home)}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=env
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        assert read_record("last").state == "running"
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
    assert read_record("last").state == "killed"


def test_progress_is_written_every_few_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    def outcome() -> RunOutcome:
        nonlocal asked
        asked += 1
        return _OUTCOME

    with _journal() as journal:
        journal.progress(outcome)
        assert asked == 0
        monkeypatch.setattr(records, "_INTERVAL", 0.0)
        journal.progress(outcome)
        assert asked == 1
        assert read_record("last").failures == _OUTCOME.failures
        journal.finish(ExitCode.DONE)


def test_beginning_of_an_id_will_do() -> None:
    ids = []
    for _ in range(2):
        with _journal() as journal:
            journal.finish(ExitCode.DONE)
        ids.append(journal.record.run_id)
    assert {record.run_id for record in list_records()} == set(ids)
    assert read_record(ids[0][:-1]).run_id == ids[0]
    for wrong in ("2", "nosuch", "", "../x"):
        with pytest.raises(UsageError):
            read_record(wrong)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": 1}', '{"schema": 99}', '{"schema": "x"}']
)
def test_damaged_record_is_an_error_and_hides_no_other(text: str) -> None:
    with _journal() as journal:
        journal.finish(ExitCode.DONE)
    broken = journal.directory.parent / "20200101T000000Z-abcdef"
    broken.mkdir()
    (broken / "record.json").write_text(text)
    with pytest.raises(CheckFailedError, match="20200101T000000Z-abcdef"):
        read_record(broken.name)
    assert [record.run_id for record in list_records()] == [journal.record.run_id]


def test_newer_schema_is_refused_by_its_number() -> None:
    with _journal() as journal:
        journal.finish(ExitCode.DONE)
    path = journal.directory / "record.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 99}))
    with pytest.raises(CheckFailedError, match="has schema 99"):
        read_record("last")


def test_old_records_go(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setattr(records, "KEPT", 3)
    for number in range(5):
        path = home / "cloudlet-deploy" / "runs" / f"2020010{number + 1}T000000Z-abcdef"
        path.mkdir(parents=True)
    with _journal() as journal:
        journal.finish(ExitCode.DONE)
    left = sorted(path.name for path in journal.directory.parent.iterdir())
    assert left == [*("20200104T000000Z-abcdef", "20200105T000000Z-abcdef", journal.record.run_id)]


def test_newer_keys_are_ignored() -> None:
    with _journal() as journal:
        journal.finish(ExitCode.DONE)
    path = journal.directory / "record.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "novel": 1}))
    assert read_record("last") == journal.record
