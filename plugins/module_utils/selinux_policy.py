# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""SELinux of a host: its mode, what its policy knows, and the local changes to it.

All is read from files, which takes milliseconds, where ``semanage export`` takes seconds; all
changes but those of live booleans and equivalents go through one transaction (selinux_commit).
Values are plain data: of a boolean ``{"live": bool, "kept": bool}`` (``kept`` is what the store
has for the next boot), of a context or port a whole context, of an equivalent the path that it is
like, of a policy module its text in CIL, of a login ``USER:LEVELS``. None stands for "no local
entry". Python 3.9 and later.
"""

from __future__ import annotations

import bz2
import contextlib
import difflib
import glob
import json
import os
import re
import subprocess
import sys

from ansible_collections.cloudlet.deploy.plugins.module_utils import selinux_commit
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import (
    SELINUX_LABEL,
    write_atomically,
)

BOOLEAN, CONTEXT, EQUIVALENT = "boolean", "context", "equivalent"
PORT, MODULE, LABEL, LOGIN = "port", "policy-module", "label", "login"
#: In the order in which they are changed and told.
KINDS = (MODULE, BOOLEAN, CONTEXT, EQUIVALENT, PORT, LOGIN)
ENFORCING, PERMISSIVE, DISABLED = "enforcing", "permissive", "disabled"

_PYTHONS = ("/usr/libexec/platform-python", "/usr/bin/python3")
_PRIORITY = str(selinux_commit.PRIORITY)
#: A transaction compiles the whole policy: 6 to 70 s on emulated processors.
_PATIENCE = 600
#: How alike two names must be for one to be a slip for the other.
_ALIKE = 0.85


class Refused(Exception):
    """Something cannot be had: what, why, and what to do; ``changes``: what was done of others."""

    def __init__(self, message, next_step, changes=()):
        super().__init__(message)
        self.next_step = next_step
        self.changes = list(changes)


class Policy:
    """The policy of the host whose files are below ``root``."""

    def __init__(self, root="/"):
        self.root = root
        config = self._settings("etc/selinux/config")
        self.configured = config.get("SELINUX", DISABLED).lower()
        self.type = config.get("SELINUXTYPE", "targeted")
        self.mode = self._mode()

    def path(self, *parts):
        return os.path.join(self.root, *parts)

    def _kernel(self, *parts):
        return self.path("sys/fs/selinux", *parts)

    def store(self, *parts):
        """A file of the local changes to the policy."""
        return self.path("var/lib/selinux", self.type, "active", *parts)

    def files(self, *parts):
        """A file that says how files are labeled."""
        return self.path("etc/selinux", self.type, "contexts/files", *parts)

    def _settings(self, name):
        pairs = (line.split("=", 1) for line in self._lines(self.path(name)) if "=" in line)
        return {key.strip(): value.strip() for key, value in pairs}

    def _mode(self):
        enforce = _read(self._kernel("enforce"))
        # In a container the kernel's files are those of its machine, read-only.
        if not enforce or os.statvfs(self._kernel("enforce")).f_flag & os.ST_RDONLY:
            return DISABLED
        return ENFORCING if enforce.strip() == "1" else PERMISSIVE

    @property
    def live(self):
        """Whether the kernel has the policy loaded."""
        return self.mode != DISABLED

    @staticmethod
    def _lines(path):
        return [
            line.strip() for line in _read(path).splitlines() if line.strip() and line[0] != "#"
        ]

    # --- what is there ----------------------------------------------------------------------

    def found(self, kind):
        """All local entries of a kind but modules, by name: of booleans what is kept."""
        if kind == BOOLEAN:
            pairs = (line.split("=", 1) for line in self._lines(self.store("booleans.local")))
            return {name: value.strip() == "1" for name, value in pairs}
        if kind == CONTEXT:
            # With a type of file in between it is another entry, and none of ours.
            words = (line.split() for line in self._lines(self.store("file_contexts.local")))
            return {one[0]: one[1] for one in words if len(one) == 2}
        if kind == EQUIVALENT:
            return self._pairs("file_contexts.subs")
        if kind == LOGIN:
            entries = (line.split(":", 1) for line in self._lines(self.store("seusers.local")))
            return {one[0]: one[1] for one in entries if len(one) == 2}
        # portcon tcp 9000 - 9010 CONTEXT
        words = (line.split() for line in self._lines(self.store("ports.local")))
        return {
            "%s/%s" % (one[1], "".join(one[2:-1])): one[-1]
            for one in words
            if one[0] == "portcon" and len(one) > 3
        }

    def now(self, kind, name):
        """The present value of one thing."""
        if kind == BOOLEAN:
            return {"live": self.boolean(name), "kept": self.found(BOOLEAN).get(name)}
        return self.module(name) if kind == MODULE else self.found(kind).get(name)

    def _pairs(self, name):
        words = (line.split() for line in self._lines(self.files(name)))
        return {one[0]: one[1] for one in words if len(one) == 2}

    def given(self):
        """The equivalents that the policy itself has."""
        return self._pairs("file_contexts.subs_dist")

    def boolean(self, name):
        """The boolean's value in force; None if the kernel knows none of that name."""
        words = _read(self._kernel("booleans", name)).split()
        return words[0] == "1" if words else None

    def module(self, name):
        """The text of our priority's module of that name. Raises Refused for one not in CIL."""
        directory = self.store("modules", _PRIORITY, name)
        if not os.path.isdir(directory):
            return None
        if _read(os.path.join(directory, "lang_ext")).strip() != "cil":
            raise Refused(
                "policy module %s: there is another one of that name, and not in CIL" % name,
                "Remove it (semodule -X %s -r %s) if it is not wanted, or name ours otherwise."
                % (_PRIORITY, name),
            )
        with open(os.path.join(directory, "cil"), "rb") as stream:
            data = stream.read()
        return (bz2.decompress(data) if data.startswith(b"BZh") else data).decode("utf-8")

    def hides(self, name):
        """The other priorities at which there is a module of that name."""
        paths = glob.glob(self.store("modules", "*", glob.escape(name)))
        numbers = {os.path.basename(os.path.dirname(path)) for path in paths}
        return sorted(number for number in numbers - {_PRIORITY} if number.isdigit())

    def context(self, type_):
        """The whole context of a file or port of that type."""
        levels = _read(self._kernel("mls")).strip() == "1"
        return "system_u:object_r:%s%s" % (type_, ":s0" if levels else "")

    def knows(self, type_):
        """Whether the kernel takes a context of that type."""
        try:
            fd = os.open(self._kernel("context"), os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return True  # nothing can be asked
        try:
            os.write(fd, self.context(type_).encode("utf-8") + b"\0")
        except OSError:
            return False
        finally:
            os.close(fd)
        return True

    def likely(self, kind, name):
        """What ``name``, of a boolean or type, may be a slip for; "" if for nothing known."""
        if kind == BOOLEAN:
            with contextlib.suppress(OSError):
                close = difflib.get_close_matches(
                    name, os.listdir(self._kernel("booleans")), 1, _ALIKE
                )
                return close[0] if close else ""
            return ""
        text = _read(self.files("file_contexts"))
        close = difflib.get_close_matches(name, set(re.findall(r":(\w+_t)\b", text)), 1, _ALIKE)
        return close[0] if close else ""

    # --- changes ----------------------------------------------------------------------------

    def commit(self, wanted):
        """Change the store, all at once or not at all. Raises Refused.

        ``wanted`` is as of ``selinux_commit.commit``.
        """
        here = os.path.abspath(__file__)
        root = here[: here.rindex("/ansible_collections/")]
        # Not by PYTHONPATH: what Ansible packs modules in has a sitecustomize of its own.
        program = "import sys; sys.path.insert(0, %r); from %s import main; sys.exit(main())" % (
            root,
            selinux_commit.__name__,
        )
        for python in dict.fromkeys([sys.executable, *_PYTHONS]):
            if not python or not os.path.exists(python):
                continue
            try:
                done = subprocess.run(
                    [python, "-B", "-c", program],
                    input=json.dumps(wanted).encode("utf-8"),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    timeout=_PATIENCE,
                    cwd="/",
                    env=dict(os.environ, LC_ALL="C"),
                    check=False,
                )
            except subprocess.TimeoutExpired as exc:
                raise Refused(
                    "the policy was not changed within %d s" % _PATIENCE,
                    "See whether another program changes it ('fuser /var/lib/selinux/*/*.LOCK').",
                ) from exc
            if done.returncode == 0:
                return
            if done.returncode < 0:
                raise Refused(
                    "the policy was not changed: signal %d ended it" % -done.returncode,
                    "Run this again; what was begun is thrown away then.",
                )
            if done.returncode != selinux_commit.NO_BINDINGS:
                raise Refused(
                    "the policy was not changed: %s" % _complaint(done.stderr),
                    "Correct what it names; all is as it was.",
                )
        raise Refused(
            "the policy cannot be changed: there is no Python with libsemanage",
            "Install python3-semanage (Debian) or python3-libsemanage (EL) on the host.",
        )

    def set_live(self, values):
        """Give booleans their values in the running kernel, all at once."""
        for name, value in values.items():
            _write(self._kernel("booleans", name), b"1" if value else b"0")
        if values:
            _write(self._kernel("commit_pending_bools"), b"1")

    def set_equivalents(self, wanted):
        """Change lines of the host's equivalents; others stay as they are."""
        if not wanted:
            return
        path, text = self.files("file_contexts.subs"), self.equivalents_text(wanted)
        if not text:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            return
        write_atomically(path, text.encode("utf-8"), 0o644)
        # What is made here would get the label of the directory.
        copy_label(self.files("file_contexts"), path)

    def equivalents_text(self, wanted):
        """What the file of equivalents is with ``wanted``."""
        lines = [
            line
            for line in _read(self.files("file_contexts.subs")).splitlines()
            if (line.split() or [""])[0] not in wanted
        ]
        lines += ["%s %s" % pair for pair in wanted.items() if pair[1] is not None]
        return "".join(line + "\n" for line in lines)

    def contexts_text(self, wanted):
        """What the file of local contexts is with ``wanted``, for our looks ahead."""
        lines = [
            line
            for line in self._lines(self.store("file_contexts.local"))
            if len(line.split()) != 2 or line.split()[0] not in wanted
        ]
        lines += ["%s    %s" % pair for pair in wanted.items() if pair[1] is not None]
        return "".join(line + "\n" for line in lines)


def copy_label(source, target):
    """Label ``target`` as ``source`` is, where there are labels."""
    with contextlib.suppress(OSError):
        label = os.getxattr(source, SELINUX_LABEL)
        os.setxattr(target, SELINUX_LABEL, label)


def _read(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def _write(path, data):
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def _complaint(data):
    """The end of what libsemanage said, without what it says on every host."""
    lines = [line.strip() for line in data.decode("utf-8", "replace").splitlines()]
    lines = [line for line in lines if line and "not in password file" not in line]
    return "; ".join(lines[-4:]) or "libsemanage did not say why"
