"""The role ``data_watch``: what it hands over, and which settings it refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.one_core]

Run = Callable[..., Any]
WATCH = {
    "name": "k3", "raw": "/srv/k3", "raw_pattern": "*.tiff",
    "output": "/srv/em/out", "output_pattern": "*_dw.mrc",
}  # fmt: skip
MOUNTS = {
    "data_mounts_cifs": [{"name": "k3", "where": "/srv/k3"}],
    "data_mounts_sshfs": [{"name": "em", "where": "/srv/em"}],
}


def _role(tasks: str, **settings: Any) -> list[dict[str, Any]]:
    given = {**settings, **({"cloudlet_tasks": tasks} if tasks else {})}
    role = {"name": "cloudlet.deploy.data_watch"}
    facts = {"var": "ansible_facts['cloudlet_needs'] | default({})"}
    return [
        {"ansible.builtin.include_role": role, "vars": given},
        {"ansible.builtin.debug": facts},
    ]


def test_what_is_watched_is_handed_over_with_the_mounts(run_tasks: Run) -> None:
    results = run_tasks(_role("needs", data_watch_directories=[WATCH], **MOUNTS))
    assert results.returncode == 0, results.output
    *_, told = results
    (needs,) = [value for key, value in told.items() if key.startswith("ansible_facts")]
    expected = {**WATCH, "limit": 180, "mounts": ["/srv/k3", "/srv/em"]}
    assert needs == {"data_watch": {"watches": [expected]}}


@pytest.mark.parametrize("tasks", ["", "needs"])
def test_where_nothing_is_watched_nothing_is_said(run_tasks: Run, tasks: str) -> None:
    results = run_tasks(_role(tasks))
    assert results.returncode == 0, results.output
    *_, told = results
    assert {} in told.values()


def test_an_apply_changes_nothing(run_tasks: Run) -> None:
    results = run_tasks(_role("", data_watch_directories=[WATCH]))
    assert results.returncode == 0, results.output
    assert not any(one.get("changed") for one in results)


@pytest.mark.parametrize(
    ("watches", "words"),
    [
        ([WATCH, WATCH], "has a name twice"),
        ([{**WATCH, "raw": "srv"}], "has in k3 a path that is not absolute"),
        ([{**WATCH, "output": "/srv/k3/", "output_pattern": "*.tiff"}], "cannot be told apart"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    run_tasks: Run, watches: list[dict[str, str]], words: str
) -> None:
    results = run_tasks(_role("", data_watch_directories=watches))
    assert results.returncode != 0
    assert words in results.output
