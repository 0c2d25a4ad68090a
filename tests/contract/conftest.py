"""Runs tasks through ansible-playbook itself, against localhost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudlet_deploy import content
from tests.contract.rendering import Evaluate, Render, evaluator
from tests.contract.toy import Toy, make_toy

_HERE = Path(__file__).resolve().parent
_COLLECTIONS = _HERE.parent.parent / ".cache" / "collections"

#: An ansible-playbook of another ansible-core to test with; by default the one beside Python.
_OTHER_ANSIBLE = "CLOUDLET_TEST_ANSIBLE_PLAYBOOK"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "one_core: what it shows is shown by ansible-core's oldest version, as the newer ones do"
        " what it needs in other tests too",
    )


class Results(list[dict[str, Any]]):
    """One dict per task result, in order; ``output`` is all that ansible-playbook printed."""

    def __init__(self, results: Iterable[dict[str, Any]], output: str, returncode: int) -> None:
        super().__init__(results)
        self.output = output
        self.returncode = returncode


def _ansible_playbook() -> str:
    return os.environ.get(_OTHER_ANSIBLE) or str(Path(sys.executable).parent / "ansible-playbook")


@pytest.fixture
def run_tasks(tmp_path: Path) -> Callable[..., Results]:
    """``run_tasks(tasks, check=False, diff=False, extra_vars=None, python=None) -> Results``.

    ``tasks`` is a list of task dicts as in a playbook (a name is not needed). ``extra_vars``
    become host variables. ``python`` is the interpreter that modules run with (this one by
    default). A failed task ends the play: its result is the last and has ``failed``.
    """
    base = tmp_path / "ansible"
    base.mkdir()
    count = 0

    def run(
        tasks: list[dict[str, Any]],
        check: bool = False,
        diff: bool = False,
        extra_vars: dict[str, Any] | None = None,
        python: str | None = None,
        *,
        roles_path: Path | None = None,
        playbook_dir: Path | None = None,
        gather_facts: bool = False,
        environment: dict[str, str] | None = None,
        options: tuple[str, ...] = (),
    ) -> Results:
        nonlocal count
        count += 1
        where = base / str(count)
        where.mkdir()
        hostvars = {
            "ansible_connection": "local",
            "ansible_python_interpreter": python or sys.executable,
            **(extra_vars or {}),
        }
        inventory = where / "inventory.yml"
        inventory.write_text(yaml.safe_dump({"all": {"hosts": {"localhost": hostvars}}}))
        playbook = (playbook_dir or where) / f"play{count}.yml"
        play = {"hosts": "all", "gather_facts": gather_facts, "tasks": tasks}
        playbook.write_text(yaml.safe_dump([play], sort_keys=False))
        results = where / "results.jsonl"
        results.touch()
        env = {
            key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")
        } | {
            "ANSIBLE_HOME": str(base / "home"),
            "ANSIBLE_COLLECTIONS_PATH": str(_COLLECTIONS),
            "ANSIBLE_CALLBACK_PLUGINS": str(_HERE / "callback_plugins"),
            "ANSIBLE_CALLBACKS_ENABLED": "collect_results",
            "ANSIBLE_INJECT_FACT_VARS": "false",
            "ANSIBLE_NOCOLOR": "true",
            "ANSIBLE_LOCALHOST_WARNING": "false",
            "ANSIBLE_ROLES_PATH": str(roles_path or where),
            "COLLECT_RESULTS": str(results),
            **(environment or {}),
        }
        argv = [_ansible_playbook(), "-i", str(inventory), str(playbook), *options]
        argv += ["--check"] if check else []
        argv += ["--diff"] if diff else []
        done = subprocess.run(
            argv, env=env, cwd=where, capture_output=True, text=True, timeout=300, check=False
        )
        lines = results.read_text(encoding="utf-8").splitlines()
        output = done.stdout + done.stderr
        assert lines or done.returncode, output
        return Results([json.loads(line)["result"] for line in lines], output, done.returncode)

    return run


@pytest.fixture
def evaluate(run_tasks: Callable[..., Results], tmp_path: Path) -> Evaluate:
    """``evaluate({name: expression}, [settings]) -> [{name: value}]``: with the roles' defaults.

    Many settings take one run of Ansible, as a run takes longer than all that it evaluates.
    """
    return evaluator(run_tasks, tmp_path)


@pytest.fixture
def render(evaluate: Evaluate) -> Render:
    """``render(role, template, **settings) -> text``: one template with the roles' defaults."""

    def rendered(role: str, template: str, **settings: Any) -> str:
        path = content.roles()[role] / "templates" / template
        (found,) = evaluate({"text": f"lookup('template', '{path}')"}, [settings])
        text: str = found["text"]
        return text

    return rendered


@pytest.fixture
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    """The command line over a collection and hosts that a test may break."""
    return make_toy(tmp_path_factory.mktemp("t"))
