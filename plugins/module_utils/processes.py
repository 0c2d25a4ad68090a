# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""What the kernel tells of one process: its limits, its control group, its environment.

Reads only. Runs on Python 3.9 and later.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time

PROC = "/proc"
#: What the report says where the kernel has "max" or "unlimited".
INFINITY = "infinity"
#: Seconds that a forked child gets beyond what its task may take.
_GRACE = 2


class ProcessError(Exception):
    """Something is not to be had of a process; the message says what and why."""


def text(path):
    """The text of a file of the kernel. Raises ProcessError."""
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError as exc:
        raise ProcessError("%s cannot be read: %s" % (path, exc.strerror)) from exc


def status(pid, proc=PROC):
    """The lines of ``/proc/PID/status``, by their names. Raises ProcessError."""
    pairs = (line.partition(":") for line in text("%s/%d/status" % (proc, pid)).splitlines())
    return {name: value.strip() for name, _, value in pairs}


def limit(pid, name, hard=False, proc=PROC):
    """The soft or hard limit ``name`` of ``/proc/PID/limits`` as text, or ``infinity``."""
    for line in text("%s/%d/limits" % (proc, pid)).splitlines():
        # Padded to a column: one name may begin with another.
        if line.startswith(name + "  "):
            value = line[len(name) :].split()[1 if hard else 0]
            return INFINITY if value == "unlimited" else value
    raise ProcessError("the kernel knows no limit %s" % name)


# --- control groups -----------------------------------------------------------------------


def _mounts(proc):
    """(file system type, options, root of the mount, mount point) of each control group tree."""
    for line in text("%s/self/mountinfo" % proc).splitlines():
        before, _, after = line.partition(" - ")
        fields, more = before.split(), after.split()
        if len(fields) > 4 and more and more[0] in ("cgroup", "cgroup2"):
            yield more[0], more[-1].split(","), fields[3], fields[4]


def group(pid, controller=None, proc=PROC):
    """(directory, mount point) of a process's control group, or None.

    That of the tree which ``controller`` is bound to; None: the one that systemd itself uses.
    """
    lines = [line.split(":", 2) for line in text("%s/%d/cgroup" % (proc, pid)).splitlines()]
    mounts = list(_mounts(proc))
    named = controller or "name=systemd"
    # Version 1 first: a controller is bound to one tree alone.
    for wanted, kind in ((named, "cgroup"), ("", "cgroup2")):
        for _number, controllers, path in lines:
            if wanted not in controllers.split(","):
                continue
            for found, options, root, point in mounts:
                below = os.path.relpath(path, root)
                inside = below == "." or not below.startswith("..")
                if found == kind and (not wanted or wanted in options) and inside:
                    return os.path.normpath(os.path.join(point, below)), point
    return None


def tasks_max(pid, proc=PROC):
    """The most tasks that the control groups of a process let it have: a number, or infinity.

    The smallest of its own group and of all above it. None where no group can limit them, as
    the controller is not bound to any tree that is here.
    """
    where = group(pid, "pids", proc)
    found = []
    while where is not None:
        directory, point = where
        with contextlib.suppress(ProcessError):
            found.append(text(os.path.join(directory, "pids.max")).strip())
        where = None if directory == point else (os.path.dirname(directory), point)
    if not found:
        return None
    numbers = [int(one) for one in found if one != "max"]
    return min(numbers) if numbers else INFINITY


def of_unit(main, control_group_of, proc=PROC):
    """Process ids of a unit, the main one first.

    ``main`` is what systemd says, 0 if it knows none; ``control_group_of`` the unit's group as
    systemd names it.
    """
    pids = [main] if main else []
    where = group(1, None, proc) if control_group_of else None
    if where is None:
        return pids
    # Process 1 is systemd, in a group of its own below the root of all that it manages.
    root = os.path.dirname(where[0]) if os.path.basename(where[0]) == "init.scope" else where[0]
    procs = os.path.join(root, control_group_of.lstrip("/"), "cgroup.procs")
    with contextlib.suppress(ProcessError):
        pids += [int(line) for line in text(procs).split() if int(line) != main]
    return pids


# --- what only the process's own account may see ------------------------------------------


def as_owner(pid, task, seconds, proc=PROC):
    """What ``task()`` returns (plain data), called by a child with the ids of the process.

    Root of a container may not look into processes of other accounts, but these may look into
    their own. Raises ProcessError: as ``task`` did, or after ``seconds`` and a little more.
    """
    ids = status(pid, proc)
    uid, gid = (int(ids[name].split()[1]) for name in ("Uid", "Gid"))
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _in_child(task, uid, gid, writing)
    os.close(writing)
    try:
        said = _awaited(reading, time.monotonic() + seconds + _GRACE)
    finally:
        os.close(reading)
        # It has ended, or it hangs: nobody waits for it in either case.
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if not said:
        raise ProcessError("process %d was not looked into within %d s" % (pid, seconds + _GRACE))
    told = json.loads(said)
    if "error" in told:
        raise ProcessError(told["error"])
    return told["told"]


def _in_child(task, uid, gid, writing):
    """Never returns: what comes after it belongs to the parent."""
    try:
        try:
            if (uid, gid) != (os.geteuid(), os.getegid()):
                os.setgroups([])
                os.setresgid(gid, gid, gid)
                os.setresuid(uid, uid, uid)
            told = {"told": task()}
        except ProcessError as exc:
            told = {"error": str(exc)}
        except Exception as exc:
            told = {"error": "%s: %s" % (type(exc).__name__, exc)}
        with os.fdopen(writing, "wb") as stream:
            stream.write(json.dumps(told).encode())
    finally:
        os._exit(0)


def _awaited(reading, deadline):
    """All that the child writes; nothing if it does not close its end in time."""
    parts = []
    while True:
        ready, _, _ = select.select([reading], [], [], max(0.0, deadline - time.monotonic()))
        part = os.read(reading, 1 << 16) if ready else None
        if not part:
            return b"".join(parts) if part is not None else b""
        parts.append(part)


def used(pid, kind, seconds, proc=PROC):
    """How many threads, open files or memory maps the process has. Raises ProcessError."""

    def look():
        if kind == "maps":
            return len(text("%s/%d/maps" % (proc, pid)).splitlines())
        directory = "%s/%d/%s" % (proc, pid, {"threads": "task", "files": "fd"}[kind])
        try:
            return len(os.listdir(directory))
        except OSError as exc:
            raise ProcessError("%s cannot be read: %s" % (directory, exc.strerror)) from exc

    return as_owner(pid, look, seconds, proc)


def environment(pid, seconds, proc=PROC):
    """The environment that the process was started with. Raises ProcessError."""

    def look():
        pairs = (one.partition("=") for one in text("%s/%d/environ" % (proc, pid)).split("\0"))
        return {name: value for name, separator, value in pairs if separator}

    return as_owner(pid, look, seconds, proc)
