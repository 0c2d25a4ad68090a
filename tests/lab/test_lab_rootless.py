"""Hosts that run rootless containers: what they may, and that their storage goes with them."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudlet_deploy import content
from cloudlet_deploy import lab as labs
from cloudlet_deploy.lab import podman
from cloudlet_deploy.lab.hosts import STORAGE
from tests.lab.conftest import needs_devices

pytestmark = [
    pytest.mark.lab,
    needs_devices,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("podman") is None, reason="needs root and Podman"
    ),
]
NAME, HOST = "t-lab-rootless", "trixie.lab.test"
_MOUNTS = "unshare --user --map-root-user --mount --pid --fork mount -t proc proc /proc"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[labs.Lab]:
    source = content.root() / "inventories" / "lab-rootless"
    try:
        yield labs.up(source, name=NAME, directory=tmp_path / "site", hosts=HOST)
    finally:
        labs.down(NAME)


def inside(lab: labs.Lab, command: str) -> subprocess.CompletedProcess[str]:
    with podman.connected() as podman_here:
        return podman_here.run("exec", lab.host(HOST).container, "sh", "-c", command, check=False)


def volumes(lab: labs.Lab) -> list[str]:
    """The volumes of the host: all have a name, if only one of Podman's."""
    with podman.connected() as podman_here:
        (found,) = podman_here.json("inspect", lab.host(HOST).container)
        return [mount["Name"] for mount in found["Mounts"] if mount["Type"] == "volume"]


def exists(volume: str) -> bool:
    with podman.connected(starts_hosts=False) as podman_here:
        return podman_here.run("volume", "exists", volume, check=False).returncode == 0


def test_users_get_a_proc_and_the_machine_stays_closed(lab: labs.Lab) -> None:
    def as_promised() -> None:
        done = inside(lab, f"setpriv --reuid alice --regid science --clear-groups {_MOUNTS}")
        assert done.returncode == 0, done.stderr
        limit = "/proc/sys/kernel/pid_max"
        done = inside(lab, f"cat {limit} >{limit}")
        assert done.returncode != 0 and "Read-only file system" in done.stderr
        assert inside(lab, "setpriv --reuid alice --clear-groups ls /run/lab/proc").returncode != 0

    as_promised()
    labs.kill(NAME, HOST)
    labs.start(NAME, HOST)
    as_promised()


def test_storage_goes_with_its_host(lab: labs.Lab) -> None:
    (first,) = volumes(lab)
    assert inside(lab, f"touch {STORAGE}/mine").returncode == 0
    labs.reset(NAME, HOST)
    (second,) = volumes(lab)
    assert second != first and not exists(first)
    assert inside(lab, f"ls {STORAGE}").stdout == ""
    labs.down(NAME)
    assert not exists(second)
