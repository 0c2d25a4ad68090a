# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""The kernel's settings of a host: what they are, whether they can be set, and what ours are.

Python 3.9 and later.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re

from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import (
    Ledger,
    StateError,
)

KIND = "sysctl"
#: Where the kernel shows its settings as files.
TREE = "/proc/sys"
#: The file by which our settings come back at boot.
PATH = "/etc/sysctl.d/90-cloudlet.conf"
#: systemd writes here in which kind of container it runs; there is no such file on a machine.
_CONTAINER = "/run/systemd/container"
#: What a container has for itself begins so. All else it would change for its machine.
_OWN_OF_CONTAINER = "net."
_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_-]+)+")
_INTEGERS = re.compile(r"-?\d+( -?\d+)*")
_MODULES = {"net.netfilter": "nf_conntrack"}


class Refused(Exception):
    """A value cannot be had: which, why, and what to do; ``changes``: what was done of others."""

    def __init__(self, message, next_step, changes=()):
        super().__init__(message)
        self.next_step = next_step
        self.changes = list(changes)


def normal(value):
    """A value as it is compared: one blank between its words."""
    return " ".join(str(value).split())


def is_name(name):
    """Whether ``name`` can be that of a setting: it becomes a path."""
    return bool(_NAME.fullmatch(name))


def _path(name, tree):
    return os.path.join(tree, *name.split("."))


def read(name, tree=TREE):
    """The value in force, normalized; None if the kernel has no such setting here."""
    try:
        with open(_path(name, tree), encoding="utf-8", errors="replace") as stream:
            return normal(stream.read())
    except OSError:
        return None


def obstacle(name, tree=TREE):
    """Why ``name`` cannot be set on this host, in words; "" if it can. Changes nothing."""
    try:
        os.close(os.open(_path(name, tree), os.O_WRONLY | os.O_CLOEXEC))
    except OSError as exc:
        return _cause(name, exc)
    inside = container()
    if inside and not name.startswith(_OWN_OF_CONTAINER):
        return "it is the machine's, and the host is a container (%s) on it" % inside
    return ""


def write(name, value, tree=TREE):
    """Set ``name``. Returns why the kernel does not have exactly ``value`` now; "" if it does."""
    try:
        fd = os.open(_path(name, tree), os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
        try:
            os.write(fd, b"%s\n" % value.encode("utf-8"))
        finally:
            os.close(fd)
    except OSError as exc:
        return _cause(name, exc, writing=True)
    if read(name, tree) != value:
        return "the kernel took it and made %s of it" % read(name, tree)
    return ""


def container():
    """The kind of container that the host is; "" for a machine."""
    with contextlib.suppress(OSError), open(_CONTAINER, encoding="utf-8") as stream:
        return stream.read().strip()
    return ""


def _cause(name, exc, writing=False):
    inside = container()
    if exc.errno == errno.EROFS:
        why = "%s is read-only here" % TREE
        return "%s, as the host is a container (%s)" % (why, inside) if inside else why
    if exc.errno in (errno.EACCES, errno.EPERM):
        why = "the kernel does not let this host change it"
        return "%s, as it is a container (%s)" % (why, inside) if inside else why
    if exc.errno == errno.ENOENT and not writing:
        module = _MODULES.get(name.rpartition(".")[0])
        if inside:
            return "it does not exist in a container (%s)" % inside
        if module:
            return "it does not exist until the kernel module %s is loaded" % module
        return "this kernel has no such setting"
    # Without a module for it a queueing discipline is "not found", which says nothing here.
    if exc.errno in (errno.EINVAL, errno.ENOENT, errno.ERANGE):
        return "the kernel does not take this value"
    return exc.strerror


def with_maximum(name, maximum, tree=TREE):
    """The triple of ``name`` (least, default, greatest) with another greatest. Raises Refused."""
    found = read(name, tree)
    if found is None:
        return str(maximum)  # is refused with its cause, as any other that is not there
    numbers = found.split()
    if len(numbers) != 3 or not all(number.isdigit() for number in numbers):
        raise Refused(
            "%s is %r here, not three numbers" % (name, found),
            "Leave it out of the settings of this host.",
        )
    if int(maximum) < int(numbers[1]):
        raise Refused(
            "%s: the wanted maximum %s is below the default of a new socket, %s"
            % (name, maximum, numbers[1]),
            "Want at least %s, or leave it out." % numbers[1],
        )
    return " ".join([*numbers[:2], str(maximum)])


def parsed(text):
    """The settings that a file of ours says, by name."""
    lines = [line for line in text.splitlines() if "=" in line and not line.startswith("#")]
    pairs = (line.split("=", 1) for line in lines)
    return {name.strip(): normal(value) for name, value in pairs}


def of_generation(store, number):
    """The settings that generation ``number`` of the config set in ``store`` has."""
    try:
        with open(store.blob(number, PATH), encoding="utf-8") as stream:
            return parsed(stream.read())
    except FileNotFoundError:
        return {}


def checked(ledger):
    """``ledger``, if its entries of settings are what we write. Raises StateError."""
    prefix = KIND + ":"
    for key, entry in ledger.entries.items():
        if not key.startswith(prefix):
            continue
        whole = isinstance(entry, dict) and is_name(key[len(prefix) :])
        whole = whole and isinstance(entry.get("owners"), list) and entry["owners"]
        if not whole or not _is_value(entry.get("before")) or not _is_value(entry.get("note", "0")):
            raise StateError(
                "%s: the entry %s is not as it was written: it was damaged or edited"
                % (ledger.path, key)
            )
    return ledger


def _is_value(value):
    return isinstance(value, str) and value.isprintable() and value == normal(value) != ""


def alike(one, other):
    """Whether both are as many integers, or neither is any."""
    numbers = [bool(_INTEGERS.fullmatch(value)) for value in (one, other)]
    return numbers[0] == numbers[1] and (not numbers[0] or len(one.split()) == len(other.split()))


def behind(store, manifest):
    """Whether other settings were made last than those that the set's file has now.

    So it is when a run ended between the two. Raises StateError.
    """
    if PATH not in manifest["files"]:
        return False
    ledger = checked(Ledger(store.state_dir))
    notes = ledger.notes(KIND)
    made = {name: notes.get(name) for name in ledger.owned(KIND, store.name)}
    return made != of_generation(store, manifest["generation"])
