"""Stands for what cannot be known offline."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Why(Enum):
    """Why a value cannot be known offline."""

    DEFERRED = "deferred"  #: a template that needs facts, lookups or other variables of a run
    VAULTED = "vaulted"  #: encrypted, and its password was not given
    BROKEN = "broken"  #: a template that does not parse
    WRONG_PASSWORD = "wrong password"  #: encrypted, and no password that was given opens it


@dataclass(frozen=True)
class Unknown:
    """Stands in a value tree for what cannot be known offline."""

    why: Why
    detail: str = ""
