"""Waiting for processes of this machine to end."""

from __future__ import annotations

import time
from pathlib import Path


def await_gone(pids: list[int], seconds: float) -> list[str]:
    """Command lines of those of ``pids`` that are still alive after ``seconds``."""
    deadline = time.monotonic() + seconds
    while (left := [pid for pid in pids if _alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return [_command(pid) for pid in left]


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""
