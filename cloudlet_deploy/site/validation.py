"""Finds every fault of a site at once, without touching a host.

Whether a value has the right type is Ansible's own decision, so what passes here passes when a
role starts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace
from typing import TypeVar

from cloudlet_deploy.site import checks, components, schema
from cloudlet_deploy.site.checks import unchecked as not_checked
from cloudlet_deploy.site.faults import Fault, Severity, Subject, Unchecked, Unsure
from cloudlet_deploy.site.model import Site

__all__ = ["Fault", "Severity", "Unchecked", "Unsure", "unchecked", "validate"]

_Found = TypeVar("_Found", bound=Fault | Unchecked)


def validate(site: Site, *, files: bool = True) -> list[Fault]:
    """All faults of the hosts that ``site`` targets, by file and line.

    ``files`` is False for commands that must work with what is deployed already: then files
    on this machine that the site names, such as certificates, are not looked at.
    """
    subject = _subject(site)
    wanted = (*checks.OF_SETTINGS, *(checks.OF_FILES if files else ()))
    found = [fault for check in wanted for fault in check(subject)]
    # A role's own words follow where the spec is content: of one setting they would repeat it.
    told = {(host, _base(fault.variable)) for fault in found for host in fault.hosts}
    found += [
        fault
        for fault in checks.values.refused_by_roles(subject)
        if (*fault.hosts, fault.variable) not in told
    ]
    return _merged(found, lambda f: (f.severity, f.variable, f.message, f.value, f.where))


def unchecked(site: Site) -> list[Unchecked]:
    """What could not be checked: vaulted values without password, and what needs the hosts."""
    found = not_checked.all_of(_subject(site))
    return _merged(found, lambda u: (u.why, u.variable, u.detail, u.where))


def _base(variable: str) -> str:
    """The variable's name without the part of it."""
    return re.split(r"[.\[]", variable, maxsplit=1)[0]


def _subject(site: Site) -> Subject:
    roles = {name: components.of_host(host) for name, host in site.hosts.items()}
    # What the scaling test is told belongs to the whole site, whatever a host has.
    roles = {name: (*found, "smoke") if found else () for name, found in roles.items()}
    return Subject(site, schema.role_specs(), components.of_groups(), roles)


def _merged(found: Iterable[_Found], key: Callable[[_Found], Hashable]) -> list[_Found]:
    """The same on several hosts is told once; sorted as the files are read."""
    merged: dict[Hashable, _Found] = {}
    for one in found:
        earlier = merged.get(key(one))
        hosts: tuple[str, ...] = (*(earlier.hosts if earlier else ()), *one.hosts)
        merged[key(one)] = replace(one, hosts=tuple(dict.fromkeys(hosts)))
    return sorted(merged.values(), key=lambda f: (f.file, f.line or 0, f.variable, str(key(f))))
