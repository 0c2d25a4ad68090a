"""What looking at a host found: the common form of ``preflight`` and ``status``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cloudlet_deploy.errors import ExitCode
from cloudlet_deploy.run.looking import Looked
from cloudlet_deploy.run.reasons import explain


class Level(StrEnum):
    """How bad it is. The strongest comes last."""

    OK = "ok"
    WARNING = "warning"  #: it works, and may not for long
    DRIFT = "drift"  #: not as it was made; an apply mends it
    FAILED = "failed"  #: a check did not hold
    UNREACHABLE = "unreachable"

    @property
    def rank(self) -> int:
        """Position in the order of strength."""
        return list(Level).index(self)

    @property
    def exit_code(self) -> ExitCode:
        """What a command that found it exits with."""
        return _CODES.get(self, ExitCode.DONE)


_CODES = {
    Level.DRIFT: ExitCode.PENDING,
    Level.FAILED: ExitCode.CHECK_FAILED,
    Level.UNREACHABLE: ExitCode.UNREACHABLE,
}


@dataclass(frozen=True)
class Finding:
    """One check on one host; ``component`` is empty where no single role is concerned."""

    check: str
    status: Level
    detail: str
    next_step: str = ""
    component: str = ""


def worst(findings: tuple[Finding, ...]) -> Level:
    """The strongest level among ``findings``."""
    return max((f.status for f in findings), key=lambda level: level.rank, default=Level.OK)


def refusal(looked: Looked, host: str, user: str | None) -> Finding:
    """Why ``host`` has no report: it was not reached, or would not be looked at."""
    failure = looked.failures[host]
    reason = explain(failure, user)
    words = reason.message.partition(": ")[2] or reason.message
    if looked.unreachable(host):
        return Finding("reach", Level.UNREACHABLE, words, reason.next_step)
    return Finding("system", Level.FAILED, words, reason.next_step)
