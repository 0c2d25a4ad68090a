"""What the user wrote, as data: a site, its hosts and each value with its place in a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from cloudlet_deploy.site.controller import Controller
from cloudlet_deploy.site.unknown import Unknown, Why

__all__ = [
    "Controller",
    "Host",
    "Notice",
    "Origin",
    "Place",
    "Site",
    "Source",
    "Unknown",
    "Value",
    "Vault",
    "Why",
]

#: Where a value sits inside a variable: keys of mappings, indexes of lists.
Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Origin:
    """Where something was written. ``line`` and ``column`` count from 1."""

    path: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        known = (part for part in (self.path, self.line, self.column) if part is not None)
        return ":".join(str(part) for part in known)


class Source(Enum):
    """What kind of place a value was written in, weakest first."""

    DEFAULT = "role default"
    GROUP = "inventory, variable of a group"
    GROUP_VARS = "group_vars"
    HOST = "inventory, variable of the host"
    HOST_VARS = "host_vars"
    EXTRA = "--extra-vars"


@dataclass(frozen=True)
class Value:
    """One variable of one host.

    ``raw`` is what was written, ``value`` the same with its templates evaluated. Both are
    plain Python, where vaulted parts and parts that need a run are ``Unknown``. ``secret``
    says that a part of it came out of a vault: then it must not be shown.
    """

    name: str
    raw: object = field(repr=False)
    value: object = field(repr=False)
    origin: Origin
    origins: Mapping[Place, Origin] = field(default_factory=dict, repr=False)
    secret: bool = False
    source: Source = Source.HOST

    def origin_of(self, place: Place) -> Origin:
        """Where the part at ``place`` was written, or the nearest container of it."""
        for length in range(len(place), 0, -1):
            if place[:length] in self.origins:
                return self.origins[place[:length]]
        return self.origin


@dataclass(frozen=True)
class Host:
    """One host with every variable that the inventory gives it.

    ``locked_files`` are files of variables that are encrypted as a whole and whose password
    was not given: which variables they set is unknown. ``defaults`` are those of the host's
    roles, whether overridden or not, and ``refusals`` what the roles themselves say against
    the settings (their ``__ROLE_setting_faults``), as far as the inventory tells. ``weaker``
    are definitions that lost against ``values``, strongest first.
    """

    name: str
    groups: tuple[str, ...]
    values: Mapping[str, Value]
    origin: Origin
    locked_files: tuple[str, ...] = ()
    defaults: Mapping[str, Value] = field(default_factory=dict, repr=False)
    refusals: tuple[str, ...] = ()
    weaker: Mapping[str, tuple[Value, ...]] = field(default_factory=dict, repr=False)

    def effective(self, name: str) -> Value | None:
        """The value that the roles see: the inventory's, or else the role's default."""
        return self.values.get(name) or self.defaults.get(name)


@dataclass(frozen=True)
class Notice:
    """A remark of Ansible's own on the inventory."""

    message: str
    origin: Origin


@dataclass(frozen=True)
class Site:
    """One inventory. ``targets`` are the hosts that ``--limit`` left, in inventory order."""

    path: str
    hosts: Mapping[str, Host]
    groups: Mapping[str, tuple[str, ...]]
    targets: tuple[str, ...]
    notices: tuple[Notice, ...] = ()
    group_origins: Mapping[str, Origin] = field(default_factory=dict)
    #: Opens files on this machine that the site names, vaulted ones too.
    controller: Controller = field(default_factory=Controller, repr=False, compare=False)

    def in_group(self, group: str) -> tuple[Host, ...]:
        """Hosts of ``group``, whether targeted or not; none if there is no such group."""
        return tuple(self.hosts[name] for name in self.groups.get(group, ()))


@dataclass(frozen=True)
class Vault:
    """How to open vaulted values, in Ansible's own terms.

    ``ids`` are ``[label@]source`` as of ``--vault-id``, ``password_files`` as of
    ``--vault-password-file``; ``passwords`` are pairs of label and password that the caller
    asked for (ids whose source is ``prompt`` stand for these). What ansible.cfg and the
    environment name is used too.
    """

    ids: tuple[str, ...] = ()
    password_files: tuple[str, ...] = ()
    passwords: tuple[tuple[str, str], ...] = field(default=(), repr=False)
