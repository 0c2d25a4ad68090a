"""One operation against a server of the tests, within its time."""

from __future__ import annotations

import socket
import time

from cloudlet_deploy.smoke.gsi import GsiContext
from cloudlet_deploy.smoke.outcome import Outcome, perform
from cloudlet_deploy.smoke.types import Endpoint, Kind
from tests.unit.smoke_answers import ls
from tests.unit.smoke_servers import (
    Server,
    http,
)

ENTRIES = [("/d/a", 1, "FILE"), ("/d/b", 0, "DIRECTORY")]
GOOD = http(ls(ENTRIES))
FAULT = b"<Envelope><Body><Fault><faultstring>No\nway</faultstring></Fault></Body></Envelope>"
TOO_LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n"
#: Seconds that a hanging server may take of an operation with this timeout, and of a test.
SHORT, BOUND = 0.4, 5.0


def ask(
    where: Server | Endpoint,
    ours: GsiContext,
    kind: Kind = Kind.LS,
    timeout: float = 10.0,
    path: str = "/d",
) -> Outcome:
    """One operation, which takes no longer than it may."""
    endpoint = where.endpoint if isinstance(where, Server) else where
    began = time.monotonic()
    found = perform(kind, endpoint, ours, path, timeout)
    assert time.monotonic() - began < min(timeout, BOUND) + 1
    assert (found.failure is None) == (found.detail == "")
    assert found.detail.isprintable() and len(found.detail) <= 240
    return found


def nobody() -> Endpoint:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return Endpoint("localhost", free.getsockname()[1], "127.0.0.1")


def silent(plain: socket.socket) -> None:
    while plain.recv(4096):
        pass
