"""The wheel in an empty environment, far from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``bin`` of an environment that holds the wheel and what it asks for, nothing else."""
    work = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--outdir", str(work), str(ROOT)],
        check=True,
        capture_output=True,
    )
    (wheel,) = work.glob("*.whl")
    venv.create(work / "venv", with_pip=True)
    subprocess.run(
        [str(work / "venv/bin/pip"), "install", "--quiet", str(wheel)],
        check=True,
        capture_output=True,
    )
    return work / "venv/bin"


def run(
    binaries: Path, cwd: Path, *argv: str, check: bool = True
) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": f"{binaries}:/usr/bin:/bin",
        "HOME": str(cwd),
        "LANG": os.environ.get("LANG", "C.UTF-8"),
    }
    return subprocess.run(
        [str(binaries / argv[0]), *argv[1:]],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=check,
        stdin=subprocess.DEVNULL,
    )


def test_init_and_validate_find_their_content(installed: Path, tmp_path: Path) -> None:
    run(
        installed,
        tmp_path,
        *("cloudlet-deploy", "init", "site", "--kind", "storage-element"),
        *("--door", "srm.example.org", "--transfer", "gridftp.example.org"),
    )
    done = run(installed, tmp_path, "cloudlet-deploy", "validate", "-i", "site")
    assert "valid: 2 hosts" in done.stdout


def test_apply_finds_its_playbook(installed: Path, tmp_path: Path) -> None:
    run(
        installed,
        tmp_path,
        *("cloudlet-deploy", "init", "site", "--kind", "storage-element"),
        *("--door", "127.0.0.1", "--transfer", "127.0.0.1"),
    )
    done = run(
        installed,
        tmp_path,
        *("cloudlet-deploy", "apply", "-i", "site", "--yes"),
        *("-e", "ansible_port=1 ansible_ssh_common_args='-o ConnectTimeout=2'"),
        check=False,
    )
    assert done.returncode == 3, done.stdout + done.stderr


def test_the_collection_is_found_by_ansible_itself(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text("[bestman]\ndoor\n[gridftp]\ndata\n")
    listing = run(
        installed,
        tmp_path,
        *("ansible-playbook", "cloudlet.deploy.storage_element", "-i", "hosts", "--list-tasks"),
    )
    assert "bestman : " in listing.stdout


def test_help_is_quick(installed: Path, tmp_path: Path) -> None:
    """The median of five calls, so that a busy moment does not decide."""
    seconds = []
    for _ in range(5):
        began = time.monotonic()
        run(installed, tmp_path, "cloudlet-deploy", "--help")
        seconds.append(time.monotonic() - began)
    assert sorted(seconds)[2] < 0.3
