"""Making, looking at, breaking and removing labs.

Podman's labels are the only record of what there is: a lab that was half made, or whose site
is gone, is found and removed all the same.
"""

from __future__ import annotations

import ipaddress
import shlex
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloudlet_deploy import content
from cloudlet_deploy.errors import RunFailedError, UsageError
from cloudlet_deploy.lab import definition, image
from cloudlet_deploy.lab.hosts import Maker
from cloudlet_deploy.lab.hosts import start as start_host
from cloudlet_deploy.lab.model import (
    LABEL_ADDRESS,
    LABEL_DIRECTORY,
    LABEL_HOST,
    LABEL_IMAGE,
    LABEL_LAB,
    LABEL_STATE_HOME,
    Lab,
    LabHost,
    Progress,
    check_name,
    network_name,
)
from cloudlet_deploy.lab.podman import Podman, connected, locked, remove_namespace
from cloudlet_deploy.lab.site import LabSite
from cloudlet_deploy.run.paths import state_home

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The first host's place in the lab's network; below it are the gateway and spares.
_FIRST_ADDRESS = 10
_THREADS = 4


def _silent(_line: str) -> None:
    """Tell nobody."""


def default_definition() -> Path:
    """The inventory that a lab is made of unless another is named."""
    return content.root() / "inventories" / "lab"


def up(
    source: Path | None = None,
    *,
    name: str = "lab",
    directory: Path | None = None,
    hosts: str | None = None,
    progress: Progress = _silent,
) -> Lab:
    """Make the hosts of the inventory ``source`` that are missing and start those that stand.

    ``directory`` becomes the lab's site (default: below the user's state directory); ``hosts``
    is a pattern as for ``--limit``. Returns when every host takes ssh. Calling it again changes
    only what is missing. Raises UsageError for a name or directory that is in use otherwise,
    InvalidSiteError for a definition that makes no sense, RunFailedError when Podman fails.
    """
    check_name(name)
    origin = (source or default_definition()).resolve()
    specs = definition.read(origin, hosts)
    with connected() as podman, locked(f"lab-{name}"):
        site = LabSite(_site_directory(podman, name, directory))
        references = image.ensure(podman, {spec.image for spec in specs}, progress)
        site.claim(name)
        _ensure_network(podman, name, site.directory)
        _remove_unfinished(podman, name)
        present = {host.name: host for host in _hosts(podman, name)}
        addresses = {host.name: host.address for host in present.values()}
        addresses |= _new_addresses(podman, name, addresses, [spec.name for spec in specs])
        site.copy(origin, progress)
        everyone = tuple(sorted(addresses))
        site.keys.ensure(everyone)
        site.pki.ensure(everyone, {spec.name: spec.names for spec in specs})
        site.write_passwords()
        site.connect(addresses)
        maker = Maker(podman, name, site)
        missing = [spec for spec in specs if spec.name not in present]
        for volume in sorted({v.name for spec in missing for v in spec.volumes}):
            maker.ensure_volume(volume)
        with ThreadPoolExecutor(_THREADS) as pool:
            list(
                pool.map(
                    lambda spec: maker.make(spec, addresses[spec.name], references[spec.image]),
                    missing,
                )
            )
            stopped = [host for host in present.values() if host.state != "running"]
            list(pool.map(lambda host: start_host(podman, host.container, host.image), stopped))
            fresh = [spec.name for spec in missing] + [host.name for host in stopped]
            list(pool.map(lambda host: site.keys.wait(host, addresses[host]), fresh))
        for host in fresh:
            progress(f"{host} ({addresses[host]}) takes ssh")
        return replace(_lab(podman, name), made=tuple(spec.name for spec in missing))


def status(name: str) -> Lab:
    """The lab called ``name``; UsageError names the labs there are."""
    with connected(starts_hosts=False) as podman:
        return _lab(podman, check_name(name))


def labs() -> tuple[Lab, ...]:
    """Every lab on this machine."""
    with connected(starts_hosts=False) as podman:
        return tuple(_lab(podman, name) for name in _names(podman))


@dataclass(frozen=True)
class Removed:
    """What ``down`` removed, by kind."""

    name: str
    hosts: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    network: str = ""
    site: Path | None = None

    @property
    def anything(self) -> bool:
        return bool(self.hosts or self.volumes or self.network or self.site)


def down(name: str, directory: Path | None = None) -> Removed:
    """Remove all of a lab: hosts, volumes, network, site. What is not there is no error.

    ``directory`` is needed only for a site whose lab lost its network by another hand.
    """
    check_name(name)
    with connected(starts_hosts=False) as podman, locked(f"lab-{name}"):
        network = _network(podman, name)
        site = LabSite(_recorded_directory(network) or directory or _default_directory(name))
        containers = [host.container for host in _hosts(podman, name)]
        if containers:
            podman.run("rm", "--force", "--volumes", "--time=0", *containers)
        filters = f"--filter=label={LABEL_LAB}={name}"
        volumes = [v["Name"] for v in podman.json("volume", "ls", "--format=json", filters)]
        if volumes:
            podman.run("volume", "rm", *volumes)
        if network:
            podman.run("network", "rm", network_name(name))
        removed_site = site.remove(name)
        last = not podman.json("ps", "--all", "--format=json")
    if last:
        remove_namespace()
    return Removed(
        name,
        tuple(containers),
        tuple(volumes),
        network_name(name) if network else "",
        site.directory if removed_site else None,
    )


def down_all() -> tuple[Removed, ...]:
    """Remove every lab that was made with this user's state directory (XDG_STATE_HOME)."""
    with connected(starts_hosts=False) as podman:
        mine = [
            lab
            for lab in _names(podman)
            if (_network(podman, lab) or {}).get("labels", {}).get(LABEL_STATE_HOME)
            == str(state_home())
        ]
    return tuple(down(lab) for lab in mine)


def images(progress: Progress = _silent) -> dict[str, str]:
    """Build all images that are missing; returns each kind's name in Podman's storage."""
    with connected() as podman:
        return image.ensure(podman, set(definition.IMAGES), progress)


def kill(name: str, host: str) -> None:
    """Cut a host's power: every process ends at once and none is told.

    Unlike a real power cut it loses nothing that was written and not yet synced: the page cache
    is the machine's.
    """
    with _existing(name, host) as (podman, _, which):
        podman.run("kill", "--signal=KILL", which.container)
        podman.run("wait", which.container)


def start(name: str, host: str) -> LabHost:
    """Start a host that was killed: same address and files. Returns when it takes ssh."""
    with _existing(name, host) as (podman, lab, which):
        start_host(podman, which.container, which.image)
        LabSite(lab.site).keys.wait(which.name, which.address)
        return _lab(podman, name).host(host)


def reset(name: str, host: str) -> LabHost:
    """Make a host anew from its image: bare, with its name, address and ssh key.

    Directories that it shares with other hosts keep their content.
    """
    with _existing(name, host) as (podman, lab, which):
        site = LabSite(lab.site)
        spec = next(s for s in definition.read(lab.site) if s.name == host)
        reference = image.ensure(podman, {spec.image}, _silent)[spec.image]
        # Only the volumes that are its own: those of the lab have names.
        podman.run("rm", "--force", "--volumes", "--time=0", which.container)
        Maker(podman, name, site).make(spec, which.address, reference)
        site.keys.wait(host, which.address)
        return _lab(podman, name).host(host)


def command_on(name: str, host: str, command: Sequence[str], *, user: str | None = None) -> int:
    """Run ``command`` on a host over ssh, this process's streams attached; its exit code.

    ``user`` is an account of the host (default: root); its login environment is set.
    """
    lab = status(name)
    which = lab.host(host)
    remote = shlex.join(["sudo", "-n", "-i", "-u", user or "root", "--", *command])
    return subprocess.run(
        LabSite(lab.site).keys.command(host, which.address, remote), check=False
    ).returncode


@contextmanager
def _existing(name: str, host: str) -> Iterator[tuple[Podman, Lab, LabHost]]:
    with connected() as podman, locked(f"lab-{check_name(name)}"):
        lab = _lab(podman, name)
        yield podman, lab, lab.host(host)


def _names(podman: Podman) -> list[str]:
    networks = podman.json("network", "ls", "--format=json", f"--filter=label={LABEL_LAB}")
    return sorted(network["labels"][LABEL_LAB] for network in networks)


def _network(podman: Podman, name: str) -> dict[str, Any] | None:
    filters = f"--filter=label={LABEL_LAB}={name}"
    found: list[dict[str, Any]] = podman.json("network", "ls", "--format=json", filters)
    return found[0] if found else None


def _recorded_directory(network: dict[str, Any] | None) -> Path | None:
    return Path(network["labels"][LABEL_DIRECTORY]) if network else None


def _default_directory(name: str) -> Path:
    return state_home() / "labs" / name


def _site_directory(podman: Podman, name: str, wanted: Path | None) -> Path:
    recorded = _recorded_directory(_network(podman, name))
    if recorded and wanted and wanted.resolve() != recorded:
        raise UsageError(
            f"There is a lab {name} already; its site is {recorded}, not {wanted}.",
            next_step=f"Choose another --name, or: cloudlet-deploy lab down --name {name}",
        )
    return recorded or (wanted or _default_directory(name)).resolve()


def _ensure_network(podman: Podman, name: str, directory: Path) -> None:
    if _network(podman, name):
        return
    made = podman.run(
        "network",
        "create",
        f"--label={LABEL_LAB}={name}",
        f"--label={LABEL_DIRECTORY}={directory}",
        f"--label={LABEL_STATE_HOME}={state_home()}",
        network_name(name),
        check=False,
    )
    if made.returncode != 0:
        raise RunFailedError(
            f"The network of the lab {name} cannot be made: {made.stderr.strip()}",
            next_step="If it is another program's, choose another --name.",
        )


def _new_addresses(
    podman: Podman, name: str, taken: dict[str, str], wanted: list[str]
) -> dict[str, str]:
    network = _network(podman, name)
    if network is None:
        raise RunFailedError(f"The network of the lab {name} went away while it was made.")
    subnet = ipaddress.ip_network(network["subnets"][0]["subnet"])
    free = (
        str(subnet[place])
        for place in range(_FIRST_ADDRESS, subnet.num_addresses - 1)
        if str(subnet[place]) not in taken.values()
    )
    try:
        return {host: next(free) for host in wanted if host not in taken}
    except StopIteration:
        raise RunFailedError(
            f"The network {subnet} of the lab {name} has no addresses left.",
            next_step="Make fewer hosts: --hosts takes a pattern.",
        ) from None


def _hosts(podman: Podman, name: str) -> list[LabHost]:
    filters = f"--filter=label={LABEL_LAB}={name}"
    found = [
        LabHost(
            name=container["Labels"][LABEL_HOST],
            container=container["Names"][0],
            address=container["Labels"][LABEL_ADDRESS],
            image=container["Labels"].get(LABEL_IMAGE, ""),
            state="running" if container["State"] == "running" else "stopped",
        )
        for container in podman.json("ps", "--all", "--format=json", filters)
    ]
    return sorted(found, key=lambda host: host.name)


def _remove_unfinished(podman: Podman, name: str) -> None:
    """Remove hosts that an interrupted `up` created and never started: they lack their keys."""
    filters = (f"--filter=label={LABEL_LAB}={name}", "--filter=status=created")
    for container in podman.json("ps", "--all", "--format=json", *filters):
        podman.run("rm", "--force", "--volumes", container["Id"])


def _lab(podman: Podman, name: str) -> Lab:
    directory = _recorded_directory(_network(podman, name))
    if directory is None:
        known = ", ".join(_names(podman)) or "none"
        raise UsageError(
            f"There is no lab {name}. Labs on this machine: {known}.",
            next_step=f"cloudlet-deploy lab up --name {name}",
        )
    return Lab(name, directory, network_name(name), tuple(_hosts(podman, name)))
