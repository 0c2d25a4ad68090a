"""Variables that earlier releases had. An entry stays for good: sites live longer than releases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Removed:
    """``release`` is the first one without the variable; ``instead`` says what to do now."""

    release: str
    instead: str


#: By the variable's name.
REMOVED: Mapping[str, Removed] = {}
