# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Work on file systems that may be dead: each piece in a process of its own, and none for ever.

Runs on Python 3.9 and later.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time
from typing import Any, NamedTuple

#: Seconds that a killed child gets to go. One that waits in the kernel goes when that lets it.
_GRACE = 1.0
_PIECE = 1 << 16


class Outcome(NamedTuple):
    """What a task returned, or in words what went wrong; ``late`` if it did not end in time."""

    told: Any
    problem: str = ""
    late: bool = False


class _Child:
    """One task at work."""

    def __init__(self, task, seconds):
        self.reading, writing = os.pipe()
        self.parts, self.ended = [], False
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.reading)
            _work(task, seconds, writing)
        os.close(writing)

    def read(self):
        part = os.read(self.reading, _PIECE)
        self.parts.append(part)
        self.ended = not part

    def outcome(self, seconds):
        """Ends the child, whatever it does."""
        os.close(self.reading)
        os.kill(self.pid, signal.SIGKILL)
        deadline = time.monotonic() + _GRACE
        while os.waitpid(self.pid, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.01)
        if not self.ended:
            return Outcome(None, "no answer within %g s" % seconds, True)
        if not any(self.parts):
            return Outcome(None, "it ended without an answer")
        told = json.loads(b"".join(self.parts))
        return Outcome(told.get("told"), told.get("problem", ""))


def each(tasks, seconds):
    """The outcomes of ``tasks``, which run side by side for at most ``seconds``, in their order.

    A task is called without arguments and returns plain data. An OSError of it is a problem in
    words; so is any other exception, with its type.
    """
    children = [_Child(task, seconds) for task in tasks]
    deadline = time.monotonic() + seconds
    left = {child.reading: child for child in children}
    while left and time.monotonic() < deadline:
        ready, _, _ = select.select(list(left), [], [], max(0.0, deadline - time.monotonic()))
        for reading in ready:
            left[reading].read()
            if left[reading].ended:
                del left[reading]
    return [child.outcome(seconds) for child in children]


def one(task, seconds):
    """The outcome of one ``task``."""
    return each([task], seconds)[0]


def _work(task, seconds, writing):
    """Never returns: what comes after it belongs to the parent."""
    try:
        # For the case that the parent is killed before its time.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(seconds) + 2)
        try:
            told = {"told": task()}
        except OSError as exc:
            where = "%s: " % exc.filename if exc.filename else ""
            told = {"problem": where + (exc.strerror or str(exc))}
        except Exception as exc:
            told = {"problem": "%s: %s" % (type(exc).__name__, exc)}
        with contextlib.suppress(OSError), os.fdopen(writing, "wb") as stream:
            stream.write(json.dumps(told).encode())
    finally:
        os._exit(0)
