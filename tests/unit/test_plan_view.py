"""Long plans are summed up, narrow terminals suffice, and the document has a written form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cloudlet_deploy import content
from cloudlet_deploy.cli import _plan_view, render, view
from cloudlet_deploy.cli._plan_view import Detail
from cloudlet_deploy.run.events import Change, Diff, Status
from cloudlet_deploy.run.outcome import ComponentOutcome, Failure, RunOutcome

SCHEMA = Path(content.root()) / "docs" / "reference" / "plan.schema.json"
CA = "/etc/grid-security/certificates"


@pytest.fixture(params=[80, 60])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setenv("COLUMNS", str(request.param))
    render.console.cache_clear()
    yield request.param
    render.console.cache_clear()


def diff(path: str, text: str = "+x") -> Diff:
    return Diff(path, f"--- {path}\n+++ {path}\n@@ -1 +1 @@\n{text}")


def created(*paths: str, detail: str = "root:root 0644") -> list[Change]:
    return [Change("file", path, "create", detail) for path in paths]


def lines_of(
    capsys: pytest.CaptureFixture[str], changes: list[Change], *diffs: Diff, **detail: bool
) -> list[str]:
    part = ComponentOutcome("door", "grid_trust", Status.CHANGED, tuple(changes), diffs)
    _plan_view.show_all([part], Detail(**detail))
    return capsys.readouterr().out.splitlines()


def test_many_files_of_a_directory_share_a_row(
    width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [f"{CA}/{number:08x}.0" for number in range(12)]
    others = [Change("file", f"{CA}/new.0", "create", "root:root 0600")]
    lines = lines_of(capsys, [*created(*files), *others, *created("/etc/one")], *map(diff, files))
    rows = [line.split()[2] for line in lines if line.startswith("    create")]
    assert len(rows) == 3
    joined = " ".join(" ".join(lines).split())
    assert f"{CA}/ (12 files) root:root 0644" in joined
    assert "Names of files that share a row: add --diff." in lines
    assert "door: 14 to create" in lines
    assert max(map(len, lines)) <= width
    # Every name is there if asked for.
    lines = lines_of(capsys, created(*files), *map(diff, files), contents=True)
    assert all(any(path in line for line in lines) for path in files)
    assert not any("share a row" in line for line in lines)


@pytest.mark.parametrize(
    "changes",
    [
        # Too few, not beside each other, of several directories, units, or with a diff to show.
        created(*(f"{CA}/{number}" for number in range(3))),
        [c for n in range(6) for c in (*created(f"{CA}/{n}"), *created(f"/x/{n}/y"))],
        [Change("unit", f"{n}.service", "start") for n in range(6)],
        [Change("file", f"{CA}/{n}", "change", "content") for n in range(6)],
    ],
)
def test_no_row_stands_for_what_must_be_seen(
    changes: list[Change], width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    diffs = [diff(c.name) for c in changes if c.action == "change"]
    lines = lines_of(capsys, changes, *diffs)
    assert sum(line.startswith(f"    {changes[0].action}") for line in lines) == len(changes)
    assert sum(line == "      +x" for line in lines) == len(diffs)


def test_a_secret_file_is_always_named(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    keys = [f"/etc/k/{number}" for number in range(6)]
    secret = [diff(path, "+(secret) sha256:00") for path in keys]
    lines = lines_of(capsys, created(*keys), *secret)
    assert sum("(secret)" in line for line in lines) == 6


def test_long_paths_are_whole_in_any_width(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    path = "/etc/systemd/system/globus-gridftp-server.service.d/" + "deep-down/" * 9 + "c.conf"
    lines = lines_of(
        capsys,
        [Change("file", path, "change", "content, mode 0600 -> 0644, owner root -> globus")],
        diff(path, "+" + "word " * 40),
    )
    assert max(map(len, lines)) <= width
    assert path in "".join(line.strip() for line in lines)


def document(outcome: RunOutcome) -> dict[str, Any]:
    whole = {
        "schema": render.JSON_SCHEMA,
        "command": "plan",
        "exit_code": 2,
        "site": "my-site",
        "run": "20261123T120000Z-abcdef",
        "plan": view.as_data(outcome, lambda host: None),
    }
    loaded: dict[str, Any] = json.loads(json.dumps(whole))
    return loaded


def some_outcome() -> RunOutcome:
    setting = Change("sysctl", "net.core.somaxconn", "set", "4096 -> 8192")
    back = Change("sysctl", "vm.max_map_count", "restore", "99999 -> 65530")
    changes = (*created("/etc/one"), Change("task", "Do it", "change"), setting, back)
    part = ComponentOutcome(
        *("door", "bestman", Status.CHANGED, changes, (diff("/etc/one"),), {"ok": 1}, 1.5)
    )
    lost = ComponentOutcome("data", "host_check", Status.UNREACHABLE, tasks={"unreachable": 1})
    failure = Failure("data", "host_check", "Look", Status.UNREACHABLE, "timed out")
    return RunOutcome((part, lost), (failure,), complete=True, seconds=2.0)


def test_the_document_has_its_written_form() -> None:
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document(some_outcome()), schema)


def test_kernel_settings_are_shown_with_both_values(capsys: pytest.CaptureFixture[str]) -> None:
    shown = lines_of(capsys, list(some_outcome().components[0].changes))
    assert "    set      sysctl  net.core.somaxconn  4096 -> 8192" in shown
    assert any(line.endswith("1 to set, 1 to restore") for line in shown), shown


@pytest.mark.parametrize("key", ["hosts", "complete", "seconds", "warnings"])
def test_a_document_that_lacks_something_is_refused(key: str) -> None:
    found = document(some_outcome())
    del found["plan"][key]
    with pytest.raises(jsonschema.ValidationError, match=key):
        jsonschema.validate(found, json.loads(SCHEMA.read_text()))
