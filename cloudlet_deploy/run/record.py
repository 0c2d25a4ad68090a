"""The redacted account of a run, kept below the XDG state directory.

``runs/RUNID/record.json`` is written when the run starts, every few seconds, and at its
end; each time whole and at once, so that a reader never sees half of one. A lock on
``runs/RUNID/alive`` tells a run at work from one that was killed: the kernel lets go of it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cloudlet_deploy.errors import (
    CheckFailedError,
    CloudletError,
    ExitCode,
    RunFailedError,
    UsageError,
)
from cloudlet_deploy.run.events import Change, Event, Status
from cloudlet_deploy.run.outcome import ComponentOutcome, Failure, RunOutcome
from cloudlet_deploy.run.paths import state_home
from cloudlet_deploy.run.secrets import Redactor
from cloudlet_deploy.run.timeline import Timeline

SCHEMA = 1

#: Records that are kept; the oldest go first.
KEPT = 200

#: Seconds between two writings while the run is at work.
_INTERVAL = 2.0

#: States of a run. One that says "running" and holds no lock was killed.
RUNNING, FINISHED, INTERRUPTED, KILLED = "running", "finished", "interrupted", "killed"

_RECORD, _ALIVE = "record.json", "alive"
_RUN_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")


@dataclass(frozen=True)
class Record:
    """What one command did. Times are UTC in ISO form; ``ended`` is empty until it has.

    ``phase`` is "plan" while and if nothing was changed, then "change". ``hosts`` are those
    that the run was for, ``done`` those that are known to have come to their end. ``sources``
    are the inventory's files, absolute.
    """

    run_id: str
    command: str
    site: str
    user: str
    controller: str
    started: str
    ansible: str
    options: Mapping[str, Any] = field(default_factory=dict)
    ended: str = ""
    state: str = RUNNING
    phase: str = "plan"
    exit_code: int | None = None
    error: str = ""
    components: tuple[ComponentOutcome, ...] = ()
    failures: tuple[Failure, ...] = ()
    sources: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    done: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The JSON form. Diffs are left out: they may hold what no record should."""
        whole = asdict(self)
        for part in whole["components"]:
            del part["diffs"]
        return {"schema": SCHEMA, **whole}


def _from_dict(document: Mapping[str, Any]) -> Record:
    values = {key: value for key, value in document.items() if key in Record.__dataclass_fields__}
    for name in ("sources", "hosts", "done"):
        values[name] = tuple(values.get(name, ()))
    values["components"] = tuple(
        ComponentOutcome(
            **{
                **part,
                "status": Status(part["status"]),
                "changes": tuple(Change(**change) for change in part["changes"]),
            }
        )
        for part in values.get("components", ())
    )
    values["failures"] = tuple(
        Failure(**{**failure, "status": Status(failure["status"])})
        for failure in values.get("failures", ())
    )
    return Record(**values)


class Journal:
    """Keeps the record of the run at work. Use it as a context; ``finish`` ends the record.

    A context that an error of ours leaves ends with its exit code, any other as interrupted.
    """

    def __init__(
        self,
        command: str,
        site: str,
        options: Mapping[str, Any],
        redact: Redactor,
        *,
        sources: Sequence[str] = (),
        hosts: Sequence[str] = (),
    ) -> None:
        from ansible.release import __version__ as ansible  # slow to import

        self._redact = redact
        self._last = 0.0
        now = datetime.now(UTC)
        self.record = Record(
            run_id=f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}",
            command=command,
            site=site,
            user=_user(),
            controller=socket.getfqdn(),
            started=_iso(now),
            ansible=ansible,
            options={key: _masked(value, redact) for key, value in options.items()},
            sources=tuple(sources),
            hosts=tuple(hosts),
        )
        self.directory = runs_dir() / self.record.run_id

    def __enter__(self) -> Journal:
        try:
            runs_dir().mkdir(mode=0o700, parents=True, exist_ok=True)
            self.directory.mkdir(mode=0o700)
            self._alive = os.open(self.directory / _ALIVE, os.O_WRONLY | os.O_CREAT, 0o600)
            fcntl.flock(self._alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._timeline = Timeline(self.directory)
            self._timeline.phase(self.record.phase)
            self._write()
        except OSError as error:
            raise RunFailedError(
                f"The record of the run cannot be written: {error}",
                next_step="Make that directory writable, or set XDG_STATE_HOME.",
            ) from error
        _prune()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        with contextlib.suppress(OSError, RunFailedError):  # the first error is the one to tell
            if self.record.state == RUNNING and isinstance(error, CloudletError):
                self.finish(error.exit_code, error=error.message)
            elif self.record.state == RUNNING:
                self.record = replace(
                    self.record,
                    state=INTERRUPTED,
                    ended=_iso(datetime.now(UTC)),
                    error=self._redact(str(error or "")),
                )
                self._write()
        self._timeline.close()
        os.close(self._alive)

    def phase(self, name: str) -> None:
        """The run enters "plan" or "change"."""
        self.record = replace(self.record, phase=name, components=(), failures=())
        self._timeline.phase(name)
        self._write()

    def event(self, event: Event) -> None:
        """Keep an event, redacted already, in the timeline."""
        self._timeline.event(event)

    def failure(self, failure: Failure) -> None:
        """Keep a failure, redacted already, that no event told."""
        self._timeline.failure(failure)

    def lease(self, host: str, action: str, detail: str) -> None:
        """Keep what happened to the lease of a host."""
        self._timeline.add("lease", host=host, action=action, detail=self._redact(detail))

    def progress(self, outcome: Callable[[], RunOutcome]) -> None:
        """Keep what was done so far; it is asked for, and written, every few seconds only."""
        if time.monotonic() - self._last > _INTERVAL:
            self._take(outcome())
            # A full disk must not stop a run half way; its end will tell.
            with contextlib.suppress(OSError):
                self._write()

    def finish(
        self, exit_code: ExitCode, outcome: RunOutcome | None = None, error: str = ""
    ) -> None:
        """Write the last word."""
        if outcome is not None:
            self._take(outcome)
            if outcome.complete:
                self.record = replace(self.record, done=outcome.good)
        interrupted = exit_code is ExitCode.INTERRUPTED
        self.record = replace(
            self.record,
            state=INTERRUPTED if interrupted else FINISHED,
            ended=_iso(datetime.now(UTC)),
            exit_code=int(exit_code),
            error=self._redact(error),
        )
        try:
            self._write()
        except OSError as problem:
            raise RunFailedError(
                f"The run ended with {exit_code}, but its record cannot be written: {problem}",
                next_step=f"Look at the space and the permissions of {self.directory}.",
            ) from problem

    def keep(self, outcome: RunOutcome) -> None:
        """Have what was done in the record whatever comes next."""
        self._take(outcome)

    def _take(self, outcome: RunOutcome) -> None:
        self.record = replace(
            self.record,
            components=tuple(replace(part, diffs=()) for part in outcome.components),
            failures=outcome.failures,
            done=outcome.good if outcome.complete and self.record.phase != "plan" else (),
        )

    def _write(self) -> None:
        self._last = time.monotonic()
        _write_atomically(self.directory / _RECORD, self.record.to_dict())


def runs_dir() -> Path:
    """The directory of all records."""
    return state_home() / "runs"


def list_records() -> list[Record]:
    """Every record, the newest first. Unreadable ones are left out."""
    found = []
    for run_id in sorted(_run_ids(), reverse=True):
        with contextlib.suppress(CheckFailedError, UsageError):
            found.append(read_record(run_id))
    return found


def read_record(run_id: str) -> Record:
    """The record of one run; an unambiguous beginning of its id will do, or "last".

    Raises UsageError if there is none, CheckFailedError if it cannot be read.
    """
    path = runs_dir() / _resolve(run_id) / _RECORD
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["schema"] > SCHEMA:
            raise CheckFailedError(
                f"{path} has schema {document['schema']}, this release knows up to {SCHEMA}.",
                next_step="Use the newer release that wrote it.",
            )
        record = _from_dict(document)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckFailedError(
            f"{path} is no record of a run: {error}", next_step="Remove its directory."
        ) from error
    if record.state == RUNNING and not _is_alive(path.parent):
        return replace(record, state=KILLED)
    return record


def _resolve(run_id: str) -> str:
    known = sorted(_run_ids())
    if run_id == "last" and known:
        return known[-1]
    matching = [name for name in known if name.startswith(run_id)] if run_id else []
    if len(matching) == 1:
        return matching[0]
    problem = "is ambiguous" if matching else "is not known"
    raise UsageError(
        f"Run {run_id} {problem}.", next_step="'cloudlet-deploy runs list' names all runs."
    )


def _run_ids() -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError):
        yield from (p.name for p in runs_dir().iterdir() if _RUN_ID.fullmatch(p.name))


def _is_alive(directory: Path) -> bool:
    try:
        fd = os.open(directory / _ALIVE, os.O_WRONLY)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _prune() -> None:
    for run_id in sorted(_run_ids(), reverse=True)[KEPT:]:
        if not _is_alive(runs_dir() / run_id):
            shutil.rmtree(runs_dir() / run_id, ignore_errors=True)


def _write_atomically(path: Path, document: Mapping[str, Any]) -> None:
    fd, temporary = tempfile.mkstemp(prefix=".record-", dir=path.parent)  # 0600
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as stream:
            json.dump(document, stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _masked(value: Any, redact: Redactor) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, list | tuple):
        return [_masked(part, redact) for part in value]
    return value


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a uid without an account
        return str(os.getuid())


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
