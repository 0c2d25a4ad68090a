# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Whether the kernel takes id maps: found by giving them to processes that then end.

How many lines and bytes a map may have is the kernel's affair and has changed before, so no
number of it stands here. Changes nothing on the host. Python 3.9 and later.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
from typing import NamedTuple

from ansible_collections.cloudlet.deploy.plugins.module_utils.idmaps import (
    Refused,
    parsed,
    written,
)

_CLONE_NEWUSER, _SET_DUMPABLE = 0x10000000, 4
_UNSHARE = "unshare"
#: More bytes than an answer of the forked process has.
_ANSWER = 200
_WHAT = {0: "Podman's namespace", 1: "a pod"}
_BREADTH = {"uid_map": "user", "gid_map": "group"}


class Fault(NamedTuple):
    """What failed: in which namespace from outside, ``unshare`` or a file's name, and errno."""

    depth: int
    stage: str
    code: int


def attempt(levels):
    """Make namespaces, one in the other, with these maps; the first Fault, or None.

    ``levels`` is a list of ``{"uid_map": extents, "gid_map": extents}``, the outermost first.
    """
    up_read, up_write = os.pipe()
    down_read, down_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(up_read)
            os.close(down_write)
            _inside(levels[1:], up_write, down_read)
        finally:
            os._exit(0)
    os.close(up_write)
    os.close(down_read)
    try:
        code = int(os.read(up_read, _ANSWER) or errno.ECHILD)
        if code:
            return Fault(0, _UNSHARE, code)
        for name, extents in levels[0].items():
            code = _write("/proc/%d/%s" % (pid, name), extents)
            if code:
                return Fault(0, name, code)
        os.write(down_write, b"g")
        below = json.loads(os.read(up_read, _ANSWER) or '[0, "unshare", %d]' % errno.ECHILD)
        return Fault(below[0] + 1, below[1], below[2]) if below else None
    finally:
        os.close(up_read)
        os.close(down_write)  # ends the other process, too, where it still waits
        os.waitpid(pid, 0)


def _inside(levels, up, down):
    """The forked process: a namespace of its own, and from there the next one.

    It may have lost the right to read Python's own files, so nothing may be imported here.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    code = ctypes.get_errno() if libc.unshare(_CLONE_NEWUSER) else 0
    os.write(up, b"%d\n" % code)
    # Nothing comes where the other side met a fault.
    if not code and os.read(down, 1):
        if levels:
            # Whoever makes a namespace must have ids in the one around it, and a process that
            # changes its ids hides its files from itself.
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
            libc.prctl(_SET_DUMPABLE, 1, 0, 0, 0)
        fault = attempt(levels) if levels else None
        os.write(up, json.dumps(fault).encode("ascii") + b"\n")


def _write(path, extents):
    """Write a map at once, as the kernel wants it; errno, or 0."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, written(extents).encode("ascii"))
        finally:
            os.close(fd)
    except OSError as exc:
        return exc.errno
    return 0


def check(levels, host):
    """Raise Refused if the kernel of ``host`` (a name) would not take ``levels``."""
    _check_own_ids(levels[0], host)
    fault = attempt(levels)
    if fault is None:
        return
    why = os.strerror(fault.code)
    if fault.stage == _UNSHARE:
        raise Refused(
            "%s: user namespaces cannot be made%s (unshare: %s), and rootless Podman needs them"
            % (host, " in another one" if fault.depth else "", why),
            "Raise user.max_user_namespaces there; if the host is a container, give it the right"
            " to unshare, or use a machine.",
        )
    extents, what = levels[fault.depth][fault.stage], _WHAT[fault.depth]
    if fault.code != errno.EINVAL:
        raise Refused(
            "%s: the kernel does not let root write the %s ids of %s (%s: %s)"
            % (host, _BREADTH[fault.stage], what, fault.stage, why),
            "If the host is a container, run it with CAP_SETUID and CAP_SETGID.",
        )
    raise Refused(
        "%s: the kernel does not take the map of %s ids of %s: %d lines, %d bytes; it takes %d of"
        " these lines"
        % (host, _BREADTH[fault.stage], what, len(extents), len(written(extents)),
           largest(levels, fault)),
        "Approve fewer users, or give them ids that follow each other: those share a line.",
    )  # fmt: skip


def largest(levels, fault):
    """How many of the lines of the refused map the kernel takes."""
    extents = levels[fault.depth][fault.stage]
    good, bad = 0, len(extents)
    while bad - good > 1:
        middle = (good + bad) // 2
        fewer = {fault.stage: extents[:middle]}
        fits = attempt([*levels[: fault.depth], fewer])
        good, bad = (good, middle) if fits else (middle, bad)
    return good


def _check_own_ids(maps, host, proc="/proc/self"):
    """A host that is a container may itself have few ids: the kernel would say only EPERM."""
    for name, extents in maps.items():
        with open(os.path.join(proc, name), encoding="ascii") as stream:
            own = parsed(stream.read())
        for extent in extents:
            first, last = extent.outside, extent.outside + extent.count - 1
            if not any(one.inside <= first and last < one.inside + one.count for one in own):
                has = ["%d to %d" % (one.inside, one.inside + one.count - 1) for one in own]
                raise Refused(
                    "%s: the %s ids %d to %d do not exist on this host, a container that has %s"
                    % (host, _BREADTH[name], first, last, ", ".join(has)),
                    "Run the container with all ids, or use a machine.",
                )
