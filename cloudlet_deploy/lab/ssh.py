"""How the machine reaches a lab's hosts: one key, and host keys known before the first call."""

from __future__ import annotations

import shlex
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloudlet_deploy.errors import UnreachableError
from cloudlet_deploy.lab.files import write_file
from cloudlet_deploy.lab.podman import last_words

#: The account with sudo that each host's image has.
ADMIN = "admin"
#: An emulated machine on a busy computer takes two minutes.
_BOOT_SECONDS = 240.0


@dataclass(frozen=True)
class Keys:
    """The ssh keys of one lab, below one directory."""

    directory: Path

    @property
    def identity(self) -> Path:
        """The private key that opens every host of the lab."""
        return self.directory / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The hosts' public keys."""
        return self.directory / "known_hosts"

    def host_key(self, host: str) -> Path:
        """The private key that ``host`` shows."""
        return self.directory / "hosts" / host

    def ensure(self, hosts: tuple[str, ...]) -> None:
        """Make missing keys and write ``known_hosts`` for ``hosts``."""
        _ensure_key(self.identity)
        lines = []
        for host in hosts:
            _ensure_key(self.host_key(host))
            lines.append(f"{host} {public_half(self.host_key(host))}\n")
        write_file(self.known_hosts, "".join(lines).encode(), mode=0o644)

    def options(self, host: str) -> list[str]:
        """ssh options that accept ``host`` by its pinned key only."""
        return [
            "-o",
            f"UserKnownHostsFile={_quoted(self.known_hosts)}",
            "-o",
            "GlobalKnownHostsFile=/dev/null",
            "-o",
            f"HostKeyAlias={host}",
            "-o",
            "StrictHostKeyChecking=yes",
            "-o",
            "IdentitiesOnly=yes",
        ]

    def command(self, host: str, address: str, remote: str) -> list[str]:
        """The ssh command that runs ``remote`` on ``host`` as the admin."""
        return [
            "ssh",
            "-F",
            "/dev/null",
            "-i",
            str(self.identity),
            "-o",
            "BatchMode=yes",
            "-o",
            "ConnectTimeout=5",
            *self.options(host),
            f"{ADMIN}@{address}",
            remote,
        ]

    def wait(self, host: str, address: str, seconds: float = _BOOT_SECONDS) -> None:
        """Return once ``host`` has booted and takes ssh and sudo; else UnreachableError."""
        deadline = time.monotonic() + seconds
        # --wait returns when systemd has done all of its boot, well or not.
        remote = "sudo -n timeout 30 systemctl is-system-running --wait; true"
        while True:
            answer = subprocess.run(
                self.command(host, address, remote),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
            if answer.returncode == 0 and answer.stdout.strip() in ("running", "degraded"):
                return
            if time.monotonic() > deadline:
                raise UnreachableError(
                    f"{host} ({address}) did not take ssh within {seconds:.0f} s: "
                    f"{last_words(answer.stderr or answer.stdout, 1)}",
                    next_step="See what its systemd says: podman logs, or lab down and up again.",
                )
            time.sleep(0.1)


def common_args(options: list[str]) -> str:
    """``options`` as Ansible's ``ansible_ssh_common_args`` wants them."""
    return shlex.join(options)


def public_half(private: Path) -> str:
    """The public key of an OpenSSH private key, as one line without a comment."""
    key = serialization.load_ssh_private_key(private.read_bytes(), password=None)
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        .decode()
    )


def _ensure_key(path: Path) -> None:
    if path.is_file():
        return
    key = Ed25519PrivateKey.generate()
    encoded = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    )
    write_file(path, encoded, mode=0o600)


def _quoted(path: Path) -> str:
    # ssh splits the value at spaces unless it is quoted.
    return f'"{path}"' if " " in str(path) else str(path)
