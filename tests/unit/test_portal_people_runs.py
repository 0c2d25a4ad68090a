"""``portal-people`` as a program: check mode, its lock, its configuration, its secret."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import (
    portal_files,
    portal_people,
    portal_who,
)
from portal_campus import BOTH, KEEP, URI, Campus, mapped


@pytest.fixture
def campus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Campus:
    return Campus(tmp_path, monkeypatch)


def test_check_reads_only_and_tells(campus: Campus, capsys: pytest.CaptureFixture[str]) -> None:
    assert campus.run("--check") == 2
    assert campus.everything() == {}
    out = capsys.readouterr().out
    assert "+ account alice: claim alice%40campus.test\n" in out
    assert f"would write {campus.path('people')}\n" in out
    campus.run()
    before = campus.everything()
    capsys.readouterr()
    campus.now += KEEP * 60 - 1
    assert campus.run("--check") == 0
    assert capsys.readouterr().out == "unchanged\n"
    campus.members["alice"] = ["users"]
    assert campus.run("--check") == 2
    assert capsys.readouterr().out == (
        "- account alice: group 150001\n- gate titan: alice@campus.test\n"
        f"would write {campus.path('gate-groups')}\nwould write {campus.path('group')}\n"
    )
    campus.members["alice"] = ["instr"]
    campus.now += 1
    assert campus.run("--check") == 2
    assert "is out of date since 2025-" in capsys.readouterr().out
    assert campus.everything() == before
    assert campus.told_to_cut() == []


def test_two_runs_wait_for_each_other(campus: Campus) -> None:
    fd = os.open(campus.site, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    run = threading.Thread(target=campus.run)
    run.start()
    run.join(0.3)
    assert run.is_alive() and campus.everything() == {}
    os.close(fd)
    run.join(10)
    assert mapped(campus) == BOTH


@pytest.mark.parametrize(
    ("section", "change", "told"),
    [
        ("ldap", {"uri": "ldap://ldap.campus.test"}, "must be ldaps://, or ldap:// with start_tls"),
        ("ldap", {"uri": f"{URI} ldap://second"}, "must be ldaps://"),
        ("ldap", {"uri": "ldapi:///"}, "must be ldaps://"),
        ("ldap", {"uri": " "}, "must be ldaps://"),
        ("ldap", {"bind_dn": ""}, "bind_dn is empty"),
        ("ldap", {"filter": "objectClass=person"}, "parentheses"),
        ("ldap", {"claim_attribute": "mail=*)("}, "names of attributes"),
        ("ldap", {"timeout": 0}, "timeout must be above 0"),
        ("ldap", {"timeout": True}, "not int: timeout"),
        ("ldap", {"verify": False}, "ldap: unknown: verify"),
        ("", {"approve": []}, "configuration: unknown: approve"),
        ("", {"approved": "alice"}, "not list: approved"),
        ("", {"approved": [1]}, "approved must be names"),
        ("", {"minimum_uid": 999}, "minimum_uid must be 1000 or more"),
        ("", {"keep_minutes": 0}, "keep_minutes must be above 0"),
        ("", {"delegated_gids": [["1", 2]]}, "pairs of numbers"),
        ("", {"delegated_gids": [[1, 2, 3]]}, "pairs of numbers"),
        ("", {"instruments": {"a b": {"group": "x"}}}, "names of instruments"),
        ("", {"instruments": {"A": {"group": "x"}, "a": {"group": "y"}}}, "more than case"),
        ("", {"instruments": {"a": {}}}, "a: missing: group"),
        ("", {"shell": "/bin/sh\nroot:x:0:0::/:/bin/sh"}, "shell must be a path"),
        ("", {"cut": []}, "cut must be a command"),
    ],
)
def test_a_bad_configuration_is_told_and_changes_nothing(
    campus: Campus,
    capsys: pytest.CaptureFixture[str],
    section: str,
    change: dict[str, Any],
    told: str,
) -> None:
    (campus.config[section] if section else campus.config).update(change)
    assert campus.run() == 4
    said = capsys.readouterr().err
    assert told in said and "people.json" in said
    assert campus.everything() == {} and campus.ldap.done == []


def test_a_password_must_be_there_and_secret(
    campus: Campus, capsys: pytest.CaptureFixture[str]
) -> None:
    campus.run()
    password = Path(campus.config["ldap"]["password_file"])
    campus.ldap.done.clear()
    password.chmod(0o640)
    assert campus.run() == 4
    assert "may be read by others" in capsys.readouterr().err
    password.chmod(0o600)
    password.write_text("\n")  # it would be a bind of nobody
    assert campus.run() == 4
    password.unlink()
    assert campus.run() == 4
    assert campus.ldap.done == []
    assert mapped(campus) == BOTH


def test_the_program_runs_outside_the_collection(tmp_path: Path) -> None:
    for module in (portal_people, portal_files, portal_who):
        shutil.copy(str(module.__file__), tmp_path)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c",
         "import sys; sys.path.insert(0, sys.argv[1]); import portal_people as p;"
         "print(p.portal_files.__file__); sys.exit(p.main(['--config', '/nowhere/people.json']))",
         str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == str(tmp_path / "portal_files.py")
    assert done.returncode == 4 and "/nowhere/people.json" in done.stderr
