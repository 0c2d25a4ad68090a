"""Makes a ``Campaign`` of what the engine tells, whole or broken off."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cloudlet_deploy.errors import CloudletError, RunFailedError, UsageError
from cloudlet_deploy.smoke import document
from cloudlet_deploy.smoke.types import Campaign, Measured, Recovery


@dataclass
class Gathering:
    """Collects the engine's events; ``campaign`` is what they come to so far."""

    plain: Campaign
    points: list[Measured] = field(default_factory=list)
    recovery: Recovery | None = None
    lost: list[str] = field(default_factory=list)
    #: Directories that are left in the storage, and why.
    left: tuple[str, ...] = ()
    #: Whether all others were removed.
    tidied: bool = False
    problems: list[str] = field(default_factory=list)
    incomplete: str = "it was broken off"
    refusal: CloudletError | None = None

    def take(self, told: Mapping[str, Any]) -> None:
        """One event of the engine."""
        event = told["event"]
        if event == "measured":
            self.points.append(document.measured(told["measured"]))
        elif event == "recovery" and not (told["stopped"] and told["seconds"] is None):
            self.recovery = Recovery(
                told["seconds"], told["patience"], told["attempts"], told["last"]
            )
        elif event == "lost":
            self.lost.append(told["worker"])
        elif event == "removed":
            self.tidied = True
        elif event == "left":
            self.tidied = True
            self.left = tuple(told["bases"])
            self.problems.append(told["problem"])
        elif event == "end":
            self._end(told["incomplete"])

    def _end(self, why: str) -> None:
        self.incomplete = why
        kind, _, rest = why.partition(" ")
        if kind == "capacity":
            held, _, wanted = rest.partition(" wanted ")
            self.refusal = UsageError(
                f"The load processes can hold {held} clients, and {wanted} are wanted: each takes "
                "an open file.",
                next_step="Ask for fewer with --clients and --overload, raise the limit of open "
                "files (ulimit -Hn), or put hosts into the group load_generators.",
            )
        elif kind == "directories":
            self.refusal = RunFailedError(
                f"The test directories could not be made through the storage: {rest}",
                next_step="May the user who tests write in smoke_path? 'cloudlet-deploy status' "
                "tells whether the transfer servers work.",
            )
        elif kind == "fault":
            self.refusal = RunFailedError(
                f"A load process failed: {rest}", next_step="This is a fault of cloudlet-deploy."
            )
        elif self.lost and not why:
            self.incomplete = f"load process lost: {', '.join(self.lost)}"

    @property
    def campaign(self) -> Campaign:
        """All that is known now."""
        return replace(
            self.plain,
            took=time.time() - self.plain.began,
            points=tuple(self.points),
            recovery=self.recovery,
            incomplete=self.incomplete,
            problems=tuple(self.problems),
        )
