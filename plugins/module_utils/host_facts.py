# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""What the host's kernel tells of memory, file systems, listening ports and addresses.

Reads only. Runs on Python 3.9 and later.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import socket

_LISTEN = "0A"
#: What a process that ends meanwhile raises.
_GONE = (FileNotFoundError, ProcessLookupError)
#: An account's own systemd, and its units below it.
_OF_ACCOUNT = re.compile(r"/user@(\d+)\.service/")
#: What Podman makes for itself if it does not keep to the unit that started it.
_PODMAN_SCOPE = re.compile(r"podman-\d+\.scope")
MIB = 1 << 20


def _text(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def memory_mb(proc="/proc", cgroup="/sys/fs/cgroup"):
    """(total, available) in MiB; the total is that of the host's control group if it is less."""
    kib = {}
    for line in _text(os.path.join(proc, "meminfo")).splitlines():
        name, _, value = line.partition(":")
        with contextlib.suppress(ValueError, IndexError):
            kib[name] = int(value.split()[0])
    total = kib.get("MemTotal", 0) // 1024
    available = kib.get("MemAvailable", kib.get("MemTotal", 0)) // 1024
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with contextlib.suppress(ValueError):
            total = min(total, int(_text(os.path.join(cgroup, name)).strip()) // MIB)
    return total, min(available, total)


class FileSystem:
    """Where ``path`` is, or would be: mount point, device, free MiB and inodes."""

    def __init__(self, path):
        there = os.path.realpath(path)
        while not os.path.exists(there):
            there = os.path.dirname(there)
        status = os.statvfs(there)
        self.device = os.stat(there).st_dev
        self.free_mb = status.f_bavail * status.f_frsize // MIB
        self.size_mb = status.f_blocks * status.f_frsize // MIB
        # File systems without a fixed number of inodes say 0 of 0.
        self.no_inodes = bool(status.f_files) and status.f_favail == 0
        self.read_only = bool(status.f_flag & os.ST_RDONLY)
        while not os.path.ismount(there):
            there = os.path.dirname(there)
        self.mount = there


class Listener:
    """A process that listens on a TCP port; ``unit`` is its systemd unit, "" if in none.

    Units of an account's own systemd are written ``~ACCOUNT/UNIT``; ``~ACCOUNT/`` is one of them,
    and the host does not tell which.
    """

    def __init__(self, port, pid=0, process="", unit=""):
        self.port = port
        self.pid = pid
        self.process = process
        self.unit = unit

    def may_be(self, unit):
        """Whether it is of ``unit``, as far as the host tells."""
        unknown = self.unit.endswith("/")
        return bool(self.unit) and (unit.startswith(self.unit) if unknown else unit == self.unit)

    def __str__(self):
        who = "%s (pid %d)" % (self.process, self.pid) if self.pid else "an unknown process"
        return "%s of %s" % (who, self.unit.rstrip("/")) if self.unit else who


def listeners(proc="/proc"):
    """{port: Listener} of this host's network namespace; only root sees whose they are."""
    inodes = {}
    for name in ("tcp", "tcp6"):
        for line in _text(os.path.join(proc, "net", name)).splitlines()[1:]:
            fields = line.split()
            if len(fields) > 9 and fields[3] == _LISTEN:
                inodes[fields[9]] = (int(fields[1].rpartition(":")[2], 16), int(fields[7]))
    found, closed = {}, {}
    for pid in _processes(proc) if inodes else ():
        try:
            sockets = list(_sockets(os.path.join(proc, pid, "fd")))
        except PermissionError:
            closed.setdefault(_uid(proc, pid), []).append(pid)
            continue
        for inode in sockets:
            # The first is the one that opened it: workers inherit.
            if inode in inodes and inodes[inode][0] not in found:
                found[inodes[inode][0]] = _listener(proc, pid, inodes[inode][0])
    return {
        port: found.get(port) or _guessed(proc, closed.get(uid, []), port)
        for port, uid in inodes.values()
    }


def _guessed(proc, pids, port):
    """In a container root may not see what other accounts' processes hold open.

    The socket tells its account; if all processes of that account that keep theirs to
    themselves are of one unit, it is that one's, and else one of its own systemd if all are.
    """
    candidates = [_listener(proc, pid, port) for pid in pids]
    if len({candidate.unit for candidate in candidates}) == 1:
        return candidates[0]
    whose = {candidate.unit[: candidate.unit.find("/") + 1] for candidate in candidates}
    return Listener(port, unit=min(whose) if len(whose) == 1 else "")


def _uid(proc, pid):
    for line in _text(os.path.join(proc, pid, "status")).splitlines():
        if line.startswith("Uid:"):
            return int(line.split()[2])
    return -1


def _processes(proc):
    return sorted((name for name in os.listdir(proc) if name.isdigit()), key=int)


def _sockets(directory):
    """Inodes of the sockets among the files of a process; PermissionError if it hides them."""
    try:
        names = os.listdir(directory)
    except _GONE:
        return
    for name in names:
        with contextlib.suppress(*_GONE):
            target = os.readlink(os.path.join(directory, name))
            if target.startswith("socket:["):
                yield target[8:-1]


def _listener(proc, pid, port):
    # systemd opens sockets for others: the unit is not known then.
    unit = ""
    for line in _text(os.path.join(proc, pid, "cgroup")).splitlines():
        names = [part for part in line.split("/") if part.endswith((".service", ".scope"))]
        of_account = _OF_ACCOUNT.search(line)
        if of_account:
            # Below its unit a pod may have a systemd with units of its own.
            below = names[names.index("user@%s.service" % of_account.group(1)) + 1 :]
            known = below and not _PODMAN_SCOPE.fullmatch(below[0])
            unit = "~%s/%s" % (_account(of_account.group(1)), below[0] if known else "")
        elif names:
            unit = names[-1]
    return Listener(port, int(pid), _text(os.path.join(proc, pid, "comm")).strip(), unit)


def _account(uid):
    try:
        return pwd.getpwuid(int(uid)).pw_name
    except KeyError:
        return uid


def addresses_of(name):
    """The addresses that ``name`` has, as text; empty if it has none."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(entry[4][0] for entry in found))


def is_loopback(address):
    """Whether only the host itself reaches ``address``."""
    return address.startswith("127.") or address == "::1"


def is_own(address):
    """Whether one of this host's interfaces has ``address``."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((address.partition("%")[0], 0))
        return True
    return False


def selinux_mode(root="/"):
    """``enforcing``, ``permissive`` or ``none``."""
    told = _text(os.path.join(root, "sys/fs/selinux/enforce")).strip()
    return {"1": "enforcing", "0": "permissive"}.get(told, "none")
