"""A TCP connection that keeps one deadline, whatever is done on it.

Looks names of ``socket`` up when it is called, so it works under gevent's monkey patching too.
"""

from __future__ import annotations

import contextlib
import socket
import time
from functools import lru_cache
from typing import Any

#: What one receive takes at most: four TLS records.
_PIECE = 65536


class Wire:
    """A connection to ``address``; methods raise OSError, and TimeoutError after ``deadline``.

    ``deadline`` is a time of ``time.monotonic()``. It holds for all calls together and not for
    each, so a server that drips bytes cannot keep anybody.
    """

    __slots__ = ("_socket", "deadline")

    def __init__(self, address: str, port: int, deadline: float) -> None:
        self.deadline = deadline
        self._socket = self._connected(address, port)

    def _connected(self, address: str, port: int) -> socket.socket:
        *others, (family, last) = _addresses(address, port)
        for one, where in others:
            with contextlib.suppress(OSError):
                return self._connect(one, where)
        return self._connect(family, last)

    def _connect(self, family: int, where: tuple[Any, ...]) -> socket.socket:
        made = socket.socket(family, socket.SOCK_STREAM)
        try:
            made.settimeout(self._left())
            made.connect(where)
            # A request is one send; what waits for acknowledgment would only be late.
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            made.close()
            raise
        return made

    def _left(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    @property
    def peer(self) -> str:
        """The address at the other end, in figures."""
        return str(self._socket.getpeername()[0])

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self._socket.settimeout(self._left())
        self._socket.sendall(data)

    def receive(self) -> bytes:
        """What has arrived, at least one byte; nothing if the peer has ended."""
        self._socket.settimeout(self._left())
        return self._socket.recv(_PIECE)

    def is_silent(self) -> bool:
        """Whether the peer has neither ended nor said anything that nobody read."""
        self._socket.settimeout(0)
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        """Hang up; a second call does nothing."""
        self._socket.close()


@lru_cache(maxsize=256)
def _addresses(address: str, port: int) -> tuple[tuple[int, tuple[Any, ...]], ...]:
    """Families and socket addresses of a name, asked once in a process.

    The resolver keeps no deadline but its own. Figures do not go there at all: gevent asks it in
    a thread, which would cost more than the whole handshake.
    """
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):
            socket.inet_pton(family, address)
            return ((family, (address, port)),)
    found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)
    return tuple((int(family), where) for family, _, _, _, where in found)
