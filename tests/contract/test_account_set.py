"""``account_set`` through ansible-playbook, with accounts that are really made and removed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from oldest_python import PYTHON

Run = Callable[..., Any]
USER, GROUP = f"cdt{os.getpid()}", f"cdg{os.getpid()}"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes accounts")


def snapshot() -> set[str]:
    """Lines of the files that know accounts. Others may add theirs meanwhile."""
    names = ("passwd", "group", "shadow", "gshadow", "subuid", "subgid")
    files = {name: Path("/etc", name).read_text().splitlines() for name in names}
    return {f"{name}: {line}" for name, lines in files.items() for line in lines}


@pytest.fixture
def clean_up() -> Iterator[None]:
    yield
    for argv in (["userdel", "-r", USER], ["groupdel", USER], ["groupdel", GROUP]):
        subprocess.run(argv, capture_output=True, check=False)


def account_set(state_dir: Path, *, check: bool = False, **arguments: Any) -> dict[str, Any]:
    """One task; several in one play cost a fraction of several plays."""
    full = {"component": "demo", "state_dir": str(state_dir), **arguments}
    return {"cloudlet.deploy.account_set": full, "check_mode": check, "ignore_errors": True}


def test_accounts_are_made_kept_and_taken_back(
    run_tasks: Run, tmp_path: Path, clean_up: None
) -> None:
    before, state, home = snapshot(), tmp_path / "state", tmp_path / "home"
    account = {
        "name": USER, "uid": None, "groups": [GROUP], "home": str(home),
        "shell": "/bin/sh", "comment": "a b", "create_home": True,
    }  # fmt: skip
    wanted = {"groups": [{"name": GROUP, "gid": None, "system": True}], "accounts": [account]}
    drifted = {"accounts": [dict(account, shell="/bin/bash")]}
    planned, done, again, entry, owner, ids, change, refused, foreseen, gone, nothing = run_tasks(
        [
            account_set(state, check=True, **wanted),
            account_set(state, **wanted),
            account_set(state, **wanted),
            {"ansible.builtin.command": {"argv": ["getent", "passwd", USER]}},
            {"ansible.builtin.command": {"argv": ["stat", "-c", "%U", str(home)]}},
            {"ansible.builtin.command": {"argv": ["cat", "/etc/subuid", "/etc/subgid"]}},
            account_set(state, **drifted),
            account_set(state, accounts=[{"name": f"{USER}x", "uid": 0}]),
            account_set(state, check=True, state="absent"),
            account_set(state, state="absent"),
            account_set(state, state="absent"),
        ],
        python=PYTHON,
    )
    assert [(c["kind"], c["name"], c["action"]) for c in done["changes"]] == [
        ("group", GROUP, "create"),
        ("group", USER, "create"),
        ("account", USER, "create"),
    ]
    assert planned["changes"] == done["changes"] and again["changes"] == []
    assert entry["stdout"].endswith(f":a b:{home}:/bin/sh") and owner["stdout"] == USER
    # A service's account needs none, and they could be those of a person.
    assert USER not in ids["stdout"]
    assert change["changes"][0]["detail"] == "shell /bin/bash, was /bin/sh"
    assert refused["failed"]
    assert f"{USER}x wants the uid 0, which account root has" in refused["msg"]
    assert foreseen["changes"] == gone["changes"] and nothing["changes"] == []
    after = snapshot()
    assert before <= after and not home.exists()
    assert not [line for line in after if USER in line or GROUP in line]
