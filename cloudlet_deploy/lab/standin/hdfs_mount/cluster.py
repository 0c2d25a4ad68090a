"""Calls to the name node that end: with an answer, with a reason, or after a time."""

from __future__ import annotations

import errno
import json
import logging
import socket
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from typing import Any, TypeVar

from hdfs_native import Client  # type: ignore[import-not-found]

T = TypeVar("T")
log = logging.getLogger("hdfs-mount")

#: Threads for calls. One that hangs holds its thread until the connection is given up.
_THREADS = 64
_SPACE_SECONDS = 10.0
#: What the name node's complaints mean here; the library tells some of them as text only.
_COMPLAINTS = (
    ("FileNotFound", errno.ENOENT),
    ("not found", errno.ENOENT),
    ("does not exist", errno.ENOENT),
    ("AlreadyExists", errno.EEXIST),
    ("already exists", errno.EEXIST),
    ("NotEmptyDirectory", errno.ENOTEMPTY),
    ("is non empty", errno.ENOTEMPTY),
    ("ParentNotDirectory", errno.ENOTDIR),
    ("AccessControl", errno.EACCES),
    ("DSQuotaExceeded", errno.EDQUOT),
    ("NSQuotaExceeded", errno.EDQUOT),
    ("could only be written to 0", errno.ENOSPC),
    ("IsADirectory", errno.EISDIR),
)


class Cluster:
    """One HDFS. Every call ends within ``patience`` seconds, with OSError if it failed."""

    def __init__(self, server: str, port: int, web_port: int, patience: float) -> None:
        self._url = f"hdfs://{server}:{port}"
        self._web = f"http://{server}:{web_port}/jmx?qry=Hadoop:service=NameNode,name=FSNamesystem"
        self._server = (server, port)
        self._reached = False
        self._patience = patience
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="hdfs")
        self.client = Client(self._url)
        self._space: tuple[float, dict[str, int]] = (0.0, {})

    def call(self, what: Callable[[Any], T]) -> T:
        """``what(client)``. A broken connection is made anew, once: a name node that was
        restarted in the meantime is found again."""
        try:
            return self.once(what)
        except OSError as exc:
            if exc.errno != errno.EIO or not self._reached:
                raise
        self.client = Client(self._url)
        return self.once(what)

    def once(self, what: Callable[[Any], T]) -> T:
        """``what(client)`` for what must not be done twice.

        The library waits for a name node that is away; so it is asked only when something
        listens there, or did so when it was last asked.
        """
        if not self._reached:
            self._knock()
        return self.within(lambda: what(self.client))

    def _knock(self) -> None:
        try:
            socket.create_connection(self._server, timeout=3).close()
        except OSError as exc:
            raise OSError(errno.EIO, f"the name node is away: {exc}") from exc
        self.client = Client(self._url)
        self._reached = True

    def within(self, work: Callable[[], T]) -> T:
        """The result of ``work``, or OSError: EIO where nothing better is known."""
        return self.later(work)()

    def later(self, work: Callable[[], T]) -> Callable[[], T]:
        """Begin ``work`` now; what is returned gives its result as ``within`` does."""
        future = self._pool.submit(work)
        return lambda: self._result(future)

    def _result(self, future: Future[T]) -> T:
        try:
            return future.result(self._patience)
        except Late:
            self._reached = False
            log.error("no answer within %.0f s", self._patience)
            raise OSError(errno.EIO, "no answer") from None
        except Exception as exc:
            raise translated(exc) from exc

    def space(self) -> dict[str, int]:
        """Bytes in all, and free; zeros while the name node does not tell."""
        now = time.monotonic()
        if now - self._space[0] > _SPACE_SECONDS:
            told = {"CapacityTotal": 0, "CapacityRemaining": 0, "FilesTotal": 0}
            try:
                with urllib.request.urlopen(self._web, timeout=5) as answer:
                    told |= json.load(answer)["beans"][0]
            except (OSError, ValueError, LookupError) as exc:
                log.warning("the name node does not tell its space: %s", exc)
            self._space = (now, told)
        return self._space[1]


def translated(exc: Exception) -> OSError:
    """``exc`` of the library as what the kernel understands; unknown ones are logged, EIO."""
    if isinstance(exc, OSError) and exc.errno:
        return exc
    for kind, number in (
        (FileNotFoundError, errno.ENOENT),
        (FileExistsError, errno.EEXIST),
        (PermissionError, errno.EACCES),
        (IsADirectoryError, errno.EISDIR),
        (NotADirectoryError, errno.ENOTDIR),
    ):
        if isinstance(exc, kind):
            return OSError(number, str(exc))
    text = str(exc)
    for words, number in _COMPLAINTS:
        if words in text:
            return OSError(number, text)
    log.error("%s: %s", type(exc).__name__, text.split("\n", maxsplit=1)[0][:500])
    return OSError(errno.EIO, text)
