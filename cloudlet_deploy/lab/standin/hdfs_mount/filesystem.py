"""The calls of the kernel, answered by HDFS."""

from __future__ import annotations

import errno
import itertools
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import mfusepy  # type: ignore[import-not-found]
from hdfs_native import WriteOptions  # type: ignore[import-not-found]

from .cluster import Cluster
from .handles import Reading, Writing
from .names import Names

#: The largest request that Linux makes of a FUSE file system.
_REQUEST = 1 << 20
_BLOCK = 4096


class FileSystem(mfusepy.Operations):  # type: ignore[misc]
    """HDFS as mounted. The kernel checks permissions (``default_permissions``); the mount
    itself works as HDFS's superuser and gives what it makes to the account that asked."""

    use_ns = True

    def __init__(self, cluster: Cluster, *, read_only: bool) -> None:
        self._cluster = cluster
        self._names = Names()
        self._read_only = read_only
        self._numbers = itertools.count(1)
        self._open: dict[int, Reading | Writing] = {}
        self._lock = threading.Lock()

    # --- the mount ------------------------------------------------------------------------

    def init_with_config(self, conn_info: Any, config_3: Any) -> None:
        """Ask for large requests, and tell systemd that the mount is there."""
        if conn_info is not None:
            conn_info.max_write = _REQUEST
            conn_info.max_readahead = _REQUEST
        notify = os.environ.get("NOTIFY_SOCKET")
        if notify:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
                out.connect(notify.replace("@", "\0", 1))
                out.send(b"READY=1")

    def statfs(self, path: str) -> dict[str, int]:
        space = self._cluster.space()
        free = space["CapacityRemaining"] // _BLOCK
        return {
            "f_bsize": _BLOCK,
            "f_frsize": _BLOCK,
            "f_blocks": space["CapacityTotal"] // _BLOCK,
            "f_bfree": free,
            "f_bavail": free,
            "f_files": space["FilesTotal"],
            "f_namemax": 255,
        }

    # --- names ----------------------------------------------------------------------------

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        return self._attributes(self._cluster.call(lambda client: client.get_file_info(path)), path)

    def readdir(self, path: str, fh: int) -> Iterator[Any]:
        found = self._cluster.call(lambda client: list(client.list_status(path)))
        # Without attributes, as fuse_dfs: the kernel asks for each entry.
        return iter([".", "..", *(entry.path.rpartition("/")[2] for entry in found)])

    def mkdir(self, path: str, mode: int) -> int:
        self._may_write()
        self._cluster.once(lambda client: client.mkdirs(path, stat.S_IMODE(mode), False))
        self._give(path)
        return 0

    def rmdir(self, path: str) -> int:
        return self._delete(path)

    def unlink(self, path: str) -> int:
        return self._delete(path)

    def _delete(self, path: str) -> int:
        self._may_write()
        if not self._cluster.once(lambda client: client.delete(path, False)):
            raise OSError(errno.ENOENT, path)
        return 0

    def rename(self, old: str, new: str) -> int:
        self._may_write()
        self._cluster.once(lambda client: client.rename(old, new, True))
        for handle in list(self._open.values()):
            if isinstance(handle, Writing) and handle.path == old:
                handle.path = new
        return 0

    def chmod(self, path: str, mode: int) -> int:
        return self._change(lambda client: client.set_permission(path, stat.S_IMODE(mode)))

    def chown(self, path: str, uid: int, gid: int) -> int:
        owner = None if uid == -1 else self._names.user(uid)
        group = None if gid == -1 else self._names.group(gid)
        return self._change(lambda client: client.set_owner(path, owner, group))

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        accessed, modified = times or (time.time_ns(), time.time_ns())
        if self._is_directory(path):
            return 0  # HDFS keeps a directory's time itself
        return self._change(
            lambda client: client.set_times(path, modified // 10**6, accessed // 10**6)
        )

    def _is_directory(self, path: str) -> bool:
        return bool(self._cluster.call(lambda client: client.get_file_info(path)).isdir)

    def _change(self, what: Callable[[Any], None]) -> int:
        self._may_write()
        self._cluster.call(what)
        return 0

    def _give(self, path: str) -> None:
        uid, gid, _ = mfusepy.fuse_get_context()
        user, group = self._names.user(uid), self._names.group(gid)
        self._cluster.call(lambda client: client.set_owner(path, user, group))

    def _attributes(self, found: Any, path: str) -> dict[str, Any]:
        size = max([found.length, *(w.size for w in self._writing(path))])
        kind = stat.S_IFDIR if found.isdir else stat.S_IFREG
        accessed = found.access_time or found.modification_time
        return {
            "st_mode": kind | found.permission,
            "st_nlink": 2 if found.isdir else 1,
            "st_uid": self._names.uid(found.owner),
            "st_gid": self._names.gid(found.group),
            "st_size": 0 if found.isdir else size,
            "st_blocks": 0 if found.isdir else -(-size // 512),
            "st_blksize": _REQUEST,
            "st_atime": accessed * 10**6,
            "st_mtime": found.modification_time * 10**6,
            "st_ctime": found.modification_time * 10**6,
        }

    # --- files ----------------------------------------------------------------------------

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        self._may_write()
        handle = self._remake(path, stat.S_IMODE(mode))
        self._give(path)
        return self._keep(handle)

    def open(self, path: str, flags: int) -> int:
        if flags & os.O_ACCMODE == os.O_RDONLY:
            return self._keep(Reading(self._cluster, path))
        self._may_write()
        if flags & os.O_TRUNC:
            return self._keep(self._emptied(path))
        found = self._cluster.call(lambda client: client.get_file_info(path))
        return self._keep(Writing(self._cluster, path, None, found.length))

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        handle = self._open[fh]
        if isinstance(handle, Writing):
            raise OSError(errno.EOPNOTSUPP, "HDFS does not read what is being written")
        return handle.read(offset, size)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        handle = self._open[fh]
        if isinstance(handle, Reading):
            raise OSError(errno.EBADF, path)
        return handle.write(data, offset)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        self._may_write()
        open_for_it = self._writing(path)
        size = max(
            [
                self._cluster.call(lambda client: client.get_file_info(path)).length,
                *(handle.size for handle in open_for_it),
            ]
        )
        if length == size:
            return 0
        if length or open_for_it:
            raise OSError(errno.EOPNOTSUPP, "HDFS cuts files to nothing only")
        self._emptied(path).flush()
        return 0

    def flush(self, path: str, fh: int) -> int:
        handle = self._open[fh]
        if isinstance(handle, Writing):
            handle.flush()
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        return self.flush(path, fh)

    def release(self, path: str, fh: int) -> int:
        handle = self._open.pop(fh)
        if isinstance(handle, Writing):
            handle.release()
        return 0

    def _emptied(self, path: str) -> Writing:
        """The file made anew, with its owner and permissions."""
        found = self._cluster.call(lambda client: client.get_file_info(path))
        handle = self._remake(path, found.permission)
        self._cluster.call(lambda client: client.set_owner(path, found.owner, found.group))
        return handle

    def _remake(self, path: str, mode: int) -> Writing:
        options = WriteOptions(permission=mode, overwrite=True, create_parent=False)
        writer = self._cluster.once(lambda client: client.create(path, options))
        return Writing(self._cluster, path, writer, 0)

    def _keep(self, handle: Reading | Writing) -> int:
        with self._lock:
            number = next(self._numbers)
        self._open[number] = handle
        return number

    def _writing(self, path: str) -> list[Writing]:
        return [h for h in list(self._open.values()) if isinstance(h, Writing) and h.path == path]

    def _may_write(self) -> None:
        if self._read_only:
            raise OSError(errno.EROFS, "mounted read-only")
