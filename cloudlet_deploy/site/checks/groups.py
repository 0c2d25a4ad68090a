"""Groups, and what they need of one another."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import replace

from cloudlet_deploy.site.faults import Fault, Severity, Subject, fault
from cloudlet_deploy.site.model import Origin

#: Groups that every inventory has.
_ANSIBLES = frozenset({"all", "ungrouped"})


def empty_groups(subject: Subject) -> Iterator[Fault]:
    """Groups that have components and that the inventory names, but puts no host into."""
    for group in subject.groups:
        if group in subject.site.groups and not subject.site.in_group(group):
            yield fault(
                f"the group {group} has no hosts",
                "Put hosts into it, or remove it.",
                _where(subject, group),
            )


def without_components(subject: Subject) -> Iterator[Fault]:
    """Hosts that get nothing deployed, for one because their group's name is misspelled."""
    site = subject.site
    targets = frozenset(site.targets)
    for group, hosts in site.groups.items():
        idle = targets.intersection(hosts) and not any(subject.roles[name] for name in hosts)
        if not idle or group in subject.groups or group in _ANSIBLES:
            continue
        if near := difflib.get_close_matches(group, list(subject.groups), n=1, cutoff=0.8):
            yield replace(
                fault(
                    f"no component belongs to the group {group}",
                    f"Did you mean {near[0]}?",
                    _where(subject, group),
                ),
                hosts=hosts,
            )
    if not any(subject.roles[name] for name in site.targets):
        yield fault(
            "no host is in a group that has a component",
            f"Put the hosts into these groups: {', '.join(subject.groups)}.",
            Origin(site.path),
        )


def transfer_servers(subject: Subject) -> Iterator[Fault]:
    """A door hands out the addresses of transfer servers; it is useless without one."""
    for host in subject.targets:
        if "bestman" not in host.groups:
            continue
        value = host.values.get("bestman_transfer_servers")
        missing = not subject.site.in_group("gridftp") if value is None else not value.value
        if missing:
            yield fault(
                f"{host.name} is a door, but there is no transfer server",
                "Put hosts into the group gridftp, or list servers in bestman_transfer_servers.",
                value.origin if value is not None else host.origin,
                host=host,
                variable="bestman_transfer_servers",
            )


def notices(subject: Subject) -> Iterator[Fault]:
    """What Ansible itself remarks, such as a key that stands twice."""
    for notice in subject.site.notices:
        yield fault(
            notice.message,
            "Correct the inventory.",
            notice.origin,
            severity=Severity.WARNING,
        )


def _where(subject: Subject, group: str) -> Origin:
    return subject.site.group_origins.get(group, Origin(subject.site.path))
