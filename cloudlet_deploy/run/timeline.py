"""What a run did in the order of time: one line of JSON per entry, beside its record.

Entries are written as they happen, so that those of a killed run are there too. Each has
``at`` (seconds since the run began) and ``what``:

- ``phase``: ``phase``, which begins
- ``component``: ``host`` begins with ``component``
- ``changes``: ``host``, ``component``, ``task`` and the ``changes`` that it made, or in a plan
  would make
- ``failure``: ``host``, ``component``, ``task``, ``status``, ``message``
- ``lease``: ``host``, ``action``, ``detail``
- ``notice``: ``message``
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cloudlet_deploy.run.events import Event, Notice, TaskEnded, TaskStarted
from cloudlet_deploy.run.outcome import Failure

NAME = "timeline.jsonl"

Entry = Mapping[str, Any]


class Timeline:
    """Writes the entries of one run; whatever it is told must be redacted already."""

    def __init__(self, directory: Path) -> None:
        self._fd = os.open(
            directory / NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        self._began = time.monotonic()
        self._at: dict[str, str] = {}

    def close(self) -> None:
        """No more entries."""
        os.close(self._fd)

    def add(self, what: str, **told: Any) -> None:
        """One entry, written in one piece. A full disk must not stop a run half way."""
        entry = {"at": round(time.monotonic() - self._began, 1), "what": what, **told}
        with contextlib.suppress(OSError):
            os.write(self._fd, (json.dumps(entry) + "\n").encode())

    def phase(self, name: str) -> None:
        """The run enters ``name``."""
        self._at.clear()
        self.add("phase", phase=name)

    def event(self, event: Event) -> None:
        """What of Ansible's events is worth an entry."""
        if isinstance(event, TaskStarted) and self._at.get(event.host) != event.component:
            self._at[event.host] = event.component
            self.add("component", host=event.host, component=event.component)
        elif isinstance(event, TaskEnded):
            where = {"host": event.host, "component": event.component, "task": event.task}
            if event.changes:
                self.add("changes", **where, changes=[vars(change) for change in event.changes])
            if event.status.bad:
                self.failure(
                    Failure(event.host, event.component, event.task, event.status, event.message)
                )
        elif isinstance(event, Notice):
            self.add("notice", message=event.message)

    def failure(self, failure: Failure) -> None:
        """A task that failed."""
        keys = ("host", "component", "task", "status", "message")
        self.add("failure", **{key: getattr(failure, key) for key in keys})


def read(directory: Path) -> list[dict[str, Any]]:
    """The entries of a run, none if it kept none. A line that was cut off is left out."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for line in (directory / NAME).read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict) and {"at", "what"} <= entry.keys():
                    found.append(entry)
    return found
