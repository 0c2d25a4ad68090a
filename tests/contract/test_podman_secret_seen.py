"""``podman_secret`` through Ansible: what is seen of a content."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from oldest_python import PYTHON

Run = Callable[..., Any]
CONTENT = '-----BEGIN KEY-----\nopen "sesame" it\'s\n-----END KEY-----'
SECRETS = [
    {"name": "tls", "content": CONTENT},
    {"name": "phrase", "generate": 32},
    {"name": "claim", "content": "one-line-of-sesame"},
]
#: Stands where Python looks for modules first: what would go to the host's log goes to a file.
_JOURNAL = """
import os

def send(**fields):
    with open(os.environ["TOLD_JOURNAL"], "a") as stream:
        stream.write(repr(fields))

sendv = send
"""


@pytest.fixture
def journal(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """What modules write to the host's log, and the environment that takes it there."""
    package = tmp_path / "python" / "systemd"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "daemon.py").write_text("def booted():\n    return True\n")
    (package / "journal.py").write_text(_JOURNAL)
    told = tmp_path / "journal"
    told.touch()
    return told, {"PYTHONPATH": str(package.parent), "TOLD_JOURNAL": str(told)}


@pytest.mark.parametrize("python", [sys.executable, PYTHON])
def test_a_content_is_seen_nowhere(
    run_tasks: Run, tmp_path: Path, journal: tuple[Path, dict[str, str]], python: str | None
) -> None:
    told, environment = journal
    arguments = {
        "component": "portal",
        "account": "cloudlet-nobody",
        "secrets": SECRETS,
        "state_dir": str(tmp_path / "state"),
    }
    wrong = [*SECRETS, {"name": "a/b", "content": "more sesame"}]
    results = run_tasks(
        [
            {"cloudlet.deploy.podman_secret": arguments, "check_mode": True},
            {"ansible.builtin.command": "true"},
            {
                "cloudlet.deploy.podman_secret": {**arguments, "secrets": wrong},
                "ignore_errors": True,
            },
            {"cloudlet.deploy.podman_secret": arguments},
        ],
        python=python,
        diff=True,
        environment=environment,
        options=("-vvv",),
    )
    planned, _, refused, failed = results
    assert [(c["kind"], c["name"], c["action"]) for c in planned["changes"]] == [
        ("secret", f"cloudlet-nobody/{one['name']}", "create") for one in SECRETS
    ]
    assert planned["ids"] == {"tls": "", "phrase": "", "claim": ""}
    assert "a/b is no name" in refused["msg"] and refused["next_step"]
    assert failed["failed"] and "account cloudlet-nobody does not exist" in failed["msg"]
    assert not any("sesame" in str(one) for one in results)
    assert "sesame" not in told.read_text()
    # The other module's call is there: it is this very log.
    assert "Invoked with" in told.read_text()


def test_one_of_content_and_generate_is_needed(run_tasks: Run, tmp_path: Path) -> None:
    tasks = [
        {
            "cloudlet.deploy.podman_secret": {
                "component": "portal",
                "account": "cloudlet-nobody",
                "secrets": [{"name": "a", **more}],
            },
            "check_mode": True,
            "ignore_errors": True,
        }
        for more in ({}, {"content": "open sesame", "generate": 32})
    ]
    neither, both = run_tasks(tasks, python=PYTHON)
    assert "one of the following is required" in neither["msg"]
    assert "mutually exclusive" in both["msg"]
