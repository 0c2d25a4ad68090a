"""Every Molecule scenario, from bare hosts to bare hosts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cloudlet_deploy import content

pytestmark = pytest.mark.lab
SCENARIOS = sorted(path.parent.name for path in content.root().glob("molecule/*/molecule.yml"))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(scenario: str) -> None:
    programs = Path(sys.executable).parent
    done = subprocess.run(
        [programs / "molecule", "test", "--scenario-name", scenario],
        cwd=content.root(),
        env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20000:]


def test_there_are_scenarios() -> None:
    assert {"first_door", "storage_element"} <= set(SCENARIOS)
