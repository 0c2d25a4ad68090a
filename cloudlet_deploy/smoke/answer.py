"""What comes of an operation: entries of a directory, or the reason why there are none."""

from __future__ import annotations

from dataclasses import dataclass

from cloudlet_deploy.smoke.types import Failure

#: Longest answer that is read, in bytes; 1000 entries take 1.7 MB.
LONGEST = 64 * 1024 * 1024
_WORDS = 240


class OperationError(Exception):
    """An operation that did not succeed: its class, and what was seen in words."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(detail)
        self.failure = failure
        self.detail = shown(detail)


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a listed directory."""

    #: Absolute, as the server tells it.
    path: str
    #: Bytes; 0 for a directory.
    size: int
    #: ``FILE``, ``DIRECTORY`` or ``LINK``.
    type: str


def shown(text: str) -> str:
    """One short line of a server's words, without what could steer a terminal."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * _WORDS]).split())
    return line if len(line) <= _WORDS else line[: _WORDS - 3] + "..."
