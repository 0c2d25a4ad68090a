# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""The files of subordinate ids, ``/etc/subuid`` and ``/etc/subgid``, and a plan for one of them.

Lines of others are kept byte for byte. Python 3.9 and later.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from typing import NamedTuple

from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import (
    SELINUX_LABEL,
    write_atomically,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.idmaps import (
    LEAST_BASE,
    Refused,
    merged,
)

#: Kind of entries of the ledger and of ``changes``.
KIND = "subid"
#: A base range lies beyond the ids that accounts, and the first ranges of useradd, have.
FLOOR, CEILING = 2_000_000, 2**31
#: Ids that 16 bits hold are for accounts.
_SIXTEEN_BITS = 65536
_LINE = re.compile(rb"([^:#\n][^:\n]*):([0-9]+):([0-9]+)")


class Line(NamedTuple):
    """A range of a file; ``number`` is that of its line, 0 for one that is to be made."""

    number: int
    owner: str
    start: int
    count: int

    @property
    def end(self):
        """The first id that is not in it."""
        return self.start + self.count

    def meets(self, start, count):
        """Whether it has an id of the other range."""
        return self.start < start + count and start < self.end

    def __str__(self):
        return "%s:%d:%d" % (self.owner, self.start, self.count)


def lines_of(data):
    """The ranges in a file's content; comments and what is no range are passed over."""
    found = []
    for number, text in enumerate(data.split(b"\n"), 1):
        match = _LINE.fullmatch(text)
        if match:
            owner = match.group(1).decode("utf-8", "surrogateescape")
            found.append(Line(number, owner, int(match.group(2)), int(match.group(3))))
    return found


def changed(data, gone, new):
    """The content without the lines ``gone`` and with ``new`` after all others (both texts)."""
    going = {text.encode("utf-8") for text in gone}
    kept = [text for text in data.splitlines(keepends=True) if text.rstrip(b"\n") not in going]
    if new and kept and not kept[-1].endswith(b"\n"):
        kept[-1] += b"\n"
    return b"".join(kept) + b"".join(text.encode("utf-8") + b"\n" for text in new)


def read(path):
    """The content of the file at ``path``; None if there is none."""
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        return None


def write(path, data, label=None):
    """Replace the file; owner, mode and SELinux label stay. A new one gets ``label``."""
    mode, owner = 0o644, None
    with contextlib.suppress(FileNotFoundError):
        status = os.stat(path)
        mode, owner = status.st_mode & 0o7777, (status.st_uid, status.st_gid)
        with contextlib.suppress(OSError):  # a host without SELinux has none
            label = os.getxattr(path, SELINUX_LABEL)
    write_atomically(path, data, mode, owner, label)


@contextlib.contextmanager
def locked(paths, patience=15.0):
    """Hold what ``usermod`` and ``useradd`` hold while they write the files.

    That is the record lock of ``.pwd.lock`` (``lckpwdf``), and for each file a ``FILE.lock`` with
    the holder's pid in it. Raises Refused after ``patience`` seconds.
    """
    deadline = time.monotonic() + patience
    passwords = os.path.join(os.path.dirname(paths[0]), ".pwd.lock")
    fd, held = os.open(passwords, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), []
    try:
        _patiently(lambda: _record_lock(fd), deadline, passwords)
        for path in paths:
            _patiently(lambda path=path: _file_lock(path + ".lock"), deadline, path + ".lock")
            held.append(path + ".lock")
        yield
    finally:
        for lock in held:
            os.unlink(lock)
        os.close(fd)


def _patiently(take, deadline, lock):
    while not take():
        if time.monotonic() > deadline:
            raise Refused(
                "%s is held by another process: accounts are being changed on this host" % lock,
                "Wait until that is done, then apply again.",
            )
        time.sleep(0.1)


def _record_lock(fd):
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _file_lock(lock):
    """Make ``lock`` as the programs do: under another name first, so that it is never empty."""
    own = "%s.%d" % (lock[: -len(".lock")], os.getpid())
    with open(own, "wb") as stream:
        stream.write(b"%d\0" % os.getpid())
    try:
        os.link(own, lock)
    except FileExistsError:
        _drop_stale(lock)
        return False
    finally:
        os.unlink(own)
    return True


def _drop_stale(lock):
    """Remove ``lock`` if the process that it names is gone, as the programs do, too."""
    with contextlib.suppress(OSError, ValueError):
        with open(lock, "rb") as stream:
            pid = int(stream.read(32).rstrip(b"\0\n"))
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            os.unlink(lock)


class Wish(NamedTuple):
    """What one account is to have in one file.

    ``start`` of the base range is 0 where any will do; ``ours`` are ranges that we made before,
    ``base`` the first id of the base range among them, or 0. ``ids`` are (start, count).
    """

    path: str
    account: str
    own_id: int
    start: int
    count: int
    base: int
    ours: frozenset
    ids: tuple


class Plan(NamedTuple):
    """The ranges (Line) that are to be made and removed, and all that the account has then."""

    base: tuple
    new: tuple
    gone: tuple
    found: tuple

    @property
    def ranges(self):
        """As (start, count)."""
        return sorted((line.start, line.count) for line in (*self.new, *self.found))


def plan(wish, lines, taken, free):
    """What to do about ``lines`` of the file. Raises Refused, with all faults.

    ``taken`` are (id, name) of accounts or groups on the host, ``free`` the first id beyond all
    that is in use, where a base range that may be anywhere begins.
    """
    own = [line for line in lines if line.owner == wish.account]
    found = [line for line in own if (line.start, line.count) not in wish.ours]
    base = _base(wish, found, free)
    rest = _without(wish.ids, found)
    wanted = [*([] if base in [(f.start, f.count) for f in found] else [base]), *rest]
    faults = [
        *_misplaced(wish, base, taken, found),
        *_in_the_way(wish, wanted, [line for line in lines if line not in own]),
        *_too_much(wish, found, base, taken),
    ]
    if faults:
        raise Refused("; ".join(fault for fault, _ in faults), faults[0][1])
    made = {(line.start, line.count): line for line in own if line not in found}
    return Plan(
        base=base,
        new=tuple(made.get(r) or Line(0, wish.account, *r) for r in wanted),
        gone=tuple(line for r, line in sorted(made.items()) if r not in wanted),
        found=tuple(found),
    )


def _base(wish, found, free):
    """(start, count) of the base range: the one that is there, or a new one."""
    if wish.base:
        if wish.start not in (0, wish.base):
            raise Refused(
                "%s: the base range of %s begins at %d, wanted is %d; what containers have stored "
                "belongs to the former ids" % (wish.path, wish.account, wish.base, wish.start),
                "Set podman_host_base_start to %d, or undo the role, remove the container storage "
                "and apply again." % wish.base,
            )
        return wish.base, wish.count
    for line in found:
        fits = line.count >= wish.count and line.start >= _SIXTEEN_BITS
        fits = fits and not any(line.meets(*ids) for ids in wish.ids)
        if fits and wish.start in (0, line.start):
            return line.start, line.count
    start = wish.start or free
    if start + wish.count > CEILING:
        raise Refused(
            "%s: there is no room for a base range of %d ids beyond %d, where the ids in use end"
            % (wish.path, wish.count, free),
            "Set podman_host_base_start to the beginning of a gap.",
        )
    return start, wish.count


def _without(ids, found):
    """``ids`` less what the account was found to have, as few ranges."""
    rest = []
    for start, count in merged(ids):
        at, end = start, start + count
        for line in sorted(found, key=lambda line: line.start):
            if line.meets(at, end - at):
                rest.append((at, line.start - at))
                at = max(at, line.end)
        rest.append((at, end - at))
    return [(start, count) for start, count in rest if count > 0]


def _misplaced(wish, base, taken, found):
    start, count = base
    line = Line(0, wish.account, start, count)
    elsewhere = "Set podman_host_base_start to the beginning of a free range."
    if start < _SIXTEEN_BITS:
        yield "%s: the base range %s begins below %d" % (wish.path, line, _SIXTEEN_BITS), elsewhere
    if count < LEAST_BASE:
        yield (
            "%s: the base range %s is too small for a pod" % (wish.path, line),
            "Set podman_host_base_count to 65536.",
        )
    for number, name in taken:
        if line.meets(number, 1):
            yield (
                "%s: the base range %s has the id %d of %s" % (wish.path, line, number, name),
                elsewhere,
            )
    for one in found:
        if one.meets(start, count) and (one.start, one.count) != base:
            yield (
                "%s line %d gives %s already, which the base range %s meets"
                % (wish.path, one.number, one, line),
                "Set podman_host_base_start to %d and podman_host_base_count to %d, or remove the "
                "line." % (one.start, one.count),
            )
    for first, length in wish.ids:
        if line.meets(first, length):
            yield (
                "%s: the base range %s has the approved ids %d to %d"
                % (wish.path, line, first, first + length - 1),
                elsewhere,
            )


def _in_the_way(wish, wanted, others):
    for start, count in wanted:
        for line in others:
            if line.owner == str(wish.own_id):
                continue
            if line.meets(start, count):
                yield (
                    "%s line %d gives %s to %s: it meets %s, which %s is to have"
                    % (wish.path, line.number, line, line.owner,
                       "%d:%d" % (start, count), wish.account),
                    "Give %s another range (usermod --del-subuids/--add-subuids), or approve other "
                    "ids." % line.owner,
                )  # fmt: skip
    for line in others:
        if line.owner == str(wish.own_id):
            yield (
                "%s line %d gives a range to %s by its number; not every Podman counts that"
                % (wish.path, line.number, wish.account),
                "Write the name into that line, or remove it.",
            )


def _too_much(wish, found, base, taken):
    """Lines that were there already may hand out what never is to be."""
    approved = [Line(0, "", *one) for one in wish.ids]
    for line in found:
        named = [
            "%d (%s)" % (number, name)
            for number, name in taken
            if line.meets(number, 1) and not any(one.meets(number, 1) for one in approved)
        ]
        if line.start < _SIXTEEN_BITS and not any(
            one.start <= line.start and line.end <= one.end for one in approved
        ):
            named = named or ["ids below %d" % _SIXTEEN_BITS]
        if named and (line.start, line.count) != base:
            yield (
                "%s line %d gives %s what is not approved: %s"
                % (wish.path, line.number, wish.account, ", ".join(sorted(set(named)))),
                "Remove the line, or approve these ids.",
            )
