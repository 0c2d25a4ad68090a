"""Podman, and the private view of cgroup2 that it needs on a machine with cgroup v1.

systemd in a container wants cgroup2. Where the machine still mounts the v1 hierarchies,
Podman runs in a mount namespace of its own in which ``/sys/fs/cgroup`` is cgroup2; the
machine's own tree is never touched.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from cloudlet_deploy.errors import RunFailedError, UsageError

_RUNTIME = Path("/run/cloudlet-deploy")
_NAMESPACE_DIRECTORY = _RUNTIME / "namespace"
_NAMESPACE = _NAMESPACE_DIRECTORY / "mount"
_SETTINGS = _RUNTIME / "containers.conf"
_CGROUPS = Path("/sys/fs/cgroup")

#: Debian packages that a lab needs on the machine.
PACKAGES = ("podman", "runc", "netavark", "aardvark-dns", "iptables", "mmdebstrap")
_COMMANDS = ("podman", "nsenter", "unshare", "ssh", "mmdebstrap")
_CAP_SYS_RESOURCE = 1 << 24
#: Podman hands its container runtime a lower process limit than it was given itself.
_MOST_PROCESSES = 16384


def machine_has_cgroup2(root: Path = _CGROUPS) -> bool:
    """Whether the machine's own cgroup tree is cgroup2 (an ordinary machine of today)."""
    return (root / "cgroup.controllers").is_file()


def check_machine() -> None:
    """Raise unless this process can run a lab: root, and the commands that it needs."""
    if os.geteuid() != 0:
        raise UsageError(
            "A lab needs root: its hosts run systemd in containers of the system.",
            next_step="Run the same command with sudo.",
        )
    missing = [command for command in _COMMANDS if shutil.which(command) is None]
    if missing:
        raise RunFailedError(
            f"A lab needs commands that are not installed: {', '.join(missing)}.",
            next_step=f"apt-get install {' '.join(PACKAGES)} openssh-client util-linux",
        )


@contextlib.contextmanager
def locked(name: str, *, shared: bool = False) -> Iterator[None]:
    """Hold the machine's lock called ``name``; waits for whoever holds it."""
    _RUNTIME.mkdir(mode=0o755, exist_ok=True)
    with (_RUNTIME / f"{name}.lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


@dataclass(frozen=True)
class Podman:
    """Runs ``podman`` with the settings that this machine needs."""

    prefix: tuple[str, ...] = ()

    def run(
        self,
        *arguments: str,
        stdin: bytes | IO[bytes] | None = None,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run one Podman command; RunFailedError with its last words unless it succeeds."""
        command = [*self.prefix, "podman", *arguments]
        given: dict[str, Any] = {"stdin": subprocess.DEVNULL if stdin is None else stdin}
        if isinstance(stdin, bytes):
            given = {"input": stdin}
        process = subprocess.run(command, capture_output=True, check=False, **given)
        result = subprocess.CompletedProcess(
            command,
            process.returncode,
            process.stdout.decode(errors="replace"),
            process.stderr.decode(errors="replace"),
        )
        if check and result.returncode != 0:
            raise RunFailedError(
                f"podman {' '.join(arguments[:2])} failed: {last_words(result.stderr)}",
                next_step="`cloudlet-deploy lab down` removes what is left of the lab.",
            )
        return result

    def json(self, *arguments: str) -> Any:
        """Run a Podman command that writes JSON; an empty answer is an empty list."""
        return json.loads(self.run(*arguments).stdout or "[]")


def last_words(text: str, lines: int = 3) -> str:
    """The last lines of a program's complaint, as one."""
    return " / ".join(text.strip().splitlines()[-lines:]) or "no message"


@contextlib.contextmanager
def connected(*, starts_hosts: bool = True) -> Iterator[Podman]:
    """Podman, ready for use, and its namespace kept while the block runs.

    ``starts_hosts`` false is for commands that only look or remove: they make no namespace.
    """
    check_machine()
    with locked("namespace", shared=True):
        settings = _settings()
        prefix: tuple[str, ...] = ()
        if settings:
            _write_settings(settings)
            prefix = ("env", f"CONTAINERS_CONF={_SETTINGS}")
        if not machine_has_cgroup2():
            if starts_hosts:
                with locked("namespace-setup"):
                    _make_namespace()
            if _has_namespace():
                prefix = ("nsenter", f"--mount={_NAMESPACE}", "--wd=/", *prefix)
        yield Podman(prefix)


def remove_namespace() -> bool:
    """Take the namespace away unless another lab command is at work. True if removed."""
    if not _has_namespace():
        return False
    with (_RUNTIME / "namespace.lock").open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        for target in (_NAMESPACE, _NAMESPACE_DIRECTORY):
            subprocess.run(["umount", str(target)], check=True)
        _NAMESPACE.unlink()
        _NAMESPACE_DIRECTORY.rmdir()
    return True


def _has_namespace() -> bool:
    return any(line.split()[4] == str(_NAMESPACE) for line in _mounts())


def _mounts() -> list[str]:
    return Path("/proc/self/mountinfo").read_text().splitlines()


def _make_namespace() -> None:
    if _has_namespace():
        return
    if shutil.which("runc") is None:
        raise RunFailedError(
            "This machine has cgroup v1, where a lab needs runc, which is not installed.",
            next_step="apt-get install runc",
        )
    _NAMESPACE_DIRECTORY.mkdir(exist_ok=True)
    _NAMESPACE.touch()
    if not any(line.split()[4] == str(_NAMESPACE_DIRECTORY) for line in _mounts()):
        # A namespace can be kept by a file only where mounts do not propagate.
        directory = str(_NAMESPACE_DIRECTORY)
        subprocess.run(["mount", "--bind", directory, directory], check=True)
        subprocess.run(["mount", "--make-private", directory], check=True)
    inside = "umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup"
    made = subprocess.run(
        ["unshare", f"--mount={_NAMESPACE}", "--propagation", "private", "sh", "-ec", inside],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode != 0:
        subprocess.run(["umount", str(_NAMESPACE)], capture_output=True, check=False)
        raise RunFailedError(
            f"cgroup2 cannot be mounted in a private namespace: {last_words(made.stderr)}",
            next_step="Run the lab as real root, not inside another container.",
        )


def _settings() -> str:
    """Podman settings for this machine; empty where its defaults work."""
    engine = ""
    if not machine_has_cgroup2():
        engine = '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\n'
    return container_settings() + engine


def container_settings() -> str:
    """The part of the settings that any Podman on this machine needs; empty where none does."""
    lines: list[str] = []
    if not _may_raise_limits():
        # Podman asks for more than the hard limits and then fails with EPERM.
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        processes = resource.getrlimit(resource.RLIMIT_NPROC)[1]
        if processes == resource.RLIM_INFINITY or processes > _MOST_PROCESSES:
            processes = _MOST_PROCESSES
        limits = f'"nofile={files}:{files}", "nproc={processes}:{processes}"'
        lines.append(f"default_ulimits = [{limits}]")
    if not machine_has_cgroup2():
        # The controllers belong to v1: there is nothing to set a limit with.
        lines.append("pids_limit = 0")
    return "".join(f"{line}\n" for line in ("[containers]", *lines)) if lines else ""


def _may_raise_limits() -> bool:
    status = Path("/proc/self/status").read_text()
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective.split()[1], 16) & _CAP_SYS_RESOURCE)


def _write_settings(text: str) -> None:
    if _SETTINGS.is_file() and _SETTINGS.read_text() == text:
        return
    fresh = _SETTINGS.with_suffix(f".{os.getpid()}")
    fresh.write_text(text)
    fresh.replace(_SETTINGS)
