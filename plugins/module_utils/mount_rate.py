# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""How fast a mount is read and written, sequentially and past the host's page cache.

What is mounted read-only is read as it is; elsewhere a file is written, read back, compared and
removed. The server's own cache is not in our hands. Runs on Python 3.9 and later.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import re
import socket
import stat
import time
import zlib

from ansible_collections.cloudlet.deploy.plugins.module_utils import in_time

_MIB = 1 << 20
#: Files that are looked at to find some to read, and seconds for that.
_MOST_FILES, _SEARCH = 5000, 10
#: Seconds beyond the test's own that a mount may take, and for taking a file away after that.
_SPARE, _REMOVAL = 20, 5
#: Bytes below which a rate says little.
LEAST = 64 * _MIB


class RateError(OSError):
    """A mount cannot be measured; the message says why."""


def measure(where, seconds, mib, mountinfo="/proc/self/mountinfo"):
    """The report on the mount at ``where``.

    ``read`` and ``write`` are ``{bytes, seconds}`` or None, each of at most ``seconds`` and
    ``mib`` MiB. ``problem`` says in words why there is nothing, ``left`` names a file that
    could not be removed.
    """
    told = {"where": where, "read": None, "write": None, "problem": "", "left": ""}
    options = _options(where, mountinfo)
    if options is None:
        return dict(told, problem="nothing is mounted there")
    patience = 2 * seconds + _SPARE
    if "ro" in options:
        outcome = in_time.one(lambda: {"read": read_existing(where, seconds, mib)}, patience)
    else:
        path = os.path.join(where, ".cloudlet-smoke-%s" % socket.gethostname())
        outcome = in_time.one(lambda: written(path, seconds, mib), patience)
        if outcome.late:
            told["left"] = in_time.one(lambda: _removed(path), _REMOVAL).problem and path
    return dict(told, **(outcome.told or {}), problem=outcome.problem)


def _options(where, mountinfo):
    """The options of what is mounted at ``where``; None if nothing is. Does not touch it."""
    found, where = None, posixpath.normpath(where)
    with open(mountinfo, encoding="utf-8", errors="surrogateescape") as stream:
        for line in stream:
            fields = line.split(" ")
            # The last one hides those before it.
            if re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), fields[4]) == where:
                found = fields[5].split(",")
    return found


def read_existing(where, seconds, mib):
    """Read the largest files below ``where``, one after the other. Raises RateError."""
    files = sorted(_files(where, time.monotonic() + _SEARCH), reverse=True)
    if not files:
        raise RateError("there is no file to read")
    total, spent = 0, 0.0
    for _, path in files:
        try:
            done, took, _ = _read(path, seconds - spent, mib * _MIB - total)
        except FileNotFoundError:  # moved on since
            continue
        total, spent = total + done, spent + took
        if spent >= seconds or total >= mib * _MIB:
            break
    if not total:
        raise RateError("there is no file to read that is not empty")
    return {"bytes": total, "seconds": round(spent, 4)}


def _files(where, deadline):
    """(size, path) of the first regular files, breadth first."""
    directories, number = [where], 0
    while directories:
        with os.scandir(directories.pop(0)) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    directories.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    number += 1
                    with contextlib.suppress(FileNotFoundError):
                        yield entry.stat(follow_symlinks=False).st_size, entry.path
                if number >= _MOST_FILES or time.monotonic() > deadline:
                    return


def written(path, seconds, mib):
    """Write ``path``, read it back, remove it. Raises RateError."""
    room = os.statvfs(os.path.dirname(path))
    if room.f_bavail * room.f_frsize < 2 * mib * _MIB:
        free = room.f_bavail * room.f_frsize // _MIB
        raise RateError("only %d MiB are free, of which %d would be written" % (free, mib))
    _removed(path)  # of a run that was killed
    try:
        sums, took = _write(path, seconds, mib)
        done, spent, seen = _read(path, seconds, len(sums) * _MIB)
        if seen != sums[: len(seen)]:
            raise RateError("what was read back is not what was written")
    finally:
        _removed(path)
    return {
        "write": {"bytes": len(sums) * _MIB, "seconds": round(took, 4)},
        "read": {"bytes": done, "seconds": round(spent, 4)},
    }


def _write(path, seconds, mib):
    """(checksum of each MiB, seconds until all of it was with the server)."""
    sums, noise = [], os.urandom(_MIB)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    begun = time.monotonic()
    try:
        for number in range(mib):
            # No two alike, for servers that compress or store equal blocks once.
            block = number.to_bytes(16, "big") + noise[16:]
            rest = memoryview(block)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            sums.append(zlib.crc32(block))
            if time.monotonic() - begun >= seconds:
                break
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return sums, time.monotonic() - begun


def _read(path, seconds, most):
    """(bytes, seconds, checksum of each MiB) of what was read of ``path``."""
    done, sums = 0, []
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return 0, 0.0, []
        # What the host has of it in memory would tell of the memory.
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        begun = time.monotonic()
        with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as stream:
            while done < most and time.monotonic() - begun < seconds:
                block = _block(stream, min(_MIB, most - done))
                if not block:
                    break
                done += len(block)
                sums.append(zlib.crc32(block))
        return done, time.monotonic() - begun, sums
    finally:
        os.close(descriptor)


def _block(stream, size):
    """``size`` bytes, or what is left."""
    parts, left = [], size
    while left:
        part = stream.read(left)
        if not part:
            break
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _removed(path):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
