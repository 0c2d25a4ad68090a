"""host_sets and host_forget through ansible-playbook itself, beside config_set."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
CANARY = "c4n4ry-hunter2"
OLD_PYTHON = shutil.which("python3.9", path=str(Path.home() / ".pyenv/versions/3.9.18/bin"))
OLD_PYTHON = OLD_PYTHON or shutil.which("python3.9", path="/usr/bin:/usr/local/bin")

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="files get owners")
PYTHONS = [
    pytest.param(sys.executable, marks=pytest.mark.one_core),
    pytest.param(
        OLD_PYTHON,
        marks=pytest.mark.skipif(not OLD_PYTHON, reason="Python 3.9 is not on this machine"),
    ),
]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    return tmp_path


def tasks_of(base: Path, version: int, secret: str = CANARY) -> list[dict[str, Any]]:
    """The tasks that make two sets be as in ``version``."""
    files = [
        {"path": f"{base}/etc/conf", "content": f"version {version}\n", "mode": f"060{version}"},
        {"path": f"{base}/etc/key", "content": secret, "secret": True},
    ]
    other = {"path": f"{base}/etc/d/other", "content": "same\n"}
    logs = {"path": f"{base}/etc/logs", "data": True}
    state = {"state_dir": f"{base}/state"}
    return [
        {"cloudlet.deploy.config_set": {"name": "demo", "files": files, **state}},
        {
            "cloudlet.deploy.config_set": {
                "name": "other",
                "directories": [{"path": f"{base}/etc/d"}, logs],
                "files": [other],
                **state,
            }
        },
    ]


def sets(base: Path, **args: Any) -> dict[str, Any]:
    return {"cloudlet.deploy.host_sets": {"state_dir": f"{base}/state", **args}}


def back(base: Path, to: int, present: int) -> dict[str, Any]:
    wanted = {"demo": {"to": to, "from": present}}
    return sets(base, state="restored", generations=wanted, undoes="run-2")


@pytest.mark.parametrize("python", PYTHONS)
def test_list_go_back_and_remove(base: Path, run_tasks: Run, python: str) -> None:
    made = [
        {**task, "vars": {"cloudlet_run_id": f"run-{number}"}}
        for number in (1, 2)
        for task in tasks_of(base, number)
    ]
    *_, look, foretold, done, again = run_tasks(
        [
            *made,
            sets(base),
            {**back(base, 1, 2), "check_mode": True, "diff": True},
            {**back(base, 1, 2), "diff": True},
            back(base, 1, 3),
        ],
        python=python,
        extra_vars={"cloudlet_run_id": "run-3"},
        options=("-vvv",),
    )
    (demo, other) = look["report"]["sets"]
    assert not look["changed"] and other["generation"] == 1
    assert [one["run"] for one in demo["generations"]] == ["run-1", "run-2"]
    assert foretold["changes"] == done["changes"]
    assert [(c["kind"], c["action"]) for c in done["changes"]] == [
        ("set", "restore"),
        ("file", "change"),
    ]
    assert foretold["diff"] == done["diff"]
    assert done["diff"][0]["after"] == "version 1\n"
    assert done["ansible_facts"]["cloudlet_units_pending"] == {"restart": [], "reload": []}
    assert not again["changed"]
    assert (base / "etc/conf").read_text() == "version 1\n"
    assert (base / "etc/conf").stat().st_mode & 0o777 == 0o601

    (base / "etc/logs/log").write_text("data")
    forget = {"cloudlet.deploy.host_forget": {"state_dir": f"{base}/state"}}
    results = run_tasks([forget, sets(base)], python=python)
    assert "still something to undo: set:demo, set:other" in results[0]["msg"]
    calls = [sets(base, state="absent", purge_data=True), forget]
    foretold = run_tasks(calls, check=True, diff=True, python=python)
    done = run_tasks(calls, diff=True, python=python)
    assert [one["changes"] for one in foretold] == [one["changes"] for one in done]
    assert {"data", "file", "directory"} == {c["kind"] for c in done[0]["changes"]}
    assert list((base / "etc").iterdir()) == []
    assert not (base / "state").exists()
    assert not any(one["changed"] for one in run_tasks(calls, python=python))
    assert not (base / "state").exists()


@pytest.mark.one_core
def test_one_refusal_keeps_every_set_as_it_is(base: Path, run_tasks: Run) -> None:
    run_tasks([*tasks_of(base, 1, "old"), *tasks_of(base, 2, CANARY)])
    (base / "etc/d/other").write_text("by hand\n")
    wanted = {"demo": {"to": 1, "from": 2}, "other": {"to": 1, "from": 1}}
    for check in (True, False):
        results = run_tasks(
            [sets(base, state="restored", generations=wanted)],
            check=check,
            diff=True,
            options=("-vvv",),
        )
        assert "etc/key held another secret than now" in results[-1]["msg"]
        assert results[-1]["next_step"].startswith("Put the former secret into the site, and apply")
        assert CANARY not in results.output
        assert (base / "etc/conf").read_text() == "version 2\n"
        assert (base / "etc/d/other").read_text() == "by hand\n"
    moved = run_tasks([back(base, 2, 1)])
    assert "at generation 2, not at 1" in moved[-1]["msg"]


@pytest.mark.one_core
def test_drift_that_was_kept_stays_with_the_state(base: Path, run_tasks: Run) -> None:
    run_tasks(tasks_of(base, 1))
    (base / "etc/conf").write_text("by hand\n")
    calls = [
        sets(base, state="absent"),
        {"cloudlet.deploy.host_forget": {"state_dir": f"{base}/state"}},
    ]
    done = run_tasks(calls)
    (kept,) = done[0]["kept_aside"].values()
    assert Path(kept).read_text() == "by hand\n"
    assert {path.name for path in (base / "state").iterdir()} == {"drift", "lock"}
    assert not any(one["changed"] for one in run_tasks(calls))
    calls[1]["cloudlet.deploy.host_forget"]["purge_data"] = True
    assert run_tasks(calls)[1]["changes"][0]["name"] == kept
    assert not (base / "state").exists()
