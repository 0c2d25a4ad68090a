"""Lanes that cannot work, told offline with their place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cloudlet_deploy import site
from cloudlet_deploy.site.validation import validate
from tests.unit.cryosparc_lanes import LANE, REMOTE

VARIABLE = "cryosparc_lane_clusters"
WITHOUT_KEY = {key: value for key, value in REMOTE.items() if key != "key_file"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "hosts.yml").write_text(
        "cloudlet: {children: {cryosparc: }}\ncryosparc: {hosts: {cs.example.org: }}\n"
    )
    return tmp_path


def told(home: Path, *lanes: Any) -> list[tuple[str, str, int | None]]:
    """What is said of the lanes: the variable's part, the message and its line."""
    path = home / "group_vars" / "cryosparc.yml"
    # One line each.
    items = [json.dumps(lane) for lane in lanes]
    path.write_text("\n".join([f"{VARIABLE}:", *(f"  - {item}" for item in items), ""]))
    found = validate(site.load(home), files=False)
    return [(f.variable, f.message, f.line) for f in found if f.variable.startswith(VARIABLE)]


def test_good_lanes_are_let_through(home: Path) -> None:
    assert told(home, LANE, {**REMOTE, "name": "far"}) == []


def test_a_fault_is_told_with_its_lane_and_line(home: Path) -> None:
    wrong = {**LANE, "options": ["--comment={user}"]}
    assert told(home, {**LANE, "name": "cpu"}, wrong) == [
        (
            f"{VARIABLE}[1]",
            "has in options {{ user }}, and user is no variable of CryoSPARC's",
            3,
        )
    ]


def test_a_name_is_there_once(home: Path) -> None:
    ((variable, message, _),) = told(home, LANE, LANE)
    assert (variable, message) == (f"{VARIABLE}[1]", "has a name that is there before")


def test_what_only_a_run_can_tell_is_taken_for_given(home: Path) -> None:
    lookup = "{{ lookup('ansible.builtin.file', '/keys') }}"
    lane = {**WITHOUT_KEY, "key": lookup, "known_hosts": [lookup]}
    assert told(home, lane) == []
    assert told(home, {**lane, "login": lookup, "options": ["-x"]}) == []
    ((_, message, _),) = told(home, {**lane, "options": ["-x", lookup]})
    assert message == "has the option -x"


def test_a_login_needs_a_key(home: Path) -> None:
    ((_, message, _),) = told(home, WITHOUT_KEY)
    assert message == "has a login and not one key for it"


def test_wrong_types_are_left_to_the_spec(home: Path) -> None:
    found = told(home, {**LANE, "cpu_factor": "many"}, "no lane")
    assert [variable for variable, _, _ in found] == [f"{VARIABLE}[0].cpu_factor", f"{VARIABLE}[1]"]
