"""Which hosts a lab is to have: read from an inventory with Ansible's own classes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloudlet_deploy.errors import CloudletError, InvalidSiteError

VM = "vm"
#: Those whose hosts run rootless containers of their own.
CLOUDLETS = ("cloudlet12", "cloudlet13", "portal12", "portal13", "cryosparc13")
#: The kinds of hosts that the lab has images for.
IMAGES = ("host", "client", "data", "campus", "cluster", VM, *CLOUDLETS)
#: What a host may be given beside what every container has, and devices to go with it. None of
#: them reaches the machine itself: the kernel keeps mounts, rules and file systems per host.
CAPABILITIES = ("NET_ADMIN", "SYS_ADMIN")
DEVICES = ("/dev/fuse", "/dev/net/tun")

# 64 is what the kernel's host name holds.
_HOST_NAME = re.compile(
    r"(?=.{1,64}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"
)


@dataclass(frozen=True)
class VolumeSpec:
    """A directory that several hosts of one lab share, mounted at ``path``."""

    name: str
    path: str


@dataclass(frozen=True)
class HostSpec:
    """One host to make: its inventory name (an FQDN), image, shared directories and rights."""

    name: str
    image: str
    volumes: tuple[VolumeSpec, ...]
    capabilities: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    #: That its certificate has beside its own.
    names: tuple[str, ...] = ()


def read(directory: Path, limit: str | None = None) -> tuple[HostSpec, ...]:
    """The hosts of the inventory in ``directory`` that match Ansible's pattern ``limit``.

    Raises InvalidSiteError for an inventory that Ansible cannot read, for a name that cannot
    be a host name and for ``lab_*`` variables that make no sense.
    """
    specs = tuple(
        _spec(directory, name, values)
        for name, values in variables(directory, limit).items()
        if name != "localhost"
    )
    if not specs:
        which = f" that match {limit!r}" if limit else ""
        raise InvalidSiteError(
            f"{directory}: the inventory has no hosts{which}.",
            next_step="List what Ansible sees: ansible-inventory --graph -i " + str(directory),
        )
    return specs


def variables(directory: Path, limit: str | None = None) -> dict[str, dict[str, Any]]:
    """Each host's variables as Ansible merges them, not templated."""
    if not directory.is_dir():
        raise InvalidSiteError(
            f"{directory} is not a directory.",
            next_step="Name the directory of an inventory, as for -i.",
        )
    # Ansible costs half a second to import.
    from ansible.errors import AnsibleError
    from ansible.inventory.manager import InventoryManager
    from ansible.parsing.dataloader import DataLoader
    from ansible.vars.manager import VariableManager

    try:
        loader = DataLoader()
        inventory = InventoryManager(loader=loader, sources=[str(directory)])
        if limit:
            inventory.subset(limit)
        manager = VariableManager(loader=loader, inventory=inventory)
        return {
            str(host.name): manager.get_vars(host=host, include_hostvars=False)
            for host in inventory.get_hosts("all")
        }
    except AnsibleError as error:
        raise InvalidSiteError(
            f"{directory}: Ansible cannot read this inventory: {error}",
            next_step=f"ansible-inventory --list -i {directory}",
        ) from error


def _spec(directory: Path, name: str, values: dict[str, Any]) -> HostSpec:
    if not _HOST_NAME.fullmatch(name):
        raise InvalidSiteError(
            f"{directory}: {name!r} cannot be the name of a lab host.",
            next_step="Use a DNS name in lower case, at most 64 characters.",
        )
    image = values.get("lab_image", "host")
    if image not in IMAGES:
        raise _wrong(directory, name, f"lab_image is {image!r}", f"one of {', '.join(IMAGES)}")
    volumes = values.get("lab_volumes", [])
    if not isinstance(volumes, list):
        raise _wrong(directory, name, "lab_volumes is no list", "a list of {name, path}")
    return HostSpec(
        name,
        str(image),
        tuple(_volume(directory, name, item) for item in volumes),
        _chosen(directory, name, values, "lab_capabilities", CAPABILITIES),
        _chosen(directory, name, values, "lab_devices", DEVICES),
        _names(directory, name, values.get("lab_names", [])),
    )


def _names(directory: Path, host: str, found: object) -> tuple[str, ...]:
    if isinstance(found, list) and all(_HOST_NAME.fullmatch(str(name)) for name in found):
        return tuple(map(str, found))
    raise _wrong(directory, host, f"lab_names is {found!r}", "a list of names like a host's")


def _chosen(
    directory: Path, host: str, values: dict[str, Any], variable: str, known: tuple[str, ...]
) -> tuple[str, ...]:
    """The list ``variable``, sorted; each of its items is one of ``known``."""
    found = values.get(variable, [])
    if not isinstance(found, list) or not all(item in known for item in found):
        raise _wrong(directory, host, f"{variable} is {found!r}", f"a list of {', '.join(known)}")
    return tuple(sorted({str(item) for item in found}))


def _volume(directory: Path, host: str, item: object) -> VolumeSpec:
    if isinstance(item, dict) and set(item) == {"name", "path"}:
        name, path = str(item["name"]), str(item["path"])
        if re.fullmatch(r"[a-z0-9][a-z0-9-]*", name) and re.fullmatch(r"(/[\w.-]+)+", path):
            return VolumeSpec(name, path)
    raise _wrong(
        directory,
        host,
        f"lab_volumes holds {item!r}",
        "{name: lower-case letters, digits, hyphens; path: an absolute path}",
    )


def _wrong(directory: Path, host: str, what: str, wanted: str) -> CloudletError:
    return InvalidSiteError(f"{directory}: {host}: {what}.", next_step=f"It must be {wanted}.")
