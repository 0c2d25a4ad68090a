"""The site of a lab: a copy of its definition that reaches the lab's own hosts."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cloudlet_deploy.errors import InvalidSiteError, UsageError
from cloudlet_deploy.lab import campus, cryosparc, definition
from cloudlet_deploy.lab.ca import Pki
from cloudlet_deploy.lab.files import write_file
from cloudlet_deploy.lab.model import Progress
from cloudlet_deploy.lab.recipes import CAMERA_PASSWORD
from cloudlet_deploy.lab.ssh import ADMIN, Keys, common_args

#: Ansible reads every file in an inventory directory except those whose name begins with a
#: dot; so all that is not inventory lies below this directory.
_HIDDEN = ".lab"
_CONNECTION = "lab_connection.yml"
_HEADER = "# Made by `cloudlet-deploy lab up`: how this machine reaches the lab's hosts.\n"


@dataclass(frozen=True)
class LabSite:
    """The directory that ``-i`` takes, and what the lab keeps in its ``.lab/``."""

    directory: Path

    @property
    def hidden(self) -> Path:
        return self.directory / _HIDDEN

    @property
    def keys(self) -> Keys:
        return Keys(self.hidden / "ssh")

    @property
    def pki(self) -> Pki:
        return Pki(self.hidden / "pki")

    @property
    def munge_key(self) -> Path:
        """What the hosts of the lab's cluster know each other by."""
        return self.hidden / "munge.key"

    def claim(self, lab: str) -> None:
        """Mark the directory as the lab's; UsageError if it is another's or not empty."""
        mark = self.hidden / "name"
        owner = mark.read_text().strip() if mark.is_file() else None
        if owner == lab:
            return
        if owner is not None:
            raise UsageError(
                f"{self.directory} is the site of the lab {owner}, not of {lab}.",
                next_step=f"Give another --dir, or: cloudlet-deploy lab down --name {owner}",
            )
        if self.directory.is_dir() and any(self.directory.iterdir()):
            raise UsageError(
                f"{self.directory} is not empty and no lab's site.",
                next_step="Give a --dir that is empty or does not exist yet.",
            )
        self.hidden.mkdir(parents=True, mode=0o700, exist_ok=True)
        write_file(mark, f"{lab}\n".encode(), mode=0o644)

    def copy(self, source: Path, progress: Progress) -> None:
        """Bring the definition's files here; a file that was edited here stays as it is."""
        ledger = self.hidden / "copied.json"
        copied: dict[str, str] = json.loads(ledger.read_text()) if ledger.is_file() else {}
        for relative in _files(source):
            content = (source / relative).read_bytes()
            target = self.directory / relative
            name = str(relative)
            if target.is_file() and _digest(target.read_bytes()) not in (
                copied.get(name),
                _digest(content),
            ):
                progress(f"{target} was edited: left as it is")
                continue
            write_file(target, content, mode=(source / relative).stat().st_mode & 0o777)
            copied[name] = _digest(content)
        write_file(ledger, json.dumps(copied, indent=1).encode(), mode=0o644)

    def write_passwords(self) -> None:
        """Write what the lab's own hosts ask for, where a vault would have it."""
        for name, password in {
            "camera": CAMERA_PASSWORD,
            "directory": campus.PORTAL_BIND_PASSWORD,
            "provider": campus.CLIENT_SECRET,
            "license": cryosparc.LICENSE,
            "microscopist": cryosparc.USER_PASSWORD,
        }.items():
            write_file(self.hidden / "passwords" / name, password.encode(), mode=0o600)
        for name, checksum in cryosparc.inputs().items():
            write_file(self.hidden / "cryosparc" / name, checksum.encode(), mode=0o644)
        if not self.munge_key.is_file():
            write_file(self.munge_key, secrets.token_bytes(128), mode=0o600)

    def connect(self, addresses: dict[str, str]) -> None:
        """Write the connection variables; InvalidSiteError if the definition overrides one.

        Hosts of the definition that the lab did not make get an address that leads nowhere:
        their names may be those of real hosts.
        """
        wanted = {host: self._connection(host, address) for host, address in addresses.items()}
        for host in definition.variables(self.directory):
            if host not in wanted and host != "localhost":
                wanted[host] = {"ansible_host": f"{host}.not-in-this-lab.invalid"}
        wanted = dict(sorted(wanted.items()))
        text = _HEADER + yaml.safe_dump({"all": {"hosts": wanted}}, sort_keys=False, width=99)
        write_file(self.directory / _CONNECTION, text.encode(), mode=0o644)
        found = definition.variables(self.directory)
        for host, values in wanted.items():
            for name, value in values.items():
                if found[host].get(name) != value:
                    raise InvalidSiteError(
                        f"{self.directory}: {host}: {name} is {found[host].get(name)!r} in "
                        "host_vars: commands for the lab would go somewhere else.",
                        next_step="Remove it there; the lab sets it for its own hosts.",
                    )

    def _connection(self, host: str, address: str) -> dict[str, Any]:
        return {
            "ansible_connection": "ssh",
            "ansible_host": address,
            "ansible_port": 22,
            # An emulated machine on a busy computer needs more than Ansible's 10 s for sudo.
            "ansible_ssh_timeout": 60,
            "ansible_user": ADMIN,
            "ansible_ssh_private_key_file": str(self.keys.identity),
            "ansible_ssh_extra_args": "",
            "ansible_ssh_common_args": common_args(self.keys.options(host)),
            "ansible_python_interpreter": "/usr/bin/python3",
        }

    def remove(self, lab: str) -> bool:
        """Remove the directory if it is this lab's. True if removed."""
        mark = self.hidden / "name"
        if not (mark.is_file() and mark.read_text().strip() == lab):
            return False
        shutil.rmtree(self.directory)
        return True


def _files(source: Path) -> Iterator[Path]:
    for path in sorted(source.rglob("*")):
        relative = path.relative_to(source)
        hidden = any(part.startswith(".") for part in relative.parts)
        if path.is_file() and not hidden and relative != Path(_CONNECTION):
            yield relative


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
