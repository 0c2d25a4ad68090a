"""Mounts that cannot work, or not safely, told offline with their place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cloudlet_deploy import site
from cloudlet_deploy.site.faults import Fault, Severity
from cloudlet_deploy.site.validation import validate
from tests.unit.test_data_mounts_filters import CIFS, KEY, SSHFS

WITHOUT_KEY = {key: value for key, value in SSHFS.items() if key != "key_file"}
LOOKUP = "{{ lookup('ansible.builtin.file', '/secrets') }}"
CAMERA = {**CIFS, "password": LOOKUP}
HOP = "data_hop: {hosts: {hop.example.org: }}\n"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "group_vars").mkdir()
    (tmp_path / "hosts.yml").write_text("cloudlet: {hosts: {c.example.org: }}\n")
    return tmp_path


def _faults(home: Path, cifs: list[Any], sshfs: list[Any], more: str = "") -> list[Fault]:
    lines = [more]
    for variable, mounts in (("data_mounts_cifs", cifs), ("data_mounts_sshfs", sshfs)):
        # One line each.
        items = [f"  - {json.dumps(mount)}" for mount in mounts] or ["  []"]
        lines += [f"{variable}:", *items]
    path = home / "group_vars/all.yml"
    path.write_text("\n".join([*lines, ""]))
    path.chmod(0o600)  # for the password
    found = validate(site.load(home), files=False)
    return [one for one in found if one.variable.startswith("data_mounts_")]


def _told(home: Path, cifs: list[Any], sshfs: list[Any]) -> list[tuple[str, str]]:
    return [(one.variable, one.message) for one in _faults(home, cifs, sshfs)]


def test_good_mounts_are_let_through(home: Path) -> None:
    assert _told(home, [CAMERA], [SSHFS]) == []


def test_a_fault_is_told_with_its_mount_line_and_remedy(home: Path) -> None:
    (one,) = _faults(home, [CAMERA, {**CAMERA, "name": "k4", "where": "/srv/../etc"}], [SSHFS])
    assert (one.variable, one.line) == ("data_mounts_cifs[1]", 4)
    assert one.message == "has in k4 where /srv/../etc"
    assert one.next_step.startswith("Write an absolute path of letters")
    assert one.hosts == ("c.example.org",)


def test_mounts_in_each_others_way(home: Path) -> None:
    below = {**SSHFS, "name": "out", "where": "/srv/cameras/k3/out"}
    assert _told(home, [CAMERA], [below, {**SSHFS, "name": "k3"}]) == [
        ("data_mounts_sshfs[0]", "has k3 at /srv/cameras/k3 and out at /srv/cameras/k3/out"),
        ("data_mounts_sshfs[1]", "has the name k3 twice"),
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"known_hosts": [f"other.example.org ssh-ed25519 {KEY}"]}, "no known_hosts line for"),
        ({"port": 2222}, "no known_hosts line for [login.example.org]:2222"),
        ({"known_hosts": ["login.example.org ssh-ed25519 AAAA..."]}, "the known_hosts line"),
        ({"options": ["StrictHostKeyChecking=no"]}, "the option StrictHostKeyChecking"),
    ],
)
def test_what_would_not_be_safe(home: Path, changes: dict[str, Any], said: str) -> None:
    (found,) = _told(home, [], [{**SSHFS, **changes}])
    assert found[0] == "data_mounts_sshfs[0]"
    assert said in found[1]


def test_a_project_space_needs_a_key(home: Path) -> None:
    assert _told(home, [], [WITHOUT_KEY]) == [("data_mounts_sshfs[0]", "has in projects no key")]


def test_what_only_a_run_or_a_vault_can_tell_is_taken_for_given(home: Path) -> None:
    share = {**CAMERA, "username": LOOKUP, "password": LOOKUP}
    space = {**WITHOUT_KEY, "key": LOOKUP, "known_hosts": LOOKUP}
    assert _told(home, [share], [space]) == []
    assert _told(home, [share], [{**space, "known_hosts": [LOOKUP]}]) == []
    ((_, said),) = _told(home, [{**share, "options": ["rw", LOOKUP]}], [space])
    assert said == "has in k3 the option rw"


def test_a_mount_of_which_too_little_is_known_moves_no_other(home: Path) -> None:
    wrong = {**CAMERA, "name": "k4", "share": "movies"}
    assert _told(home, [{**CAMERA, "share": LOOKUP}, wrong], []) == [
        ("data_mounts_cifs[1]", "has in k4 the share movies")
    ]


def test_wrong_types_are_left_to_the_spec(home: Path) -> None:
    found = _told(home, ["k3", {**CAMERA, "options": {"a": 1}}], [{**SSHFS, "port": "many"}])
    assert [variable for variable, _ in found] == [
        "data_mounts_cifs[0]",
        "data_mounts_cifs[1].options",
        "data_mounts_sshfs[0].port",
    ]


def test_a_placeholder_is_only_a_placeholder(home: Path) -> None:
    space = {**SSHFS, "known_hosts": ["login.example.org ssh-ed25519 CHANGE-ME"]}
    ((variable, message),) = _told(home, [], [space])
    assert variable == "data_mounts_sshfs[0].known_hosts[0]"
    assert message == "still holds the placeholder that `init` wrote"


def test_no_password_is_told(home: Path) -> None:
    found = _faults(home, [{**CAMERA, "password": "geheim\n"}], [])
    errors = [one.message for one in found if one.severity is Severity.ERROR]
    assert errors == ["has in k3 a control character in password"]
    assert "geheim" not in str(found)


def test_mounts_that_are_to_go_may_be_as_they_are(home: Path) -> None:
    wrong = [{**CAMERA, "share": "movies"}]
    assert _faults(home, wrong, [], "data_mounts_state: absent") == []


def test_a_hop_has_mounts_too(home: Path) -> None:
    (home / "hosts.yml").write_text(HOP)
    assert _told(home, [{**CAMERA, "share": "movies"}], []) != []
