# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Who holds a lease, and whether that process is still there: judged on the controller."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.cloudlet.deploy.plugins.module_utils import lease

#: Where a machine keeps its identity; the second one on old systems.
_MACHINE_ID = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def identity(pid: int) -> dict[str, Any]:
    """What tells process ``pid`` of this machine from any other, now and after a reboot.

    ``started`` is in ticks of the clock since the boot, None if there is no such process.
    """
    return {
        "machine": next(filter(None, map(_line, _MACHINE_ID)), ""),
        "host": socket.gethostname(),
        "boot": _line(_BOOT_ID),
        "namespace": _namespace(),
        "pid": pid,
        "started": _started(pid),
    }


def is_dead(holder: Mapping[str, Any]) -> bool:
    """Whether the process behind a lease is known to be gone.

    False where that cannot be judged: the lease of another machine, or of a container of this
    one. Machines made from one image share their machine id, so the name must be the same too.
    """
    here = identity(int(holder.get("pid") or 0))
    if not here["machine"] or any(holder.get(key) != here[key] for key in ("machine", "host")):
        return False
    if holder.get("boot") != here["boot"]:
        return True
    if holder.get("namespace") != here["namespace"]:
        return False
    return not _exists(here["pid"]) or here["started"] not in (None, holder.get("started"))


def at_work(holder: Mapping[str, Any]) -> str:
    """A notice for who only looks."""
    text: str = lease.describe(holder)
    return f"{text}, is at work on this host."


def _exists(pid: int) -> bool:
    """Whether there is such a process, whoever's it is: /proc may hide those of others."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # One that has ended and was not collected yet does nothing any more.
    return _stat(pid)[:1] not in (["Z"], ["X"])


def _started(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[19]) if len(fields) > 19 else None


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty if it cannot be read.

    The name before them, in parentheses, may hold anything.
    """
    return _line(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()


def _namespace() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _line(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
