"""Finds every fault of a site at once, without touching a host.

A check is a function from ``Subject`` to faults; ``CHECKS`` lists them all. Whether a value
has the right type is Ansible's own decision, so what passes here passes when a role starts.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from cloudlet_deploy.site import components, schema
from cloudlet_deploy.site.model import Host, Origin, Place, Site, Unknown, Value, Why
from cloudlet_deploy.site.schema import Option, RoleSpec
from cloudlet_deploy.site.types import coerced


class Severity(Enum):
    """Errors stop an apply, warnings do not."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong, where it is and what to do.

    ``variable`` names the part of a variable too (``grid_trust_gridmap[2].dn``) and is empty
    for faults of hosts and groups. ``value`` is None where there is none or it is secret.
    """

    severity: Severity
    message: str
    next_step: str
    hosts: tuple[str, ...] = ()
    variable: str = ""
    value: str | None = None
    file: str = ""
    line: int | None = None

    @property
    def where(self) -> str:
        """``file:line``, as far as known."""
        return self.file if self.line is None else f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Subject:
    """What a check looks at: the site, and what roles declare and hosts get of them."""

    site: Site
    specs: Mapping[str, RoleSpec]
    groups: Mapping[str, tuple[str, ...]]
    roles: Mapping[str, tuple[str, ...]]

    @property
    def targets(self) -> Iterator[Host]:
        return (self.site.hosts[name] for name in self.site.targets)

    def options(self, host: Host) -> Iterator[Option]:
        """Every variable that the components of ``host`` declare."""
        for role in self.roles[host.name]:
            if role in self.specs:
                yield from self.specs[role].options.values()


Check = Callable[[Subject], Iterable[Fault]]


def validate(site: Site) -> list[Fault]:
    """All faults of the hosts that ``site`` targets, by file and line."""
    roles = {name: components.of_host(host) for name, host in site.hosts.items()}
    subject = Subject(site, schema.role_specs(), components.of_groups(), roles)
    return _merged(fault for check in CHECKS for fault in check(subject))


def _merged(faults: Iterable[Fault]) -> list[Fault]:
    """The same fault on several hosts is one fault; sorted as the files are read."""
    merged: dict[tuple[object, ...], Fault] = {}
    for fault in faults:
        key = (fault.severity, fault.variable, fault.message, fault.value, fault.where)
        earlier = merged.get(key)
        hosts = (*earlier.hosts, *fault.hosts) if earlier else fault.hosts
        merged[key] = replace(fault, hosts=tuple(dict.fromkeys(hosts)))
    return sorted(merged.values(), key=lambda f: (f.file, f.line or 0, f.variable, f.message))


def _fault(
    message: str,
    next_step: str,
    origin: Origin,
    *,
    host: Host | None = None,
    variable: str = "",
    value: str | None = None,
) -> Fault:
    hosts = (host.name,) if host is not None else ()
    return Fault(
        Severity.ERROR, message, next_step, hosts, variable, value, origin.path, origin.line
    )


# --- unknown variables --------------------------------------------------------------------


def _unknown_variables(subject: Subject) -> Iterator[Fault]:
    """Variables that carry a role's prefix and that no role declares."""
    known = {name for spec in subject.specs.values() for name in spec.options}
    prefixes = tuple(f"{role}_" for role in subject.specs)
    for host in subject.targets:
        for value in host.values.values():
            if value.name.startswith(prefixes) and value.name not in known:
                near = difflib.get_close_matches(value.name, sorted(known), n=1, cutoff=0.75)
                yield _fault(
                    "no role has a variable of this name",
                    f"Did you mean {near[0]}?" if near else _all_of_role(value.name, subject),
                    value.origin,
                    host=host,
                    variable=value.name,
                )


def _all_of_role(name: str, subject: Subject) -> str:
    role = max((r for r in subject.specs if name.startswith(f"{r}_")), key=len)
    names = ", ".join(sorted(subject.specs[role].options)) or "none"
    return f"Remove it or correct its name; the variables of {role} are: {names}."


# --- values -------------------------------------------------------------------------------


def _values(subject: Subject) -> Iterator[Fault]:
    """Missing variables, wrong types, choices and ranges."""
    for host in subject.targets:
        for option in subject.options(host):
            value = host.values.get(option.name)
            if value is not None:
                yield from _Walk(host, value).faults(option, value.value, ())
            elif option.required and not host.locked_files:
                yield _missing(subject.site, host, option)


def _missing(site: Site, host: Host, option: Option) -> Fault:
    what = f": {schema.plain(option.description[0])}" if option.description else ""
    return _fault(
        f"required by {option.role}, but not set",
        f"Set {option.name} ({option.kind}){what}",
        Origin(site.path),
        host=host,
        variable=option.name,
    )


#: What to do about values that are wrong although they are unknown.
_REMEDIES = {
    Why.BROKEN: "Correct the template.",
    Why.WRONG_PASSWORD: "Give the right one with --vault-password-file or --vault-id.",
}


@dataclass(frozen=True)
class _Walk:
    """Checks one value of one host, part by part."""

    host: Host
    value: Value

    def faults(self, option: Option, found: object, place: Place) -> Iterator[Fault]:
        if isinstance(found, Unknown):
            if found.why in _REMEDIES:
                yield self._fault(place, option, found.detail, _REMEDIES[found.why])
            return
        if found is None:
            # For Ansible a null is an optional variable that is not set; a required text
            # would become "None".
            if option.required:
                yield self._fault(place, option, "must not be empty", _say(option))
            return
        value, problem = coerced(option, found)
        if problem:
            yield self._fault(place, option, problem, _say(option), found)
            return
        yield from self._of_number(option, value, place)
        yield from self._of_parts(option, value, place)

    def _of_number(self, option: Option, found: object, place: Place) -> Iterator[Fault]:
        if option.minimum is None or not isinstance(found, int | float):
            return
        if found < option.minimum or (option.maximum is not None and found > option.maximum):
            above = f"to {option.maximum}" if option.maximum is not None else "or more"
            message = f"must be {option.minimum} {above}"
            yield self._fault(place, option, message, _say(option), found)

    def _of_parts(self, option: Option, found: object, place: Place) -> Iterator[Fault]:
        if isinstance(found, list) and option.elements:
            element = replace(
                option,
                name=f"each part of {option.name}",
                type=option.elements,
                elements=None,
                required=True,
            )
            for index, item in enumerate(found):
                yield from self.faults(element, item, (*place, index))
        elif isinstance(found, dict) and option.options:
            yield from self._of_keys(option, found, place)

    def _of_keys(
        self, option: Option, found: Mapping[object, object], place: Place
    ) -> Iterator[Fault]:
        for key, part in found.items():
            step = key if isinstance(key, str | int) else str(key)
            if key in option.options:
                yield from self.faults(option.options[str(key)], part, (*place, step))
                continue
            near = difflib.get_close_matches(str(key), list(option.options), n=1)
            hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(option.options)}."
            yield self._fault((*place, step), option, "there is no such key", hint)
        for name, inner in option.options.items():
            if inner.required and name not in found:
                yield self._fault(place, option, f"the key {name} is missing", _say(inner))

    def _fault(
        self, place: Place, option: Option, message: str, next_step: str, found: object = None
    ) -> Fault:
        secret = self.value.secret or option.secret
        return _fault(
            message,
            next_step,
            self.value.origin_of(place),
            host=self.host,
            variable=_shown(self.value.name, place),
            value=None if secret or found is None else _short(found),
        )


def _say(option: Option) -> str:
    """What the spec says of ``option``, as a next step."""
    what = f" {schema.plain(option.description[0])}" if option.description else ""
    return f"{option.name} is {_article(option.kind)}.{what}"


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aeiou" else f"a {kind}"


def _shown(name: str, place: Place) -> str:
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return name + "".join(steps)


def _short(found: object) -> str:
    """``found`` for a message; nothing of mappings and lists, where a secret may hide."""
    if isinstance(found, dict | list):
        return f"{_article(type(found).__name__)} of {len(found)}"
    text = repr(found)
    return text if len(text) <= 60 else f"{text[:57]}..."


# --- groups -------------------------------------------------------------------------------


def _groups(subject: Subject) -> Iterator[Fault]:
    """Hosts that get nothing deployed, and groups that need one another."""
    if not any(subject.roles[name] for name in subject.site.targets):
        groups = ", ".join(subject.groups)
        yield _fault(
            "no host is in a group that has a component",
            f"Put the hosts into these groups: {groups}.",
            Origin(subject.site.path),
        )


def _transfer_servers(subject: Subject) -> Iterator[Fault]:
    """A door hands out the addresses of transfer servers; it is useless without one."""
    for host in subject.targets:
        if "bestman" not in host.groups or subject.site.in_group("gridftp"):
            continue
        value = host.values.get("bestman_transfer_servers")
        if value is None or value.value in (None, []):
            yield _fault(
                f"{host.name} is a door, but there is no transfer server",
                "Put hosts into the group gridftp, or list servers in bestman_transfer_servers.",
                host.origin,
                host=host,
            )


def _notices(subject: Subject) -> Iterator[Fault]:
    """What Ansible itself remarks, such as a key that stands twice."""
    for notice in subject.site.notices:
        fault = _fault(notice.message, "Correct the inventory.", notice.origin)
        yield replace(fault, severity=Severity.WARNING)


#: Every check; the order does not matter, since faults are sorted.
CHECKS: tuple[Check, ...] = (_unknown_variables, _values, _groups, _transfer_servers, _notices)
