"""Every Molecule scenario, from bare hosts to bare hosts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cloudlet_deploy import content
from cloudlet_deploy.run import lean
from tests.lab.conftest import needs_devices

pytestmark = pytest.mark.lab
SCENARIOS = sorted(path.parent.name for path in content.root().glob("molecule/*/molecule.yml"))
OF_CLOUDLETS = ("cloudlet", "data_mounts", "rootless_host", "virtual_machine")


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(name, marks=[needs_devices] if name in OF_CLOUDLETS else [])
        for name in SCENARIOS
    ],
)
def test_scenario(scenario: str, tmp_path: Path) -> None:
    programs = Path(sys.executable).parent
    # As the command line runs it, which is a fifth faster.
    playbook = tmp_path / "bin" / "ansible-playbook"
    playbook.parent.mkdir()
    playbook.write_text(
        f'#!/bin/sh\nexec {sys.executable} {lean.__file__} {programs}/ansible-playbook "$@"\n'
    )
    playbook.chmod(0o755)
    # Where Molecule would look it would find what a run that was killed had come to.
    own = {"MOLECULE_EPHEMERAL_DIRECTORY": str(tmp_path)}
    done = subprocess.run(
        [programs / "molecule", "test", "--scenario-name", scenario],
        cwd=content.root(),
        env={**os.environ, **own, "PATH": f"{playbook.parent}:{programs}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20000:]


def test_there_are_scenarios() -> None:
    assert {"first_door", "storage_element", *OF_CLOUDLETS} <= set(SCENARIOS)
