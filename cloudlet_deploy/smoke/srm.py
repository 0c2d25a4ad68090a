"""SRM v2.2 over httpg: TLS, the GSI byte, then HTTP/1.1 with SOAP."""

from __future__ import annotations

import contextlib
import time
from functools import lru_cache
from typing import Any

from cloudlet_deploy.site import plugins
from cloudlet_deploy.smoke import soap
from cloudlet_deploy.smoke.answer import Entry, OperationError
from cloudlet_deploy.smoke.gsi import GsiChannel, GsiContext
from cloudlet_deploy.smoke.http import read_answer
from cloudlet_deploy.smoke.session import Session
from cloudlet_deploy.smoke.types import Endpoint, Failure

#: "No delegation".
_GSI_BYTE = b"0"


class SrmSession(Session):
    """A connection to a door. After an error it is good for nothing but ``close``."""

    __slots__ = ("_channel", "_first")

    def __init__(
        self, endpoint: Endpoint, context: GsiContext, deadline: float, *, keep_alive: bool = False
    ) -> None:
        super().__init__(endpoint, context, deadline, keep_alive=keep_alive)
        self._channel: GsiChannel | None = None
        self._first = True

    def authenticate(self) -> None:
        """The TLS handshake: when it returns, the door has accepted our certificate."""
        wire = self._open_wire()
        self._channel = channel = GsiChannel(self._context, self._endpoint.host)
        received = b""
        try:
            while not channel.handshake(received):
                if pending := channel.pending():
                    wire.send(pending)
                received = wire.receive()
                if not received:
                    raise OperationError(Failure.TLS, "it hung up during the handshake")
        except Exception:
            self._tell(channel.pending())
            raise

    def ls(self, path: str) -> int:
        """List a directory with all details, one level; the number of its entries."""
        return soap.number_of_entries(self._call(_ls_request(self._endpoint, path, self._keep)))

    def entries(self, path: str) -> list[Entry]:
        """List a directory; what is in it."""
        return soap.entries_of(self._call(_ls_request(self._endpoint, path, self._keep)))

    def ping(self) -> None:
        """Ask for the door's version, which needs no mapping of our name."""
        soap.require_ping(self._call(_ping_request(self._endpoint, self._keep)))

    def close(self) -> None:
        """Hang up; a second call does nothing."""
        super().close()
        self._channel = None

    def _tell(self, alert: bytes) -> None:
        """Say why we hang up, if the door still listens."""
        if alert and self._wire is not None:
            with contextlib.suppress(OSError):
                self._wire.send(alert)

    def _call(self, request: bytes) -> bytearray:
        wire, channel = self._open_wire(), self._channel
        if channel is None:
            raise RuntimeError("the session is not authenticated")
        # The byte is a record of its own, as Globus sends it, in the packet of the request.
        records = channel.wrap(_GSI_BYTE) if self._first else b""
        self._first = False
        wire.send(records + channel.wrap(request))
        answer = read_answer(self._receive)
        self.answered = time.perf_counter()
        if answer.closes:
            self._keep = False
        if answer.status != 200 and b"Envelope" not in answer.body[:2000]:
            raise OperationError(Failure.STATUS, f"HTTP {answer.status} {answer.reason}")
        return answer.body

    def _receive(self) -> bytes:
        wire, channel = self._open_wire(), self._channel
        assert channel is not None
        while not channel.ended:
            received = wire.receive()
            if not received:
                break
            if data := channel.unwrap(received):
                return data
            if pending := channel.pending():
                wire.send(pending)
        return b""


@lru_cache(maxsize=1024)
def _ls_request(endpoint: Endpoint, path: str, keep_alive: bool) -> bytes:
    probe: Any = plugins.load("module_utils/srm_probe")
    call = probe.ls_call(probe.surl_of(endpoint, path), levels=1, detailed=True)
    return bytes(probe.request(endpoint.host, endpoint.port, call, close=not keep_alive))


@lru_cache(maxsize=64)
def _ping_request(endpoint: Endpoint, keep_alive: bool) -> bytes:
    probe: Any = plugins.load("module_utils/srm_probe")
    call = probe.ping_call()
    return bytes(probe.request(endpoint.host, endpoint.port, call, close=not keep_alive))
