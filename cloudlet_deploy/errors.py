"""The error tree: each error carries its exit code and says what to do next.

Nothing below ``cli/`` ends the process; it raises one of these, and the command
line prints it and exits with its ``exit_code``.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


class ExitCode(IntEnum):
    """What ``cloudlet-deploy`` exits with. The table in the docs is made from this."""

    DONE = 0
    TASK_FAILED = 1
    PENDING = 2
    UNREACHABLE = 3
    INVALID = 4
    CHECK_FAILED = 5
    USAGE = 64
    LOCKED = 75
    INTERRUPTED = 130

    @property
    def meaning(self) -> str:
        """What the code tells the user, as one sentence."""
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.DONE: "Done; nothing is pending.",
    ExitCode.TASK_FAILED: "A task failed on a host, or Ansible itself could not run.",
    ExitCode.PENDING: "Changes are pending or drift was found.",
    ExitCode.UNREACHABLE: "A host could not be reached.",
    ExitCode.INVALID: "The inventory or a setting is invalid.",
    ExitCode.CHECK_FAILED: "A health check, verification or verdict did not hold.",
    ExitCode.USAGE: "Wrong usage; declined, or no terminal to ask on without `--yes`.",
    ExitCode.LOCKED: "Another run holds the lease.",
    ExitCode.INTERRUPTED: "Interrupted; the site can be resumed.",
}

#: Which code wins where several hold, strongest first.
PRECEDENCE: tuple[ExitCode, ...] = (
    ExitCode.INTERRUPTED,
    ExitCode.INVALID,
    ExitCode.LOCKED,
    ExitCode.TASK_FAILED,
    ExitCode.UNREACHABLE,
    ExitCode.CHECK_FAILED,
    ExitCode.PENDING,
)


def strongest(codes: Iterable[ExitCode]) -> ExitCode:
    """The one code that a command exits with when all of ``codes`` hold."""
    held = set(codes)
    return next((code for code in PRECEDENCE if code in held), ExitCode.DONE)


class CloudletError(Exception):
    """Base of all errors that a user may see.

    ``message`` names the file, host and value; ``next_step`` says what to do.
    """

    exit_code = ExitCode.TASK_FAILED

    def __init__(self, message: str, *, next_step: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.next_step = next_step


class UsageError(CloudletError):
    """Wrong options, a declined question, or nobody there to answer it."""

    exit_code = ExitCode.USAGE


class InvalidSiteError(CloudletError):
    """The inventory or a setting in it is invalid."""

    exit_code = ExitCode.INVALID


class RunFailedError(CloudletError):
    """A task failed on a host, or Ansible itself could not run."""

    exit_code = ExitCode.TASK_FAILED


class UnreachableError(CloudletError):
    """A host could not be reached."""

    exit_code = ExitCode.UNREACHABLE


class CheckFailedError(CloudletError):
    """A health check, verification or verdict did not hold."""

    exit_code = ExitCode.CHECK_FAILED


class LockedError(CloudletError):
    """Another run holds the lease."""

    exit_code = ExitCode.LOCKED


class InterruptedRunError(CloudletError):
    """The user pressed Ctrl-C; the site can be resumed."""

    exit_code = ExitCode.INTERRUPTED
