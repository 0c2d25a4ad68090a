# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""State that cloudlet-deploy keeps on a host: manifests of config sets and the ledger.

Everything lies below one 0700 directory. Files are replaced whole (temporary file,
fsync, rename, fsync of the directory), so a reader never sees half of one. Runs on the
Python of the hosts (3.9 and later).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import tempfile
import time

STATE_DIR = "/var/lib/cloudlet-deploy"
LOCK = "lock"
SCHEMA = 1
#: The extended attribute that is a file's label.
SELINUX_LABEL = "security.selinux"
# Others can take the directory away between two steps, but not so often in a row.
_ATTEMPTS = 1000


class StateError(Exception):
    """The state on the host cannot be used; the message says which file and what to do."""


def open_state_dir(state_dir=STATE_DIR):
    """Make the state directory, and make sure that only root reads it."""
    os.makedirs(state_dir, mode=0o700, exist_ok=True)
    os.chmod(state_dir, 0o700)


@contextlib.contextmanager
def locked(state_dir=STATE_DIR, timeout=60.0):
    """Hold the host's one lock: two modules never change the state together.

    The kernel lets go of it when the process dies. Raises StateError after ``timeout``
    seconds.
    """
    path = os.path.join(state_dir, LOCK)
    fd = _open_lock(path)
    try:
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(fd, path):
                    break
                # Whoever held it removed it with the state directory: it is nobody's lock now.
                fresh = _open_lock(path)
                os.close(fd)
                fd = fresh
                continue
            except OSError as exc:
                if exc.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
                if time.monotonic() > deadline:
                    raise StateError(
                        "%s is held by another process for more than %d s: "
                        "is another run at work on this host?" % (path, timeout)
                    ) from exc
                time.sleep(0.05)
        yield
    finally:
        os.close(fd)


def _open_lock(path):
    parent = os.path.dirname(path)
    for _attempt in range(_ATTEMPTS):
        try:
            open_state_dir(parent)
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except (FileNotFoundError, FileExistsError):
            # Removed just now: before the open, or between the two looks of makedirs.
            continue
    raise StateError("%s can be neither made nor used as a directory: move it away" % parent)


def _is_at(fd, path):
    """Whether ``fd`` is the file that has the name ``path`` now."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def fsync_dir(path):
    """Make renames in ``path`` survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomically(path, data, mode=0o600, owner=None, label=None):
    """Replace the file at ``path`` by ``data`` (bytes), durably and at once.

    ``owner`` is (uid, gid), ``label`` the bytes of a label of SELinux.
    """
    parent = os.path.dirname(path)
    fd, temporary = tempfile.mkstemp(prefix=".cloudlet-", dir=parent)
    try:
        with os.fdopen(fd, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            if owner is not None:
                os.fchown(stream.fileno(), *owner)
            if label:
                os.setxattr(stream.fileno(), SELINUX_LABEL, label)
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    fsync_dir(parent)


def read_json(path):
    """The document at ``path``, or None where there is none.

    Raises StateError for a damaged file and for one that a newer release wrote.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            document = json.load(stream)
    except FileNotFoundError:
        return None
    except (ValueError, OSError) as exc:
        raise StateError("%s cannot be read: %s" % (path, exc)) from exc
    schema = document.get("schema") if isinstance(document, dict) else None
    if not isinstance(schema, int):
        raise StateError("%s has no schema number: it was damaged or edited" % path)
    if schema > SCHEMA:
        raise StateError(
            "%s has schema %d, this release knows up to %d: use the newer release that wrote it"
            % (path, schema, SCHEMA)
        )
    return document


def write_json(path, document):
    """Write ``document`` with this release's schema number."""
    document = dict(document, schema=SCHEMA)
    data = json.dumps(document, indent=1, sort_keys=True).encode("utf-8") + b"\n"
    write_atomically(path, data)


class Ledger:
    """The before-values of what is not a file: packages, accounts, units, ranges, sysctls.

    An entry is ``{"before": VALUE, "owners": [COMPONENT, ...]}`` under ``kind:name``. The
    before-value is saved once, by the first owner, and never overwritten; it is given back
    when the last owner lets go. Use it inside ``locked()``.
    """

    def __init__(self, state_dir=STATE_DIR):
        self.path = os.path.join(state_dir, "ledger.json")
        document = read_json(self.path) or {"entries": {}}
        if not isinstance(document.get("entries"), dict):
            raise StateError("%s has no entries: it was damaged or edited" % self.path)
        self.entries = document["entries"]

    def record(self, kind, name, before, owner):
        """Save what was there before ``owner`` changed it. Returns whether this was new."""
        key = "%s:%s" % (kind, name)
        entry = self.entries.get(key)
        if entry is None:
            self.entries[key] = {"before": before, "owners": [owner]}
            return True
        if owner not in entry["owners"]:
            entry["owners"] = sorted([*entry["owners"], owner])
            return True
        return False

    def note(self, kind, name, value):
        """Remember ``value`` (plain data) of what ``record`` has saved the before-value of."""
        self.entries["%s:%s" % (kind, name)]["note"] = value

    def notes(self, kind):
        """What was noted of each name of ``kind``."""
        prefix = kind + ":"
        return {
            key[len(prefix) :]: entry["note"]
            for key, entry in self.entries.items()
            if key.startswith(prefix) and "note" in entry
        }

    def owned(self, kind, owner):
        """Names of ``kind`` that ``owner`` has an entry for, with their before-values.

        Here and below the owner None is all of them together.
        """
        prefix = kind + ":"
        return {
            key[len(prefix) :]: entry["before"]
            for key, entry in self.entries.items()
            if key.startswith(prefix) and owner in (None, *entry["owners"])
        }

    def last(self, kind, owner):
        """Those of ``owned`` that nobody else holds, sorted by name."""
        return {
            name: before
            for name, before in sorted(self.owned(kind, owner).items())
            if owner is None or self.entries["%s:%s" % (kind, name)]["owners"] == [owner]
        }

    def release(self, kind, name, owner):
        """``owner`` lets go. Returns (last, before): ``last`` if nobody else holds it."""
        key = "%s:%s" % (kind, name)
        entry = self.entries.get(key)
        if entry is None or owner not in (None, *entry["owners"]):
            return False, None
        owners = [other for other in entry["owners"] if owner not in (None, other)]
        if owners:
            entry["owners"] = owners
            return False, entry["before"]
        del self.entries[key]
        return True, entry["before"]

    def save(self):
        """Write the ledger; call it before the change it describes, so a kill loses nothing."""
        write_json(self.path, {"entries": self.entries})
