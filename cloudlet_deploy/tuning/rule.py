"""What is known of a setting whatever the host: its formula in words, its source, its ways."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from cloudlet_deploy.tuning.types import Scalar


class Order(Enum):
    """Which other values are worse than the recommended one."""

    #: Smaller ones are; more does no harm, but for the memory that it may take.
    AT_LEAST = auto()
    #: All others are.
    EXACT = auto()


@dataclass(frozen=True)
class Rule:
    """One setting. The function beside it computes what ``formula`` says.

    ``formula`` is arithmetic over the names of ``Draft.inputs``: `` x `` multiplies,
    ``where NAME = ...`` names an intermediate. A test works it out and compares. ``harm`` says
    what comes of a worse value.
    """

    variable: str
    title: str
    unit: str
    formula: str
    source: str
    applied: str
    verified: str
    harm: str = ""
    order: Order = Order.AT_LEAST

    @property
    def component(self) -> str:
        """The role whose variable it is."""
        if self.variable.startswith("hdfs_fuse_"):
            return "hdfs_fuse"
        return self.variable.partition("_")[0]

    def draft(self, value: Scalar, reason: str, **inputs: Scalar | float) -> Draft:
        """What the rule comes to on one host."""
        return Draft(self, value, reason, inputs)


@dataclass(frozen=True)
class Draft:
    """The value that a rule gives one host, before pins are looked at."""

    rule: Rule
    value: Scalar
    reason: str
    inputs: Mapping[str, Scalar | float]


def whole(number: float) -> int:
    """``number`` rounded up; what floating point adds behind the sixth digit does not count."""
    return math.ceil(round(number, 6))


def next_power_of_two(number: int) -> int:
    """The smallest power of two that is no less than ``number`` (1 or more)."""
    return 1 << (number - 1).bit_length()


def as_int(value: Scalar | None) -> int | None:
    """The number that ``value`` is or spells; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    try:
        return int(str(value).strip())
    except ValueError:
        return None
