"""A process that a reading takes for a HotSpot JVM: run it as a program.

Like the real one it has a libjvm.so mapped, takes SIGQUIT, and then looks for a file that only
its own account can have made; to others it does not talk (Java 8 hangs up on root too).

Arguments: the path of a file to map, and what it does: answers, refuses, silent, ignorant (does
not take the signal). Says "ready" once it may be asked, and "asked" for each SIGQUIT.
"""

from __future__ import annotations

import mmap
import os
import signal
import socket
import struct
import sys
from pathlib import Path

FLAGS = """\
[Global flags]
     intx ActiveProcessorCount      = -1                 {product} {default}
ccstrlist OnError                   =                    {product} {default}
   size_t MaxHeapSize               = 536870912          {product} {command line}
    uintx OldStyle                 := 7                  {product}
     intx ThreadStackSize           = 256             {pd product} {command line}
"""
VERSION = "OpenJDK 64-Bit Server VM version 17.0.13+11-Debian\nJDK 17.0.13\n"


class Jvm:
    """The state of the stand-in."""

    def __init__(self, library: str, manner: str) -> None:
        with Path(library).open("rb") as stream:
            self.mapped = mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ)
        self.manner = manner
        self.listener: socket.socket | None = None

    def asked(self, *_: object) -> None:
        """SIGQUIT."""
        print("asked", flush=True)
        wish = Path(f"/tmp/.attach_pid{os.getpid()}")
        trusted = wish.exists() and wish.stat().st_uid == os.geteuid()
        if self.manner != "silent" and trusted and self.listener is None:
            path = Path(f"/tmp/.java_pid{os.getpid()}")
            self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.listener.bind(f"{path}.tmp")
            self.listener.listen(1)
            Path(f"{path}.tmp").chmod(0o600)
            Path(f"{path}.tmp").rename(path)

    def serve(self) -> None:
        """Answer for ever."""
        while True:
            if self.listener is None:
                signal.pause()
                continue
            talk, _ = self.listener.accept()
            with talk:
                peer = talk.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
                if struct.unpack("3i", peer)[1:] == (os.geteuid(), os.getegid()):
                    self.answer(talk)

    def answer(self, talk: socket.socket) -> None:
        """One request: version, operation and three arguments, each with its zero."""
        said = b""
        while said.count(b"\0") < 5:
            said += talk.recv(1000)
        version, operation, command, *rest = said.decode().split("\0")
        assert (version, operation, rest) == ("1", "jcmd", ["", "", ""]), said
        if self.manner == "refuses":
            talk.sendall(b"1\njava.lang.IllegalArgumentException: Unknown diagnostic command\n")
            return
        talk.sendall(b"0\n")
        talk.sendall({"VM.flags -all": FLAGS, "VM.version": VERSION}[command].encode())


if __name__ == "__main__":
    jvm = Jvm(*sys.argv[1:3])
    if jvm.manner != "ignorant":
        signal.signal(signal.SIGQUIT, jvm.asked)
    print("ready", flush=True)
    jvm.serve()
