"""Runs a command that must not outlive the program that wants it run.

Started as ``python tether.py --parent PID --scratch DIR -- COMMAND...`` it runs COMMAND in
a session of its own without a terminal, so that neither Ctrl-C nor a prompt of ssh reaches
it. When tether gets a signal, or its parent dies in whatever way, the command and all its
offspring end within two seconds. Offspring counts by descent and not by process group, for
Ansible's workers have sessions of their own. If the parent died, DIR, with whatever secrets
are in it, is removed.

This file runs as a script: it imports nothing but the standard library.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36

#: Name of the file in the scratch directory that holds tether's process id.
PID_FILE = "tether.pid"

#: Seconds that the command has to end by itself, and that killing may take.
_GRACE = 1.0
_KILLING = 1.0

_STOP = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


class _Stopped(Exception):
    """A signal asked for the end."""


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def _spawn(command: list[str]) -> int:
    tether = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        # Should tether itself be killed, the kernel ends at least the command.
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        for number in _STOP:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        if os.getppid() == tether:
            os.execvp(command[0], command)
    except OSError as error:
        print(f"{command[0]} cannot be started: {error}", file=sys.stderr)
    finally:
        os._exit(127)


def offspring(pid: int) -> list[int]:
    """Process ids of all living descendants of ``pid``."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                # The name in parentheses may hold anything, parentheses too.
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if state not in "ZX":
                    children.setdefault(int(parent), []).append(int(entry.name))
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def _reap(wanted: int) -> int | None:
    """Collect dead children; the wait status of ``wanted`` if it is among them."""
    status = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, result = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == wanted:
                status = result
    return status


def _end(child: int) -> None:
    """Ask the command to end, then kill whatever is left of it and its offspring."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGINT)
    deadline = time.monotonic() + _GRACE
    while offspring(os.getpid()) and time.monotonic() < deadline:
        _reap(child)
        time.sleep(0.05)
    deadline = time.monotonic() + _KILLING
    while (left := offspring(os.getpid())) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        _reap(child)
        time.sleep(0.02)


def _watch(child: int) -> int:
    """Wait for the command and return its exit code; reap orphans on the way."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _stop(_number: int, _frame: FrameType | None) -> None:
    for number in _STOP:
        signal.signal(number, signal.SIG_IGN)
    raise _Stopped


def main(argv: list[str]) -> int:
    """Run the command; its exit code, or 130 if it was stopped."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("command", nargs="+")
    options = parser.parse_args(argv)
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
    for number in _STOP:
        signal.signal(number, _stop)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    (options.scratch / PID_FILE).write_text(str(os.getpid()))
    child = 0
    try:
        if os.getppid() == options.parent:
            child = _spawn(options.command)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP)
        code = _watch(child) if child else 130
    except _Stopped:
        _end(child)
        code = 130
    if os.getppid() != options.parent:
        shutil.rmtree(options.scratch, ignore_errors=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
