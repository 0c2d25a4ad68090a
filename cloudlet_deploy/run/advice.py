"""From a site and what its hosts said to advice: what the model needs to know of a site."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from cloudlet_deploy import tuning
from cloudlet_deploy.errors import InvalidSiteError
from cloudlet_deploy.run.looking import Looked
from cloudlet_deploy.run.readings import reading
from cloudlet_deploy.site import components, tuned
from cloudlet_deploy.site.faults import parts
from cloudlet_deploy.site.model import Host, Site, Unknown, Value

#: Memory that services of ours take on a host, by the group of hosts that run them.
_HEAPS: Mapping[str, str] = {
    "hdfs_namenode": "hdfs_namenode_heap_mb",
    "hdfs_datanode": "hdfs_datanode_heap_mb",
    "hdfs_checkpoint": "hdfs_checkpoint_heap_mb",
}


def shape_of(site: Site) -> tuning.Shape:
    """What of the whole site, targeted or not, the numbers depend on.

    Raises InvalidSiteError for a site without a door, which has no clients to be tuned for.
    """
    doors = _present(site, "bestman")
    if not doors:
        raise InvalidSiteError(
            f"{site.path}: no host is a door, and clients are counted at the door.",
            next_step="Put a host into the group bestman.",
        )
    servers, door = _present(site, "gridftp"), doors[0]
    return tuning.Shape(
        doors=len(doors),
        transfer_servers=max(len(servers), 1),
        data_nodes=len(_present(site, "hdfs_datanode", "hdfs")),
        flavour=str(_known(door, "bestman_flavour") or "jetty"),
        mapping=str(_known(door, "bestman_mapping") or "gridmap"),
        selection=str(_known(door, "bestman_transfer_selection") or "round_robin"),
        hdfs_dsi=any(_known(server, "gridftp_dsi") == "hdfs" for server in servers),
    )


def readings_of(site: Site, looked: Looked, hosts: Iterable[str]) -> tuple[tuning.HostReading, ...]:
    """What each of ``hosts`` that was seen is and has."""
    return tuple(
        reading(
            name,
            frozenset(components.of_host(site.hosts[name])),
            frozenset(site.hosts[name].groups),
            looked.reports[name],
            _reserved_mb(site.hosts[name]),
        )
        for name in hosts
        if name in looked.reports
    )


def advice_for(
    site: Site, reading: tuning.HostReading, load: tuning.Load, shape: tuning.Shape
) -> tuning.Advice:
    """What the model says of one host, with what the inventory pins there.

    Settings that the host did not report are none of its: what cannot be seen is not advised.
    """
    host = site.hosts[reading.host]
    told = tuning.advise(reading, load, shape, _pins(host, reading.settings))
    there = tuple(one for one in told.settings if one.variable in reading.settings)
    return replace(told, settings=there)


def wanted_of(site: Site, reading: tuning.HostReading) -> dict[str, tuning.Scalar]:
    """What the site as it stands says of each setting that the host has."""
    host = site.hosts[reading.host]
    found = {variable: _known(host, variable) for variable in reading.settings}
    return {variable: value for variable, value in found.items() if value is not None}


def values_for(site: Site, advice: tuning.Advice) -> dict[str, tuning.Scalar]:
    """What the tuned file of the host is to say.

    Not what is pinned, nor what the host cannot be given, nor kernel settings that need not be
    raised: these stay as they are, whoever set them.
    """
    host = site.hosts[advice.host]
    return {
        setting.variable: setting.recommended
        for setting in advice.settings
        if setting.pin is None and setting.settable and not _idle(host, setting)
    }


def _idle(host: Host, setting: tuning.Setting) -> bool:
    """Whether the kernel has the value already, and not from an earlier tune."""
    ours = host.values.get(setting.variable)
    return (
        setting.component == "kernel"
        and ours is None
        and str(setting.now) == str(setting.recommended)
    )


def _pins(host: Host, variables: Iterable[str]) -> dict[str, tuning.Pin]:
    pins = {}
    for variable in variables:
        value = tuned.strongest_other(host, variable)
        if value is not None:
            pins[variable] = tuning.Pin(_scalar(value), str(value.origin))
    return pins


def _known(host: Host, variable: str) -> tuning.Scalar | None:
    """The value as far as it can be known without a run; None if not."""
    value = host.effective(variable)
    if value is None or any(isinstance(part, Unknown) for part in parts(value.value)):
        return None
    return _scalar(value)


def _scalar(value: Value) -> tuning.Scalar:
    found = value.raw if value.value is None else value.value  # of what lost only that is kept
    if isinstance(found, float) and math.isfinite(found):
        return int(found)
    return found if isinstance(found, int | str | bool) else str(found)


def _present(site: Site, group: str, role: str = "") -> list[Host]:
    state = f"{role or group}_state"
    return [host for host in site.in_group(group) if _known(host, state) != "absent"]


def _reserved_mb(host: Host) -> int:
    heaps = [_known(host, heap) for group, heap in _HEAPS.items() if group in host.groups]
    return sum(heap for heap in heaps if isinstance(heap, int))
