# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Looking at and writing single files for ``config_set``; no symbolic link is followed.

The state of a path is a dict: ``kind`` is ``absent``, ``file``, ``directory``, ``symlink`` or
``other``; files and directories have ``uid``, ``gid``, ``mode`` (an int) and, with SELinux,
``context``; files have ``sha256``, ``size`` and ``mtime_ns`` too. Runs on Python 3.9 and later.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import hashlib
import os
import pwd
import stat

from ansible_collections.cloudlet.deploy.plugins.module_utils import host_state

ABSENT = {"kind": "absent"}
_CHUNK = 1 << 20
_STAGED = ".cloudlet-"
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class ConfigError(Exception):
    """The set cannot be brought to what is asked; the message names path, cause, next step."""


class NoSELinux:
    """What a host without SELinux knows of contexts: nothing."""

    def of(self, path):
        """Context of ``path`` as a list, or None."""

    def default(self, path, mode):
        """Context that the policy gives ``path``, or None."""

    def set(self, path, context):
        """Give ``path`` the ``context`` (None: leave it)."""


def sha256(data):
    """Digest of ``data`` (bytes), as hexadecimal text."""
    return hashlib.sha256(data).hexdigest()


def observe(path, selinux=None):
    """The state of ``path`` now. Raises ConfigError when it cannot be read."""
    try:
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode):
            return {"kind": "symlink", "to": os.readlink(path)}
        state = {
            "kind": "directory" if stat.S_ISDIR(status.st_mode) else "file",
            "uid": status.st_uid,
            "gid": status.st_gid,
            "mode": stat.S_IMODE(status.st_mode),
        }
        if stat.S_ISREG(status.st_mode):
            state["sha256"], state["size"] = _digest(path)
            state["mtime_ns"] = status.st_mtime_ns
        elif state["kind"] != "directory":
            return {"kind": "other"}
    except (FileNotFoundError, NotADirectoryError):
        return dict(ABSENT)
    except OSError as exc:
        raise ConfigError("%s cannot be read: %s" % (path, exc.strerror)) from exc
    context = selinux.of(path) if selinux else None
    if context:
        state["context"] = list(context)
    return state


def is_mounted(path):
    """Whether a file system is mounted at ``path``; does not touch it, as it may be a dead one."""
    escaped = "".join("\\%03o" % ord(char) if char in " \t\n\\" else char for char in path)
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
        return any(line.split(" ", 5)[4] == escaped for line in stream)


def _digest(path):
    summed, size = hashlib.sha256(), 0
    with open_file(path) as stream:
        for chunk in iter(lambda: stream.read(_CHUNK), b""):
            summed.update(chunk)
            size += len(chunk)
    return summed.hexdigest(), size


def open_file(path):
    """A stream of the regular file ``path``; a symbolic link is an OSError."""
    fd = os.open(path, _READ)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", path)
    return os.fdopen(fd, "rb")


def read_bytes(path):
    """Content of the regular file ``path``."""
    with open_file(path) as stream:
        return stream.read()


def account_id(name, group=False):
    """uid (or gid) of ``name``, which may be a number too; None when nobody is called so."""
    if name is None:
        return os.getegid() if group else os.geteuid()
    if str(name).isdigit():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid if group else pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def account_name(number, group=False):
    """Name of a uid (or gid), or the number as text when it has none."""
    try:
        return grp.getgrgid(number).gr_name if group else pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def staged_path(set_name, path):
    """Where the new content of ``path`` waits for the rename.

    In the same directory, hidden (so that include directories ignore it), always the same for
    one set and path, and with the ending of ``path``, which some validators go by.
    """
    parent, base = os.path.split(path)
    mark = sha256(("%s\0%s" % (set_name, path)).encode("utf-8", "surrogateescape"))[:8]
    tail = os.fsdecode(os.fsencode(base)[-200:])
    return os.path.join(parent, "%s%s-%s" % (_STAGED, mark, tail))


def is_staged(path):
    """Whether ``path`` is called like something that was staged."""
    return os.path.basename(path).startswith(_STAGED)


def write_new(path, chunks, attributes=None, selinux=None, context=None):
    """Write a file that must not exist yet, durably, and readable by nobody else meanwhile.

    ``chunks`` is an iterable of bytes; ``attributes`` is a state's uid, gid, mode and
    mtime_ns (without it: 0600, ours). Raises ConfigError; a full disk names the file system.
    """
    with disk_errors(path):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(path, flags, 0o600)
        try:
            for chunk in chunks:
                view = memoryview(chunk)
                while view:
                    view = view[os.write(fd, view) :]
            if attributes:
                _set_attributes(fd, attributes)
                if attributes.get("mtime_ns") is not None:
                    os.utime(fd, ns=(attributes["mtime_ns"], attributes["mtime_ns"]))
            if selinux and context:
                selinux.set(path, context)
            os.fsync(fd)
        finally:
            os.close(fd)


def file_chunks(path):
    """Content of ``path``, piece by piece, for ``write_new``."""
    with open_file(path) as stream:
        yield from iter(lambda: stream.read(_CHUNK), b"")


def set_attributes(path, attributes):
    """Owner, group and mode of an existing file or directory."""
    fd = os.open(path, _READ)
    try:
        _set_attributes(fd, attributes)
        os.fsync(fd)
    finally:
        os.close(fd)


def _set_attributes(fd, wanted):
    now = os.fstat(fd)
    mode = stat.S_IMODE(now.st_mode)
    if (now.st_uid, now.st_gid) != (wanted["uid"], wanted["gid"]):
        # Nobody gets more access on the way than he has before or after.
        if mode & wanted["mode"] != mode:
            mode &= wanted["mode"]
            os.fchmod(fd, mode)
        os.fchown(fd, wanted["uid"], wanted["gid"])
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
    if mode != wanted["mode"]:
        os.fchmod(fd, wanted["mode"])


def make_directory(path, attributes, selinux=None):
    """Make one directory, durably. Raises ConfigError."""
    with disk_errors(path):
        os.mkdir(path, 0o700)
        if selinux:
            selinux.set(path, selinux.default(path, stat.S_IFDIR))
        set_attributes(path, attributes)
        host_state.fsync_dir(os.path.dirname(path))


def remove(path):
    """Unlink ``path`` if it is there."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(path)


@contextlib.contextmanager
def disk_errors(path):
    """Turn an OSError into a ConfigError that names ``path``, or the file system if full."""
    try:
        yield
    except OSError as exc:
        if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise ConfigError("%s cannot be written: %s" % (path, exc.strerror)) from exc
        where = mount_point(path)
        free = os.statvfs(where)
        raise ConfigError(
            "The file system %s is full (%d KiB and %d inodes free): %s cannot be written. "
            "Nothing was changed."
            % (where, free.f_bavail * free.f_frsize // 1024, free.f_favail, path)
        ) from exc


def mount_point(path):
    """Where the file system is mounted that ``path`` is, or would be, on."""
    path = os.path.realpath(os.path.dirname(path))
    while not os.path.exists(path):
        path = os.path.dirname(path)
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path
