"""A run of scripts/test that was killed takes nothing down: the next one does."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudlet_deploy import content
from cloudlet_deploy.run.paths import state_home
from tests.lab.conftest import CLI, CLIENT

pytestmark = pytest.mark.lab

SWEEP = content.root() / "scripts" / "sweep"


@pytest.fixture
def run() -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like scripts/test; it ends when its input does."""
    with subprocess.Popen(
        ["bash", "-c", "exec -a scripts/test cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as process:
        yield process


def test_what_a_killed_run_left_goes_and_what_a_live_one_has_stays(
    run: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    home = tmp_path / f"cloudlet-test.{run.pid}.x"
    (home / "gw0").mkdir(parents=True)

    def cloudlet(*args: str) -> str:
        command = [CLI, "lab", *args, "--name", "t-sweep"]
        environment = {**os.environ, "XDG_STATE_HOME": str(home / "gw0")}
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False
        ).stdout

    def sweep() -> None:
        subprocess.run([SWEEP], env={**os.environ, "TMPDIR": str(tmp_path)}, check=True)

    try:
        assert CLIENT in cloudlet("up", "--hosts", CLIENT)
        sweep()
        assert home.is_dir()
        assert CLIENT in cloudlet("status")
        run.kill()
        run.wait()
        sweep()
        assert not home.exists()
        assert CLIENT not in cloudlet("status")
    finally:
        cloudlet("down")


def test_sweep_finds_each_process_of_a_run_from_its_start() -> None:
    """By its state directory, also while nothing but a Molecule scenario's lab is made there."""
    assert state_home().parent.is_dir()
