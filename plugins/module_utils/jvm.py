# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""What a running HotSpot JVM says of itself, by its attach protocol.

Hosts have a Java runtime and none of the tools of a development kit, so this is what those do:
a file that only the JVM's own account can have made, and a SIGQUIT, make the JVM listen on a
socket; there it takes commands. Whatever is not certainly such a JVM would die of the signal,
and gets none. Runs on Python 3.9 and later.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import stat
import struct
import time

from ansible_collections.cloudlet.deploy.plugins.module_utils import processes
from ansible_collections.cloudlet.deploy.plugins.module_utils.processes import ProcessError

#: Seconds that a JVM gets for its answers.
PATIENCE = 5
#: Bytes of one answer at most; all flags are about a hundred thousand.
_LONGEST = 1 << 22
_PAUSE = 0.02
_LIBRARY = ("/libjvm.so", "/libjvm.so (deleted)")
#: OpenJ9 has a libjvm.so too, and takes the signal for the wish to dump.
_OTHER_LIBRARY = re.compile(r"/libj9vm\d*\.so")
_DEAF = b"-XX:+DisableAttachMechanism"
_FLAG = re.compile(r"^[ \t]*\S+[ \t]+(\w+)[ \t]*[:+]?=[ \t]*([^\n]*?)[ \t]*\{", re.MULTILINE)
_MAJOR = re.compile(r"(?:\bJDK |\bversion \"|^openjdk |^java )(\d+)(?:\.(\d+))?", re.MULTILINE)


class Told:
    """What a JVM told: its flags by name, as text, and its Java version (17; None: unknown)."""

    def __init__(self, flags, version):
        self.flags = flags
        self.version = version


def look(pid, proc=processes.PROC, seconds=PATIENCE):
    """A ``Told`` of the process, or None if it is no HotSpot JVM. Raises ProcessError."""
    answers = ask(pid, ("VM.flags -all", "VM.version"), proc, seconds)
    return answers and Told(flags_of(answers[0]), major_of(answers[1]))


def flags_of(answer):
    """The flags in an answer to ``VM.flags -all``: {name: value as text}."""
    return dict(_FLAG.findall(answer))


def major_of(words):
    """The major version in what Java says of itself, 8 for both 1.8 and 8; None if none is."""
    found = _MAJOR.search(words)
    if found is None:
        return None
    return int(found.group(2) if found.group(1) == "1" and found.group(2) else found.group(1))


def ask(pid, commands, proc=processes.PROC, seconds=PATIENCE):
    """Answers to diagnostic commands, or None if the process is no HotSpot JVM.

    Raises ProcessError where it does not answer, or cannot be made to without harm.
    """
    try:
        # From here on a signal reaches this very process, or none at all.
        handle = os.pidfd_open(pid)
    except (AttributeError, OSError) as exc:
        raise ProcessError("process %d cannot be held: %s" % (pid, exc)) from exc
    try:
        return processes.as_owner(
            pid, lambda: _Attached(pid, handle, proc, seconds).answers(commands), seconds, proc
        )
    finally:
        os.close(handle)


class _Attached:
    """The talk with one JVM, by a process with the JVM's own ids."""

    def __init__(self, pid, handle, proc, seconds):
        self._pid = pid
        self._handle = handle
        self._proc = proc
        self._base = "%s/%d" % (proc, pid)
        self._deadline = time.monotonic() + seconds
        self._seconds = seconds
        # The JVM's own number and directory, whatever namespaces it has.
        inner = processes.status(pid, proc).get("NSpid", str(pid)).split()[-1]
        tmp = os.path.join(self._base, "root", "tmp")
        self._socket = os.path.join(tmp, ".java_pid" + inner)
        self._request = os.path.join(tmp, ".attach_pid" + inner)

    def answers(self, commands):
        """One answer per command, or None."""
        if not self._is_hotspot():
            return None
        if not os.path.lexists(self._socket):
            self._refuse_what_would_not_answer()
            self._wake()
        return [self._answer(command) for command in commands]

    def _is_hotspot(self):
        path = self._base + "/maps"
        try:
            with open(path, encoding="utf-8", errors="replace") as stream:
                # A server with thousands of threads has as many lines and more.
                lines = [line.rstrip("\n") for line in stream if "/lib" in line and "j" in line]
        except OSError as exc:
            raise ProcessError("%s cannot be read: %s" % (path, exc.strerror)) from exc
        there = any(line.endswith(_LIBRARY) for line in lines)
        return there and not any(_OTHER_LIBRARY.search(line) for line in lines)

    def _refuse_what_would_not_answer(self):
        caught = int(processes.status(self._pid, self._proc).get("SigCgt", "0"), 16)
        if not caught >> (signal.SIGQUIT - 1) & 1:
            raise ProcessError("the JVM cannot be asked: it is starting, or was started with -Xrs")
        for name in ("cmdline", "environ"):
            with contextlib.suppress(OSError), open(os.path.join(self._base, name), "rb") as stream:
                if _DEAF in stream.read():
                    raise ProcessError("the JVM refuses to be asked (-XX:+DisableAttachMechanism)")

    def _wake(self):
        """Make the JVM listen."""
        made = False
        try:
            flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
            try:
                os.close(os.open(self._request, flags, 0o600))
                made = True
            except FileExistsError:  # another asks at the same time, or was killed while it did
                pass
            signal.pidfd_send_signal(self._handle, signal.SIGQUIT)
            while not os.path.lexists(self._socket):
                if time.monotonic() > self._deadline:
                    raise self._silent()
                time.sleep(_PAUSE)
        except OSError as exc:
            raise ProcessError("the JVM cannot be asked: %s" % exc) from exc
        finally:
            if made:
                with contextlib.suppress(OSError):
                    os.unlink(self._request)

    def _answer(self, command):
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as talk:
                talk.settimeout(self._left())
                self._connect(talk)
                # Version of the protocol, operation, and always three arguments.
                parts = ("1", "jcmd", command, "", "")
                talk.sendall("".join(part + "\0" for part in parts).encode())
                said = self._received(talk)
        except socket.timeout as exc:
            raise self._silent() from exc
        except OSError as exc:
            raise ProcessError("the JVM does not answer: %s" % exc) from exc
        code, _, answer = said.decode("utf-8", "replace").partition("\n")
        if code.strip() != "0":
            words = " ".join(answer.split())[:200]
            raise ProcessError("the JVM refused %s: code %s %s" % (command, code, words))
        return answer

    def _connect(self, talk):
        """Anyone can make a socket in /tmp: only the process itself is listened to."""
        if not stat.S_ISSOCK(os.lstat(self._socket).st_mode):
            raise ProcessError("%s is no socket" % self._socket)
        talk.connect(self._socket)
        peer = talk.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        if struct.unpack("3i", peer)[0] != self._pid:
            raise ProcessError("another process listens at %s" % self._socket)

    def _received(self, talk):
        parts, size = [], 0
        while size <= _LONGEST:
            talk.settimeout(self._left())
            part = talk.recv(1 << 16)
            if not part:
                return b"".join(parts)
            parts.append(part)
            size += len(part)
        raise ProcessError("the JVM's answer has no end")

    def _left(self):
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise self._silent()
        return left

    def _silent(self):
        return ProcessError("the JVM does not answer within %d s" % self._seconds)
