"""GridFTP without data channels: listings over the control channel, and what makes directories."""

from __future__ import annotations

import re
import time

from cloudlet_deploy.smoke.answer import Entry, OperationError
from cloudlet_deploy.smoke.control import ControlChannel, GridFtpError, Reply
from cloudlet_deploy.smoke.gsi import GsiContext
from cloudlet_deploy.smoke.session import Session
from cloudlet_deploy.smoke.types import Endpoint, Failure
from cloudlet_deploy.smoke.wire import Wire

__all__ = ["GridFtpError", "GridFtpSession", "entries_of"]

_EPSV = re.compile(rb"\(\|\|\|(\d{1,5})\|\)")
_PASV = re.compile(rb"\d{1,3},\d{1,3},\d{1,3},\d{1,3},(\d{1,3}),(\d{1,3})")
_TYPES = {b"file": "FILE", b"dir": "DIRECTORY"}
#: The directory itself and the one above it.
_SELVES = (b"cdir", b"pdir")


class GridFtpSession(Session):
    """A control connection.

    After OperationError of STATUS it goes on; after all else it is good for nothing but ``close``.
    Paths are absolute.
    """

    __slots__ = ("_control",)

    def __init__(
        self, endpoint: Endpoint, context: GsiContext, deadline: float, *, keep_alive: bool = False
    ) -> None:
        super().__init__(endpoint, context, deadline, keep_alive=keep_alive)
        self._control: ControlChannel | None = None

    def authenticate(self) -> None:
        """From the server's banner to an account: the GSI handshake and the gridmap."""
        control = ControlChannel(self._open_wire())
        control.authenticate(self._endpoint, self._context)
        if control.command("USER :globus-mapping:", 331, 230, 232).code == 331:
            control.command("PASS dummy", 230, 202)
        self._control = control

    def ls(self, path: str) -> int:
        """List a directory; the number of its entries."""
        return len(self.entries(path))

    def entries(self, path: str) -> list[Entry]:
        """List a directory; what is in it."""
        reply = self._commands().command(f"MLSC {path}", 250)
        self.answered = time.perf_counter()
        return entries_of(reply, path)

    def make_directory(self, path: str) -> None:
        """Make one directory; its parent must be there."""
        self._commands().command(f"MKD {path}", 257, 250)

    def remove_directory(self, path: str) -> None:
        """Remove an empty directory."""
        self._commands().command(f"RMD {path}", 250)

    def delete(self, path: str) -> None:
        """Remove a file."""
        self._commands().command(f"DELE {path}", 250)

    def store_empty(self, path: str) -> None:
        """Store a file without a byte, over a data channel that is opened and closed at once."""
        control = self._commands()
        # Nothing goes over it, so nobody need prove on it who he is.
        control.command("DCAU N", 200)
        control.command("TYPE I", 200)
        data = Wire(self._open_wire().peer, self._data_port(control), self._deadline)
        try:
            control.send(f"STOR {path}")
            reply = control.reply()
        finally:
            data.close()
        # Only now can the transfer, of which the server has told the begin, come to its end.
        while 100 <= reply.code < 200:
            reply = control.reply()
        if reply.code not in (226, 250):
            raise reply.error()

    def close(self) -> None:
        """Hang up; a second call does nothing."""
        super().close()
        self._control = None

    def _commands(self) -> ControlChannel:
        if self._control is None:
            raise RuntimeError("the session is not authenticated")
        return self._control

    @staticmethod
    def _data_port(control: ControlChannel) -> int:
        """The port of a new passive data channel. Its address is not asked for: it is the server's.

        A server behind address translation tells one that leads nowhere, and one that is up to no
        good could have us connect elsewhere.
        """
        control.send("EPSV")
        reply = control.reply()
        if reply.code == 229 and (found := _EPSV.search(reply.text)):
            return _port(int(found[1]))
        if reply.code < 500:
            raise reply.error()
        reply = control.command("PASV", 227)
        if found := _PASV.search(reply.text):
            return _port(int(found[1]) * 256 + int(found[2]))
        raise OperationError(Failure.GARBAGE, f"no port: {reply.words}")


def entries_of(reply: Reply, path: str) -> list[Entry]:
    """The entries in a reply to MLSC, without the directory itself. Raises OperationError."""
    base = path.rstrip("/")
    found = []
    for line in reply.text.split(b"\n"):
        if not line.startswith(b" "):
            continue
        facts, separator, name = line[1:].rstrip(b"\r").partition(b" ")
        if not separator or not facts.endswith(b";"):
            raise OperationError(Failure.GARBAGE, f"a line of the listing is {line[:60]!r}")
        kind, size = b"", 0
        for fact in facts.split(b";"):
            key, _, value = fact.partition(b"=")
            key = key.lower()
            if key == b"type":
                kind = value.lower()
            elif key == b"size" and value.isdigit():
                size = int(value[:20])
        if kind not in _SELVES:
            told = name.decode("utf-8", "surrogateescape")
            where = told if told.startswith("/") else f"{base}/{told}"
            type_ = _TYPES.get(kind, "LINK")
            found.append(Entry(where, 0 if type_ == "DIRECTORY" else size, type_))
    return found


def _port(number: int) -> int:
    if not 1 <= number <= 65535:
        raise OperationError(Failure.GARBAGE, f"a data channel at port {number}")
    return number
