"""Playbooks that only look, as the user sees them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cloudlet_deploy.cli import _looking
from cloudlet_deploy.run.events import Event, TaskStarted
from cloudlet_deploy.run.outcome import RunOutcome
from cloudlet_deploy.run.plan import RunPlan


def test_what_no_role_does_is_shown_under_the_command_s_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def launch(_plan: RunPlan, _secrets: Any, observe: Callable[[Event], None], _: Any) -> Any:
        observe(TaskStarted("door", "bestman", "Say what the door needs"))
        observe(TaskStarted("door", "", "Look at memory"))
        return RunOutcome(complete=True)

    monkeypatch.setattr(_looking, "launch", launch)
    plan = RunPlan(playbook=Path("storage_element.yml"), inventory=(Path("site"),))
    prepared: Any = SimpleNamespace(plan=plan, secrets=None, redact=str)
    _looking.look(prepared, "preflight")
    assert capsys.readouterr().err.splitlines() == [
        "door: bestman: looking",
        "door: preflight: looking",
    ]
