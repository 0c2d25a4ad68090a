"""One lab for the tests of a module, and the hosts as a test speaks to them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudlet_deploy import content
from cloudlet_deploy.run.paths import state_home
from tests.lab import snapshot

DOOR, TRANSFER, CLIENT = "door.lab.test", "data1.lab.test", "client.lab.test"
SERVERS = (DOOR, TRANSFER)
CLI = str(Path(sys.executable).parent / "cloudlet-deploy")
#: What hosts of a cloudlet are given, be they machines or containers.
_MISSING = [path for path in ("/dev/net/tun", "/dev/fuse") if not Path(path).exists()]
needs_devices = pytest.mark.skipif(
    bool(_MISSING),
    reason=f"hosts of a cloudlet need {' and '.join(_MISSING)}: this machine has none",
)


@dataclass(frozen=True)
class TestLab:
    """A lab that is up, and the command line as its admin uses it."""

    __test__ = False

    name: str
    site: Path

    def cli(self, *args: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run ``cloudlet-deploy COMMAND -i SITE ...``; the first of ``args`` is the command."""
        return subprocess.run(
            [CLI, args[0], "-i", str(self.site), *args[1:]],
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            check=False,
        )

    def plan(self, *args: str) -> dict[str, Any]:
        """The plan as its JSON document; fails the test unless it exits 0 or 2."""
        done = self.cli("plan", "--output", "json", *args)
        assert done.returncode in (0, 2), done.stdout + done.stderr
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def apply(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Apply without asking; fails the test unless it exits 0.

        Without its preflight, which has tests of its own and costs a third of the time.
        """
        done = self.cli("apply", "--yes", "--no-preflight", *args)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def run(
        self,
        host: str,
        command: str,
        *,
        stdin: str | None = None,
        check: bool = True,
        timeout: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command as root on a host, over the site's own ssh."""
        return subprocess.run(
            self.ssh(host, command),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=check,
        )

    def ssh(self, host: str, command: str) -> list[str]:
        """The command line that runs a shell command as root on a host."""
        return [*self._ssh(host), f"sudo sh -c {_quoted(command)}"]

    def as_alice(
        self, command: str, *, user: str = "alice", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command on the client host as a grid user with a certificate."""
        return self.run(CLIENT, f"su - {user} -c {_quoted(command)}", check=check)

    def snapshot(self, host: str) -> snapshot.Snapshot:
        """Everything that is on a host now."""
        return snapshot.take(lambda program: self.run(host, "python3 -", stdin=program).stdout)

    def _ssh(self, host: str) -> list[str]:
        return [*_login(self.site, host)]


@cache
def _login(site: Path, host: str) -> tuple[str, ...]:
    """How the site logs in on a host, as `lab up` wrote it: nothing in the site wins over that."""
    written = yaml.safe_load((site / "lab_connection.yml").read_text())
    found = written["all"]["hosts"][host]
    return (
        "ssh",
        *("-i", found["ansible_ssh_private_key_file"]),
        *found["ansible_ssh_common_args"].split(),
        *("-o", "BatchMode=yes"),
        f"{found['ansible_user']}@{found['ansible_host']}",
    )


def _quoted(command: str) -> str:
    return "'" + command.replace("'", "'\\''") + "'"


#: Modules that take minutes, the longest first: begun last, one would be worked on alone.
_LONG = (
    "test_hdfs",
    "test_molecule",
    "test_rollback",
    "test_firewall",
    "test_exactness",
    "test_smoke",
    "test_portal",
    "test_cryosparc",
    "test_lane",
    "test_tune",
    "test_keeping_up",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long modules come first, in whichever process is free."""
    rank = {name: number for number, name in enumerate(_LONG)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


@pytest.fixture(scope="session", autouse=True)
def own_state(worker_id: str) -> None:
    """A state directory of its own for each of the pytest processes that run side by side.

    What is newest in it ("runs show last") would otherwise be another module's. It is there from
    the start, as scripts/sweep finds by it what the process made.
    """
    base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    own = base if worker_id == "master" else base / worker_id
    own.mkdir(parents=True, exist_ok=True)
    os.environ["XDG_STATE_HOME"] = str(own)


@contextmanager
def made(name: str, *options: str) -> Iterator[TestLab]:
    """Bare hosts as ``lab up`` makes them; gone afterwards, also when a test fails."""
    if os.geteuid() != 0 or shutil.which("podman") is None:
        pytest.skip("the lab needs root and Podman")
    # With a directory of its own, another run's lab of this name is refused and not taken.
    own = ("--name", name, "--dir", str(state_home() / "labs" / name))
    up = subprocess.run(
        [CLI, "lab", "up", *own, *options, "--output", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert up.returncode == 0, up.stderr
    try:
        yield TestLab(name, Path(json.loads(up.stdout)["site"]))
    finally:
        subprocess.run([CLI, "lab", "down", "--name", name], check=True, capture_output=True)


@pytest.fixture(scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[TestLab]:
    """A lab for the tests of one module.

    A module that wants another lab than the default one names its inventory in ``DEFINITION``.
    """
    name = "t-" + re.sub(r"[^a-z0-9]+", "-", request.module.__name__.split("_", 1)[-1])
    definition = getattr(request.module, "DEFINITION", "lab")
    with made(name, "--from", str(content.root() / "inventories" / definition)) as hosts:
        yield hosts


def set_values(path: Path, **values: Any) -> None:
    """Change settings in one of the site's group_vars or host_vars files."""
    document = yaml.safe_load(path.read_text()) if path.exists() else {}
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump({**(document or {}), **values}))


__all__ = [
    "CLI",
    "CLIENT",
    "DOOR",
    "SERVERS",
    "TRANSFER",
    "TestLab",
    "made",
    "needs_devices",
    "set_values",
]
