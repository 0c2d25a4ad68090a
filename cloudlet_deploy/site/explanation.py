"""Everything that is known of one variable of one host."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from cloudlet_deploy.errors import UsageError
from cloudlet_deploy.site import components, schema
from cloudlet_deploy.site.checks.secrets import CONNECTION
from cloudlet_deploy.site.faults import Fault, parts
from cloudlet_deploy.site.model import Host, Site, Source, Unknown, Value, Why
from cloudlet_deploy.site.schema import Option
from cloudlet_deploy.site.validation import validate


class State(Enum):
    """How much of a value is known."""

    KNOWN = "known"
    OPAQUE = "opaque"  #: vaulted, and its password was not given
    DEFERRED = "deferred"  #: only a run can tell
    BROKEN = "broken"  #: a template that does not parse, or a wrong vault password
    UNSET = "unset"  #: neither the inventory nor a role gives it a value


@dataclass(frozen=True)
class Place:
    """One place that gives the variable a value; ``written`` may hold templates."""

    source: Source
    file: str
    line: int | None
    column: int | None
    written: object = field(repr=False)

    @property
    def where(self) -> str:
        """``file:line:column``, as far as known."""
        return ":".join(str(p) for p in (self.file, self.line, self.column) if p is not None)


@dataclass(frozen=True)
class Explanation:
    """``value`` is None unless it is known, and so is ``place`` if nothing sets the variable.

    Where ``secret`` holds, neither ``value`` nor what is ``written`` may be shown. ``lost`` are
    places that a stronger one overrides, strongest first, the role's default last.
    ``deployed`` is whether the host has the role that declares the variable.
    """

    host: str
    variable: str
    state: State
    detail: str
    secret: bool
    value: object = field(repr=False)
    place: Place | None
    lost: tuple[Place, ...]
    option: Option | None
    deployed: bool
    faults: tuple[Fault, ...] = ()


def explain(site: Site, host_name: str, variable: str) -> Explanation:
    """What ``variable`` is on a host, where from, and what its role says of it.

    Raises UsageError for a host or a variable that there is not.
    """
    host = site.hosts.get(host_name)
    if host is None:
        raise _unknown(f"{site.path} has no host {host_name}.", host_name, site.hosts, "hosts")
    options = {n: o for spec in schema.role_specs().values() for n, o in spec.options.items()}
    option = options.get(variable)
    value = host.effective(variable)
    if value is None and option is None:
        known = [*host.values, *options]
        raise _unknown(
            f"{host_name} has no variable {variable}, and no role declares one.",
            variable,
            known,
            "variables",
        )
    state, detail = _state(host, value)
    default = host.defaults.get(variable)
    weaker = [*host.weaker.get(variable, ()), *([default] if default is not value else [])]
    return Explanation(
        host=host_name,
        variable=variable,
        state=state,
        detail=detail,
        secret=_is_secret(variable, value, option, weaker),
        value=value.value if value is not None and state is State.KNOWN else None,
        place=_place(value) if value is not None else None,
        lost=tuple(_place(lost) for lost in weaker if lost is not None),
        option=option,
        deployed=option is not None and option.role in components.of_host(host),
        faults=_faults(site, host_name, variable),
    )


def _state(host: Host, value: Value | None) -> tuple[State, str]:
    if value is None:
        locked = ", ".join(host.locked_files)
        detail = f"encrypted files may set it: {locked}" if locked else ""
        return State.UNSET, detail
    unknown = [part for part in parts(value.value) if isinstance(part, Unknown)]
    if not unknown:
        return State.KNOWN, ""
    first = unknown[0]
    if first.why is Why.VAULTED:
        return State.OPAQUE, "it is encrypted, and no vault password was given"
    if first.why is Why.DEFERRED:
        return State.DEFERRED, first.detail
    return State.BROKEN, first.detail


def _is_secret(
    variable: str, value: Value | None, option: Option | None, weaker: Iterable[Value | None]
) -> bool:
    """Whether any part is secret: then all of it is masked, lost values too."""
    return (
        variable in CONNECTION
        or (option is not None and _holds_secret(option))
        or any(one is not None and one.secret for one in (value, *weaker))
    )


def _holds_secret(option: Option) -> bool:
    return option.secret or any(_holds_secret(inner) for inner in option.options.values())


def _place(value: Value) -> Place:
    origin = value.origin
    return Place(value.source, origin.path, origin.line, origin.column, value.raw)


def _faults(site: Site, host: str, variable: str) -> tuple[Fault, ...]:
    """What `validate` says of it."""
    return tuple(
        fault
        for fault in validate(site)
        if host in fault.hosts and fault.variable.replace("[", ".").split(".")[0] == variable
    )


def _unknown(
    message: str, name: str, known: Iterable[str] | Mapping[str, object], what: str
) -> UsageError:
    names = list(dict.fromkeys(known))
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if near:
        return UsageError(message, next_step=f"Did you mean {' or '.join(near)}?")
    some = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return UsageError(message, next_step=f"The {what} are: {some}")
