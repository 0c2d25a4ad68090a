"""What goes into the tuning model and what comes out of it: plain data, no I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

#: A value of a setting as the inventory writes it.
Scalar = int | str | bool


@dataclass(frozen=True)
class Seen:
    """One setting as a host has it. ``None`` is "not known there".

    ``configured`` is what our own file on the host says, ``effective`` what the running process
    or the kernel says. ``before`` is the value that was there before the first tune (kernel
    settings alone). Where it is certain that the host cannot be given another value,
    ``settable`` is False and ``cause`` says why; ``cause`` also says why ``effective`` is unknown.
    ``in_use`` is how much of it is in use at the moment.
    """

    configured: Scalar | None = None
    effective: Scalar | None = None
    before: Scalar | None = None
    settable: bool = True
    cause: str = ""
    in_use: int | None = None


@dataclass(frozen=True)
class HostReading:
    """What a host is, and what it has of each setting, by the setting's variable.

    ``nic_mbps`` is the speed of its fastest network interface in Mbit/s, ``nofile_hard`` the hard
    limit of open files that its service manager can hand on, ``container`` the kind of container
    it is (empty for a machine), ``reserved_mb`` memory that other services of ours on it may take.
    """

    host: str
    components: frozenset[str]
    groups: frozenset[str]
    memory_mb: int
    cores: int
    kernel: str = ""
    container: str = ""
    nic_mbps: int | None = None
    nofile_hard: int | None = None
    java_version: int | None = None
    reserved_mb: int = 0
    settings: Mapping[str, Seen] = field(default_factory=dict)


@dataclass(frozen=True)
class Load:
    """What is wanted: ``clients`` at a time that the whole site is to bear.

    ``entries`` are those of a listed directory, ``headroom`` the factor by which threads and
    sessions exceed the clients.
    """

    clients: int
    entries: int = 100
    headroom: float = 1.25


@dataclass(frozen=True)
class Shape:
    """What of the site as a whole the numbers depend on."""

    doors: int = 1
    transfer_servers: int = 1
    data_nodes: int = 0
    flavour: str = "jetty"
    mapping: str = "gridmap"
    selection: str = "round_robin"
    #: Whether GridFTP reads HDFS through its own module, which takes far more memory.
    hdfs_dsi: bool = False


@dataclass(frozen=True)
class Pin:
    """A value that the inventory gives a setting by another hand, and where (``file:line``)."""

    value: Scalar
    where: str


@dataclass(frozen=True)
class Setting:
    """One setting of one host, and why it should have which value.

    ``now`` is the value in force, or the configured one where that cannot be seen. ``recommended``
    is what the model wants; ``wanted`` is that or the pin. ``inputs`` are the numbers that the
    formula was given, ``objection`` says what speaks against a pin that contradicts the model.
    """

    variable: str
    component: str
    title: str
    unit: str
    now: Scalar | None
    recommended: Scalar
    reason: str
    formula: str
    source: str
    applied: str
    verified: str
    inputs: Mapping[str, Scalar | float] = field(default_factory=dict)
    pin: Pin | None = None
    objection: str = ""
    settable: bool = True
    cause: str = ""

    @property
    def wanted(self) -> Scalar:
        """The value that the host should have in the end."""
        return self.recommended if self.pin is None else self.pin.value


@dataclass(frozen=True)
class Advice:
    """What one host should have. ``carried`` are the clients that its settings are for.

    Less than were asked for means that the host cannot bear them: ``binding`` is the resource
    that ends first, ``limit`` says it in a sentence with its numbers.
    """

    host: str
    asked: int
    carried: int
    settings: tuple[Setting, ...]
    binding: str = ""
    limit: str = ""
    warnings: tuple[str, ...] = ()
