"""The test directories, made and removed through the storage itself: by a transfer server.

What is made is remembered on the controller before it is, so that a run that was killed leaves
nothing for ever: the next one removes it first.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cloudlet_deploy.errors import RunFailedError
from cloudlet_deploy.run.paths import state_home
from cloudlet_deploy.smoke.answer import OperationError
from cloudlet_deploy.smoke.gridftp import GridFtpSession
from cloudlet_deploy.smoke.gsi import GsiContext
from cloudlet_deploy.smoke.job import Job
from cloudlet_deploy.smoke.outcome import Phase, classify

#: Sessions at a time that make or remove entries.
_SESSIONS = 4
#: Seconds for making everything; what is larger makes fewer figures wait too long.
_MAKING = 600.0
_PREFIX = ".cloudlet-smoke-"
#: Entries between two words about the progress.
_TOLD = 50

Tell = Callable[[int, int], None]


def base_of(path: str, run_id: str) -> str:
    """Directory for the test directories of a run, below ``path``."""
    return f"{path.rstrip('/')}/{_PREFIX}{run_id}"


def prepare(job: Job, context: GsiContext, tell: Tell) -> str:
    """Remove what is left of earlier runs and make the directories of this one.

    ``tell`` is told how many of how many entries are there. Returns what went wrong, or "".
    """
    left, problem = remove(job, context, job.leftovers, _MAKING)
    if left:
        return f"what an earlier run left at {', '.join(left)} cannot be removed: {problem}"
    deadline = time.monotonic() + _MAKING
    try:
        with _session(job, context, deadline) as session:
            session.make_directory(job.base)
            for path in job.directories:
                session.make_directory(path)
        names = [f"{p}/entry-{n:05d}" for p, count in job.directories.items() for n in range(count)]
        done = 0

        def store(session: GridFtpSession, name: str) -> None:
            nonlocal done
            session.store_empty(name)
            done += 1
            if done % _TOLD == 0 or done == len(names):
                tell(done, len(names))

        _each(job, context, deadline, names, store)
    except (OSError, OperationError) as error:
        return _words(error)
    return ""


def remove(
    job: Job, context: GsiContext, bases: Iterable[str], seconds: float
) -> tuple[list[str], str]:
    """Remove what runs have made, for at most ``seconds``. Returns what is left, and why."""
    left, problem = list(bases), ""
    deadline = time.monotonic() + seconds
    for base in tuple(left):
        # Never anything else, whatever the file that remembers them says.
        if not base.rpartition("/")[2].startswith(_PREFIX):
            problem = f"{base} is no test directory"
            continue
        try:
            _remove(job, context, base, deadline)
        except (OSError, OperationError) as error:
            problem = _words(error)
        else:
            left.remove(base)
    return left, problem


def _remove(job: Job, context: GsiContext, base: str, deadline: float) -> None:
    with _session(job, context, deadline) as session:
        parent = base.rpartition("/")[0]
        # There is no reply code of its own for what does not exist.
        if base not in {entry.path for entry in session.entries(parent)}:
            return
        paths = [entry.path for entry in session.entries(base)]
        files = [entry.path for path in paths for entry in session.entries(path)]
    _each(job, context, deadline, files, GridFtpSession.delete)
    with _session(job, context, deadline) as session:
        for path in (*paths, base):
            session.remove_directory(path)


def _each(
    job: Job,
    context: GsiContext,
    deadline: float,
    names: list[str],
    act: Callable[[GridFtpSession, str], None],
) -> None:
    """``act`` on every name, over several sessions side by side."""

    def work(part: list[str]) -> None:
        if part:
            with _session(job, context, deadline) as session:
                for name in part:
                    act(session, name)

    with ThreadPoolExecutor(_SESSIONS) as pool:
        list(pool.map(work, (names[n::_SESSIONS] for n in range(_SESSIONS))))


@contextlib.contextmanager
def _session(job: Job, context: GsiContext, deadline: float) -> Iterator[GridFtpSession]:
    session = GridFtpSession(job.transfer_servers[0], context, deadline, keep_alive=True)
    try:
        session.connect()
        session.authenticate()
        yield session
    finally:
        session.close()


def _words(error: Exception) -> str:
    return classify(error, Phase.OPERATION, _MAKING)[1]


def remembered(path: str) -> tuple[str, ...]:
    """Directories below ``path`` that runs on this machine have made and not removed."""
    return tuple(b for b in _read(_file()) if b.startswith(f"{path.rstrip('/')}/"))


def remember(base: str) -> None:
    """Keep in mind that ``base`` is about to be made."""
    with _changed() as bases:
        bases.append(base)


def forget(gone: Iterable[str]) -> None:
    """These are removed."""
    there = set(gone)
    with _changed() as bases:
        bases[:] = [base for base in bases if base not in there]


def _file() -> Path:
    return state_home() / "smoke-directories.json"


@contextlib.contextmanager
def _changed() -> Iterator[list[str]]:
    path = _file()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path.with_suffix(".lock"), os.O_WRONLY | os.O_CREAT, 0o600)
    except OSError as error:
        raise RunFailedError(
            f"{path} cannot be written: {error.strerror}",
            next_step="Make that directory writable, or set XDG_STATE_HOME.",
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        bases = list(_read(path))
        yield bases
        new = path.with_suffix(".new")
        new.write_text(json.dumps(bases), encoding="utf-8")
        new.replace(path)
    finally:
        os.close(lock)


def _read(path: Path) -> tuple[str, ...]:
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        raise RunFailedError(
            f"{path}, where test directories in storages are remembered, cannot be read: {error}",
            next_step="Look for directories called .cloudlet-smoke-* in the storage, and remove "
            "this file.",
        ) from error
    return tuple(str(base) for base in found) if isinstance(found, list) else ()
