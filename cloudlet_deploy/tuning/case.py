"""One host, the load and the site's shape: which of the load falls on that host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cloudlet_deploy.tuning.rule import as_int, whole
from cloudlet_deploy.tuning.types import HostReading, Load, Pin, Seen, Shape


@dataclass(frozen=True)
class Case:
    """What ``advise`` is asked. ``clients`` below are always those of the whole site."""

    reading: HostReading
    load: Load
    shape: Shape
    pins: Mapping[str, Pin]

    @property
    def is_door(self) -> bool:
        return "bestman" in self.reading.components

    @property
    def is_transfer(self) -> bool:
        return "gridftp" in self.reading.components

    @property
    def is_name_node(self) -> bool:
        return "hdfs_namenode" in self.reading.groups

    @property
    def is_data_node(self) -> bool:
        return "hdfs_datanode" in self.reading.groups

    @property
    def is_globus(self) -> bool:
        return self.shape.flavour == "globus"

    def per_door(self, clients: int) -> int:
        """Clients at one door: the N of the door's formulas."""
        return whole(clients / self.shape.doors)

    def per_server(self, clients: int) -> int:
        """Clients at one transfer server."""
        return whole(clients / self.shape.transfer_servers)

    def here(self, clients: int) -> int:
        """Clients that turn to this host: the greatest of the numbers of what it is.

        A host that is none of these gets the number of a door, since it serves the doors.
        """
        serves_doors = self.is_door or self.is_name_node or not self.is_transfer
        at_door = self.per_door(clients) if serves_doors else 0
        return max(at_door, self.per_server(clients) if self.is_transfer else 0)

    def seen(self, variable: str) -> Seen:
        """The setting as the host has it; all unknown where the host did not tell."""
        return self.reading.settings.get(variable, Seen())

    def pinned(self, variable: str) -> int | None:
        """The number that the inventory gives a setting by another hand, if it is one."""
        pin = self.pins.get(variable)
        return None if pin is None else as_int(pin.value)

    def raised(self, variable: str, value: int) -> int:
        """``value``, or a pin of ``variable`` that is greater: what else has to follow it."""
        return max(value, self.pinned(variable) or 0)
