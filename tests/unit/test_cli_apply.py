"""How plans, progress and summaries look, without Ansible."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from rich.console import Console

from cloudlet_deploy.cli import _plan_view, render, view
from cloudlet_deploy.cli._flow import recordable
from cloudlet_deploy.cli._plan_view import Detail
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


def _lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if line != line.rstrip()] == []
    return lines


def _diff(path: str, old: str = "", new: str = "") -> Diff:
    return Diff(path, f"--- {path}\n+++ {path}\n@@ -1 +1 @@\n-{old}\n+{new}")


def test_paths_fold_at_slashes_and_stay_whole(capsys: pytest.CaptureFixture[str]) -> None:
    paths = ["/etc/systemd/system/" + "a-long-name" * 4 + ".service.d/local.conf", _LONG]
    changes = [Change("file", path, "create", "root:root 0644") for path in paths]
    _plan_view.show([_part(*changes)])
    lines = _lines(capsys)
    assert "    create  file  /etc/systemd/system" in lines
    assert "                  /" + "a-long-name" * 4 + ".service.d" in lines
    assert "                  /local.conf  root:root 0644" in lines
    # A name that no line can hold is broken anywhere, and is still whole when joined.
    assert _LONG in "".join(line[18:] for line in lines[5:])
    # A detail that does not fit beside its name goes below it.
    _plan_view.show([_part(Change("file", "/" + "f" * 50, "create", "root:root 0644"))])
    assert _lines(capsys)[-2:] == ["                  root:root 0644", ""]


@pytest.mark.parametrize(
    ("words", "lines"),
    [
        ("one two three", ["one two", "three"]),
        ("in /a/b/c", ["in", "/a/b/c"]),
        ("in /aaaa/bbbb", ["in", "/aaaa", "/bbbb"]),
        ("0123456789 x", ["0123456", "789 x"]),
        ("one\n  two", ["one", "  two"]),
        ("", [""]),
    ],
)
def test_words_fold_at_spaces_and_paths_at_slashes(words: str, lines: list[str]) -> None:
    assert list(render.folded(words, 7)) == lines


def test_errors_fold_without_trailing_spaces(capsys: pytest.CaptureFixture[str]) -> None:
    path = "/" + "/".join(["site"] * 12)
    render.error(f"door: the certificate {path} cannot be read: [Errno 2] no such file", "Look.")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "error: door: the certificate"
    assert path in lines[1]
    assert lines[-1] == "next:  Look."
    assert max(map(len, lines)) <= 80


def test_each_host_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    change = Change("unit", "x.service", "start")
    parts = [_part(change, host=host) for host in ("one", "two", "one")]
    _plan_view.show(parts)
    lines = _lines(capsys)
    assert [line for line in lines if line and line[0] != " "] == ["one", "two"]
    assert lines.count("    start  unit  x.service") == 3


def test_diffs_of_changed_files_only_unless_all_is_wanted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    actions = {"/new": "create", "/old": "change", "/gone": "remove"}
    changes = [Change("file", path, action) for path, action in actions.items()]
    part = _part(
        *changes, diffs=tuple(_diff(p, "x" * 200 + " " * 80 + "y", f"[bold]{p}") for p in actions)
    )
    for detail, shown in ((Detail(), {"/old"}), (Detail(contents=True), set(actions))):
        _plan_view.show_all([part], detail)
        lines = _lines(capsys)
        assert {line[13:] for line in lines if line.startswith("      +[bold]")} == shown
        assert "x" * 200 in "".join(line[6:] for line in lines)
        closing = "Contents of 1 new file and 1 removed file: add --diff."
        assert (closing in lines) == (not detail.contents)
        row = lines.index("    change  file  /old")
        assert lines[row + 1] == "      @@ -1 +1 @@"


def test_long_diffs_are_cut_unless_all_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    part = _part(diffs=(Diff("/f", "\n".join(f"+line{n}" for n in range(100))),))
    _plan_view.show([part])
    lines = _lines(capsys)
    assert "      +line38" in lines
    assert "      +line39" not in lines
    assert "      ... 61 more lines: add --diff" in lines
    _plan_view.show([part], Detail(contents=True))
    assert "      +line99" in _lines(capsys)


def test_attributes_are_told_by_the_row(capsys: pytest.CaptureFixture[str]) -> None:
    diffs = tuple(_diff(f"{path} (file attributes)", "mode: 0600") for path in ("/f", "/other"))
    change = Change("file", "/f", "attributes", "mode 0600 -> 0644")
    _plan_view.show([_part(change, diffs=diffs)], Detail(contents=True, digests=True))
    lines = _lines(capsys)
    assert "    attributes  file  /f  mode 0600 -> 0644" in lines
    # What no row tells is never left out.
    assert lines.count("      -mode: 0600") == 1
    assert "      --- /other (file attributes)" in lines


def test_secrets_show_no_digest_unless_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    old, new = ("(secret) sha256 " + letter * 64 for letter in "ab")
    changes = (
        Change("file", "/key", "change", "content, mode 0600 -> 0400"),
        Change("file", "/new", "create", "root:root 0400"),
    )
    created = Diff("/new", f"--- /new (absent)\n+++ /new\n@@ -0,0 +1 @@\n+{new}")
    part = _part(*changes, diffs=(_diff("/key", old, new), created))
    for detail in (Detail(), Detail(contents=True)):
        _plan_view.show_all([part], detail)
        lines = _lines(capsys)
        assert "    change  file  /key  (secret) changed, mode 0600 -> 0400" in lines
        assert "    create  file  /new  root:root 0400, (secret)" in lines
        assert not any("sha256" in line or "Contents" in line for line in lines)
    _plan_view.show([part], Detail.of(diff=False, verbosity=1))
    assert sum("sha256" in line for line in _lines(capsys)) == 3


def test_the_sum_of_a_host_adds_up() -> None:
    changes = [
        *(Change("file", f"/{n}", "create") for n in range(3)),
        Change("file", "/a", "change"),
        Change("file", "/b", "attributes"),
        Change("package", "p", "install"),
        Change("unit", "u", "restart"),
    ]
    told = list(_plan_view.totals([_part(*changes[:2]), _part(*changes[2:])], Detail()))
    assert told == ["door: 3 to create, 2 to change, 1 to install; units: 1 to restart"]
    assert _plan_view.count([_part(*changes)]) == "7 changes on 1 host"


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
        (("one", "two"), "No host can be worked on; nothing was changed.\n"),
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
    assert [line for line in out.splitlines() if line != line.rstrip()] == []
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
    told = recordable(options, ("java",))
    assert told == {
        "components": ["java"],
        "user": "me",
        "extra_vars": ["a=******** b=******** c=********", "********", "@vars.yml"],
    }
