"""What checks find, and what they look at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from cloudlet_deploy.site.model import Host, Origin, Place, Site, Source, Unknown, Value
from cloudlet_deploy.site.schema import Option, RoleSpec


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


class Unsure(Enum):
    """Why something was not checked."""

    OPAQUE = "opaque"  #: encrypted, and its password was not given
    DEFERRED = "deferred"  #: only a host, or a run, can tell


@dataclass(frozen=True)
class Unchecked:
    """A value that could not be checked offline. ``detail`` says what is missing to check it."""

    why: Unsure
    detail: str
    hosts: tuple[str, ...] = ()
    variable: str = ""
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
        """The hosts that are to be checked."""
        return (self.site.hosts[name] for name in self.site.targets)

    def options(self, host: Host) -> Iterator[Option]:
        """Every variable that the components of ``host`` declare."""
        for role in self.roles[host.name]:
            if role in self.specs:
                yield from self.specs[role].options.values()

    def wanted(self, host: Host) -> Iterator[Option]:
        """The same, without those of components that are to be removed from ``host``."""
        for option in self.options(host):
            state = host.effective(f"{option.role}_state")
            if state is None or state.value != "absent":
                yield option

    def of_form(self, host: Host, *forms: str) -> Iterator[tuple[Option, Value, object]]:
        """Option, value and what the role will see, of the options with one of ``forms``.

        Values that are not set or not known offline are left out.
        """
        for option in self.wanted(host):
            value = host.effective(option.name) if option.form in forms else None
            if value is not None and value.value is not None and is_known(value.value):
                yield option, value, value.value


Check = Callable[[Subject], Iterable[Fault]]


def is_known(value: object) -> bool:
    """Whether no part of ``value`` is unknown."""
    return not any(isinstance(part, Unknown) for part in parts(value))


def parts(value: object) -> Iterator[object]:
    """``value`` and all that is inside of it."""
    yield value
    if isinstance(value, dict):
        for item in value.values():
            yield from parts(item)
    elif isinstance(value, list):
        for item in value:
            yield from parts(item)


def fault(
    message: str,
    next_step: str,
    origin: Origin,
    *,
    host: Host | None = None,
    variable: str = "",
    value: str | None = None,
    severity: Severity = Severity.ERROR,
) -> Fault:
    """A fault at ``origin``."""
    hosts = (host.name,) if host is not None else ()
    return Fault(severity, message, next_step, hosts, variable, value, origin.path, origin.line)


def at(host: Host, value: Value, place: Place = ()) -> Origin:
    """Where the part at ``place`` was written; for a role's default, where the host stands."""
    return host.origin if value.source is Source.DEFAULT else value.origin_of(place)


def shown(name: str, place: Place) -> str:
    """The name of a part: ``grid_trust_gridmap[2].dn``."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in place)
    return name + "".join(steps)


def short(found: object) -> str:
    """``found`` for a message; nothing of mappings and lists, where a secret may hide."""
    if isinstance(found, dict | list):
        return f"{article(type(found).__name__)} of {len(found)}"
    text = repr(found)
    return text if len(text) <= 60 else f"{text[:57]}..."


def article(words: str) -> str:
    """``words`` with "a" or "an"."""
    return f"an {words}" if words[0] in "aeiou" else f"a {words}"
