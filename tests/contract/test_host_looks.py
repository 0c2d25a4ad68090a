"""What roles need is taken down, and looked at in one call, through Ansible itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.contract.conftest import Results
from tests.contract.oldest_python import PYTHON


def needs(component: str, **more: Any) -> dict[str, Any]:
    return {"cloudlet.deploy.host_needs": {"component": component, **more}}


def look(module: str, **more: Any) -> dict[str, Any]:
    asked = "{{ ansible_facts['cloudlet_needs'] }}"
    return {f"cloudlet.deploy.{module}": {"needs": asked, **more}}


def test_needs_of_all_roles_are_looked_at_in_one_call(
    run_tasks: Callable[..., Results], tmp_path: Path
) -> None:
    there = {"path": str(tmp_path), "what": "storage_path"}
    gone = {"path": str(tmp_path / "gone"), "what": "bestman_home"}
    door = needs("bestman", directories=[gone], certificates=[{"path": "/c.pem", "text": "no"}])
    *_, status, found = run_tasks(
        [
            needs("storage", directories=[there]),
            door,
            look("host_status", state_dir=str(tmp_path / "none")),
            look("host_preflight"),
        ],
        python=PYTHON,
        check=True,
    )
    assert not status["changed"]
    assert not status["report"]["applied"]
    assert [entry["error"] for entry in status["report"]["certificates"]] == ["missing"]
    # It fails under plain ansible-playbook too, and says what to do.
    assert found["failed"]
    assert (
        found["msg"]
        == f"{gone['path']} (bestman_home) is not a directory. /c.pem is not a PEM certificate."
    )
    assert "or correct bestman_home" in found["next_step"]
    by_check: dict[str, list[str]] = {}
    for finding in found["report"]["findings"]:
        by_check.setdefault(finding["check"], []).append(finding["status"])
    assert by_check["directories"] == ["failed", "ok"]
    assert by_check["clock"] == ["ok"]
    assert by_check["certificates"] == ["failed"]


def test_a_need_of_no_known_kind_is_refused(run_tasks: Callable[..., Results]) -> None:
    (refused,) = run_tasks([needs("bestman", sockets=[{"path": "/x"}])])
    assert refused["failed"]
    assert "sockets" in refused["msg"]
