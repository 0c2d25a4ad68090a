"""The checks of ``validate``: each is a function from ``Subject`` to faults."""

from __future__ import annotations

from cloudlet_deploy.site.checks import (
    accounts,
    containers,
    credentials,
    cryosparc,
    cryosparc_lane,
    data_mounts,
    groups,
    memory,
    names,
    portal,
    ports,
    secrets,
    ssh_keys,
    values,
)
from cloudlet_deploy.site.faults import Check

#: What the inventory says. The order does not matter, since faults are sorted.
OF_SETTINGS: tuple[Check, ...] = (
    names.unknown_variables,
    values.wrong_values,
    groups.empty_groups,
    groups.without_components,
    groups.transfer_servers,
    groups.notices,
    ports.malformed_ranges,
    ports.clashes,
    memory.heaps,
    accounts.gridmap,
    accounts.duplicate_accounts,
    portal.outside_of_cloudlet,
    portal.front,
    portal.scopes,
    portal.claims,
    portal.directory,
    portal.instruments,
    portal.sites,
    portal.nobody,
    portal.overlapping_ids,
    cryosparc.outside_of_cloudlet,
    cryosparc.ports,
    cryosparc.users,
    cryosparc_lane.lanes,
    data_mounts.mounts,
    secrets.in_plain_text,
)
#: What is in files on this machine that the inventory names.
OF_FILES: tuple[Check, ...] = (
    credentials.certificates_and_keys,
    credentials.key_modes,
    credentials.ca_directories,
    ssh_keys.keys,
    containers.configurations,
)
