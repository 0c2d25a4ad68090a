"""How plans, progress and summaries look, without Ansible."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from cloudlet_deploy.cli import render, view
from cloudlet_deploy.cli._flow import _recordable
from cloudlet_deploy.cli.options import AnsibleOptions
from cloudlet_deploy.run.events import Change, Diff, Status, TaskEnded, TaskStarted
from cloudlet_deploy.run.outcome import ComponentOutcome, Failure, RunOutcome

_LONG = "/etc/systemd/system/" + "a-very-long-name" * 5 + ".service"


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("COLUMNS", "80")
    render.console.cache_clear()
    yield
    render.console.cache_clear()


def _part(*changes: Change, diffs: tuple[Diff, ...] = (), host: str = "door") -> ComponentOutcome:
    return ComponentOutcome(host, "bestman", Status.CHANGED, changes, diffs)


def test_long_paths_fold_and_stay_whole(capsys: pytest.CaptureFixture[str]) -> None:
    diff = Diff(_LONG, f"--- {_LONG}\n+++ {_LONG}\n@@ -1 +1 @@\n-{'x' * 200}\n+[bold]y[/bold]")
    change = Change("file", _LONG, "create", "root:root 0644")
    view.plan([_part(change, diffs=(diff,))], whole=True)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    joined = "".join(out.split())
    assert joined.count(_LONG) == 3
    assert "x" * 200 in joined
    assert "+[bold]y[/bold]" in out
    assert "root:root" in out


def test_long_diffs_are_cut_unless_all_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    part = _part(diffs=(Diff("/f", "\n".join(f"+line{n}" for n in range(100))),))
    view.plan([part], whole=False)
    out = capsys.readouterr().out
    assert "+line38\n" in out
    assert "+line39" not in out
    assert "61 more lines" in out
    view.plan([part], whole=True)
    assert "+line99" in capsys.readouterr().out


def test_attributes_of_new_files_are_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    diffs = tuple(
        Diff(f"{path} (file attributes)", f"+owner of {path}") for path in ("/new", "/old")
    )
    changes = (Change("file", "/new", "create"), Change("file", "/old", "attributes"))
    view.plan([_part(*changes, diffs=diffs)], whole=False)
    out = capsys.readouterr().out
    assert "+owner of /old" in out
    assert "+owner of /new" not in out


def _outcome(*failed: str) -> RunOutcome:
    parts = tuple(
        ComponentOutcome(host, "java", Status.UNREACHABLE if host in failed else Status.OK)
        for host in ("one", "two")
    )
    failures = tuple(Failure(host, "java", "T", Status.UNREACHABLE, "x") for host in failed)
    return RunOutcome(parts, failures, complete=True)


@pytest.mark.parametrize(
    ("failed", "words"),
    [
        ((), "Nothing to do.\n"),
        (("one",), "Nothing to do on the other 1 host.\n"),
        (("one", "two"), "No host could be looked at; nothing was changed.\n"),
    ],
)
def test_nothing_is_said_only_of_hosts_that_were_seen(
    failed: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    view.nothing(_outcome(*failed))
    assert capsys.readouterr().out == words


def test_summary_names_each_host_once(capsys: pytest.CaptureFixture[str]) -> None:
    view.summary(_outcome("two"), "RUN")
    out = capsys.readouterr().out
    assert out.count("one ") == 1
    assert "1 ok, 1 unreachable; 0 s; record: RUN" in out


def test_plain_progress_tells_changes_when_changing_only(
    capsys: pytest.CaptureFixture[str],
) -> None:
    change = Change("unit", "x.service", "restart")
    ended = TaskEnded("one", "java", "T", Status.CHANGED, (change,))
    for changing in (True, False):
        with view.PlainProgress(changing=changing) as progress:
            for _ in range(2):
                progress.show(TaskStarted("one", "java", "T"))
            progress.show(ended)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "one: java: working",
        "one: java: restart unit x.service",
        "one: java: looking",
    ]


def test_live_progress_shortens_the_task_and_not_the_host() -> None:
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, color_system=None)
    with view.LiveProgress(console) as progress:
        progress.show(TaskStarted("door.lab.example.org", "grid_trust", "Write " + "x" * 90))
        change = Change("task", "T", "change")
        ended = TaskEnded("door.lab.example.org", "grid_trust", "T", Status.CHANGED, (change,))
        progress.show(ended)
    text = out.getvalue()
    assert "door.lab.example.org  grid_trust  Write xxx" in text
    assert "1 change" in text
    assert "x" * 80 not in text


def test_values_of_extra_vars_are_not_recorded() -> None:
    options = AnsibleOptions(
        inventory=(),
        extra_vars=("a=hush b='hush hush' c=", '{"d": "hush"}', "@vars.yml"),
        user="me",
    )
    told = _recordable(options, ("java",))
    assert told == {
        "components": ["java"],
        "user": "me",
        "extra_vars": ["a=******** b=******** c=********", "********", "@vars.yml"],
    }
