"""Open files: reading ahead in large pieces, writing from front to back."""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from .cluster import Cluster

log = logging.getLogger("hdfs-mount")

#: Bytes of one request to the data nodes.
PIECE = 8 << 20
#: Seconds after which a piece was slow: a data node that is gone takes some to be given up.
_SLOW = 1.0
#: Bytes that wait for what belongs before them: GridFTP's streams overtake each other.
_OVERTAKING = 64 << 20


class Reading:
    """A file open for reading; the next piece is fetched while this one is being read."""

    def __init__(self, cluster: Cluster, path: str) -> None:
        self._cluster = cluster
        self._path = path
        self._lock = threading.Lock()
        self._reader: Any = cluster.call(lambda client: client.read(path))
        self._size = len(self._reader)
        self._slow = False
        self._here: tuple[int, bytes] = (0, b"")
        self._next: tuple[int, Callable[[], bytes]] | None = None

    def read(self, offset: int, size: int) -> bytes:
        """Up to ``size`` bytes at ``offset``; fewer only at the end of the file."""
        with self._lock:
            found = b""
            end = min(offset + size, self._size)
            while offset < end:
                begin = offset - offset % PIECE
                if self._here[0] != begin or not self._here[1]:
                    self._here = (begin, self._piece(begin))
                part = self._here[1][offset - begin : end - begin]
                found = found + part if found else part
                offset += len(part)
            return found

    def _piece(self, begin: int) -> bytes:
        if self._slow:
            # The name node may know by now which data node is gone.
            self._slow = False
            self._reader = self._cluster.call(lambda client: client.read(self._path))
        ready, self._next = self._next, None
        if ready is not None and ready[0] == begin:
            try:
                data = ready[1]()
            except OSError:
                data = self._fetch_anew(begin)
        else:
            data = self._fetch_anew(begin)
        after = begin + PIECE
        sequential = ready is not None or begin == 0 or self._here[0] + PIECE == begin
        if after < self._size and sequential:
            self._next = (after, self._cluster.later(self._fetch(self._reader, after)))
        return data

    def _fetch(self, reader: Any, begin: int) -> Callable[[], bytes]:
        length = min(PIECE, self._size - begin)

        def fetch() -> bytes:
            began = time.monotonic()
            data: bytes = reader.read_range(begin, length)
            self._slow = self._slow or time.monotonic() - began > _SLOW
            if len(data) != length:
                raise OSError(errno.EIO, f"{len(data)} bytes instead of {length}")
            return data

        return fetch

    def _fetch_anew(self, begin: int) -> bytes:
        """Fetch; after a failure ask the name node again where the blocks are now."""
        try:
            return self._cluster.within(self._fetch(self._reader, begin))
        except OSError:
            self._reader = self._cluster.call(lambda client: client.read(self._path))
            return self._cluster.within(self._fetch(self._reader, begin))


class Writing:
    """A file open for writing. What failed once fails for ever: HDFS may lack a part of it."""

    def __init__(self, cluster: Cluster, path: str, writer: Any, size: int) -> None:
        self._cluster = cluster
        self.path = path
        self._writer = writer
        self.size = size
        self._waiting: dict[int, bytes] = {}
        self._held = 0
        self._failed: OSError | None = None
        self._lock = threading.Lock()

    def write(self, data: bytes, offset: int) -> int:
        """Take ``data``; HDFS gets it once all that belongs before it is there."""
        with self._lock:
            self._check()
            if offset != self.size and (offset < self.size or self._held + len(data) > _OVERTAKING):
                log.error("%s: HDFS cannot write at %d after %d", self.path, offset, self.size)
                raise OSError(errno.EOPNOTSUPP, "HDFS writes from front to back only")
            self._waiting[offset] = data
            self._held += len(data)
            while (piece := self._waiting.pop(self.size, None)) is not None:
                self._held -= len(piece)
                self._write(piece)
            return len(data)

    def _write(self, piece: bytes) -> None:
        if self._writer is None:
            self._guarded(self._reopen)
        self._guarded(lambda: self._writer.write(piece))
        self.size += len(piece)

    def _reopen(self) -> None:
        self._writer = self._cluster.client.append(self.path)

    def flush(self) -> None:
        """The file as it is now, whole, for every reader; a failure reaches close(2)."""
        with self._lock:
            self._check()
            if self._waiting:
                raise self._fail(OSError(errno.EIO, f"nothing came for byte {self.size}"))
            writer, self._writer = self._writer, None
            if writer is not None:
                self._guarded(writer.close)

    def release(self) -> None:
        """The last close; nobody hears of a failure any more."""
        try:
            if self._failed is None:
                self.flush()
        except OSError as exc:
            log.error("%s: closed and lost: %s", self.path, exc)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            self._cluster.within(work)
        except OSError as exc:
            raise self._fail(exc) from exc

    def _fail(self, exc: OSError) -> OSError:
        log.error("%s: writing failed: %s", self.path, exc)
        self._failed = OSError(exc.errno or errno.EIO, str(exc))
        return self._failed

    def _check(self) -> None:
        if self._failed is not None:
            raise OSError(self._failed.errno, str(self._failed))
