"""What an apply left undone, read from its record."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cloudlet_deploy.errors import ExitCode, UsageError
from cloudlet_deploy.run import resume
from cloudlet_deploy.run.events import Status
from cloudlet_deploy.run.outcome import ComponentOutcome, Failure, RunOutcome
from cloudlet_deploy.run.record import Journal, Record, list_records
from cloudlet_deploy.run.secrets import Redactor

SITE = ("/sites/mine",)
HOSTS = ("one", "two", "three")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def _journal(command: str = "apply", **more: Any) -> Journal:
    given = {"sources": SITE, "hosts": HOSTS, **more}
    options = given.pop("options", {})
    return Journal(command, "mine", options, Redactor([]), **given)


def _outcome(*failures: Failure, complete: bool = True) -> RunOutcome:
    parts = tuple(ComponentOutcome(host, "java", Status.CHANGED) for host in HOSTS)
    return RunOutcome(parts, failures, complete=complete)


AWAY = Failure("two", "java", "T", Status.UNREACHABLE, "x")
FAILED = Failure("three", "java", "Install", Status.FAILED, "x")


def test_hosts_that_came_to_their_end_are_left_out() -> None:
    with _journal() as journal:
        journal.phase("change")
        journal.finish(ExitCode.TASK_FAILED, _outcome(AWAY, FAILED))
    rest = resume.rest(SITE, {})
    assert rest.record.run_id == journal.record.run_id
    assert rest.hosts == {"two": "could not be reached", "three": "failed (java: Install)"}


def test_a_run_without_failures_leaves_nothing() -> None:
    for phase in ("plan", "change"):
        with _journal() as journal:
            journal.phase(phase)
            journal.finish(ExitCode.DONE, _outcome())
        assert resume.rest(SITE, {}).hosts == {}


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        ("plan", "never begun: the run was interrupted before it changed anything"),
        ("change", "the run was interrupted before it ended there"),
    ],
)
def test_an_interrupted_run_leaves_every_host(phase: str, words: str) -> None:
    with pytest.raises(KeyboardInterrupt), _journal() as journal:
        journal.keep(_outcome())
        journal.phase(phase)
        journal.keep(_outcome(FAILED, complete=False))
        raise KeyboardInterrupt
    assert resume.rest(SITE, {}).hosts == {
        "one": words,
        "two": words,
        "three": "failed (java: Install)",
    }


def test_a_plan_that_was_complete_has_done_nothing() -> None:
    """Whatever ended the run after its plan: only what was changed, or needed none, is done."""
    with pytest.raises(UsageError), _journal() as journal:
        journal.keep(_outcome())
        raise UsageError("Declined")
    why = "never begun: the run was given up"
    assert resume.rest(SITE, {}).hosts == dict.fromkeys(HOSTS, why)


def test_a_run_interrupted_after_its_last_change_is_done() -> None:
    with pytest.raises(KeyboardInterrupt), _journal() as journal:
        journal.phase("change")
        journal.keep(_outcome(AWAY))
        raise KeyboardInterrupt
    assert resume.rest(SITE, {}).hosts == {"two": "could not be reached"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"state": "killed", "phase": "change"}, "the run was killed before it ended there"),
        ({"state": "finished", "exit_code": 75}, "never begun: another run was at work"),
        ({"state": "finished", "phase": "change", "exit_code": 1}, "the run was broken off"),
    ],
)
def test_why_a_host_is_left(changes: dict[str, Any], words: str) -> None:
    with _journal() as journal:
        record = replace(journal.record, **changes)
        journal.finish(ExitCode.DONE)
    assert all(why.startswith(words) for why in resume.undone(record).values())
    assert list(resume.undone(record)) == list(HOSTS)


def _finished(**more: Any) -> Record:
    with _journal(**more) as journal:
        journal.finish(ExitCode.UNREACHABLE, _outcome(AWAY))
    return journal.record


def test_only_applies_of_the_same_site_count() -> None:
    wanted = _finished()
    others = [
        _finished(command="plan"),
        _finished(sources=("/sites/other",)),
        _finished(sources=()),
    ]
    newest_first = [*others, wanted]
    assert resume.last_apply(newest_first, SITE) == wanted
    assert len(list_records()) == 4
    with pytest.raises(UsageError, match="nothing to resume"):
        resume.rest(("/sites/unknown",), {})


@pytest.mark.parametrize(
    ("then", "now", "words"),
    [
        ({"limit": "one"}, {"limit": "two"}, "--limit two does not fit"),
        ({}, {"limit": "two"}, "which had no --limit"),
        ({"components": ["a"]}, {"components": ["a", "b"]}, "--component a, b does not fit"),
        ({"extra_vars": ["x=********"]}, {}, "which had -e 'x=********'"),
        ({}, {"extra_vars": ["x=********"]}, "which had none"),
    ],
)
def test_options_that_contradict_are_refused(
    then: dict[str, Any], now: dict[str, Any], words: str
) -> None:
    _finished(options=then)
    with pytest.raises(UsageError) as caught:
        resume.rest(SITE, now)
    assert words in caught.value.message
    assert caught.value.next_step


def test_options_need_not_be_given_again() -> None:
    then = {"limit": "one:two", "components": ["a", "b"], "user": "me"}
    _finished(options=then)
    for now in ({}, then, {"components": ["b", "a"], "user": "you"}):
        rest = resume.rest(SITE, now)
        assert (rest.limit, rest.components) == ("one:two", ("a", "b"))
