"""What a lab is: names, labels and the values that the lab's functions return."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cloudlet_deploy.errors import UsageError

#: Told one line at a time what a long step is doing.
Progress = Callable[[str], None]

#: Podman labels by which everything of ours is found again; nothing else is ever removed.
LABEL_LAB = "cloudlet.lab"
LABEL_DIRECTORY = "cloudlet.lab.directory"
LABEL_STATE_HOME = "cloudlet.lab.state-home"
LABEL_HOST = "cloudlet.lab.host"
LABEL_ADDRESS = "cloudlet.lab.address"
LABEL_IMAGE = "cloudlet.lab.image"

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


@dataclass(frozen=True)
class LabHost:
    """One host of a lab. ``state`` is ``running``, ``stopped`` or ``missing``."""

    name: str
    container: str
    address: str
    image: str
    state: str


@dataclass(frozen=True)
class Lab:
    """A lab as it is now. ``site`` is the directory for ``-i``; ``made`` lists new hosts."""

    name: str
    site: Path
    network: str
    hosts: tuple[LabHost, ...]
    made: tuple[str, ...] = ()

    def host(self, name: str) -> LabHost:
        """The host called ``name``; UsageError names the hosts there are."""
        for host in self.hosts:
            if host.name == name:
                return host
        known = ", ".join(host.name for host in self.hosts) or "no hosts"
        raise UsageError(f"The lab {self.name} has no host {name}.", next_step=f"It has: {known}.")


def check_name(name: str) -> str:
    """``name`` if Podman and DNS can carry it, else UsageError."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be the name of a lab.",
            next_step="Use up to 31 lower-case letters, digits and hyphens.",
        )
    return name


def network_name(lab: str) -> str:
    """The Podman network of a lab."""
    return f"cloudlet-{lab}"


def container_name(lab: str, host: str) -> str:
    """The container that plays ``host``. Hosts hold dots and labs do not: no two clash."""
    return f"cloudlet-{lab}.{host}"


def volume_name(lab: str, volume: str) -> str:
    """The Podman volume behind a lab's shared directory."""
    return f"cloudlet-{lab}.{volume}"
