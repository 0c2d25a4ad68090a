"""GridFTP's control channel: replies, GSI inside of them (RFC 2228), and commands under it."""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
import ssl
from dataclasses import dataclass

from cloudlet_deploy.smoke.answer import LONGEST, OperationError
from cloudlet_deploy.smoke.gsi import GsiChannel, GsiContext
from cloudlet_deploy.smoke.types import Endpoint, Failure
from cloudlet_deploy.smoke.wire import Wire

_CODE = re.compile(rb"([1-6][0-9]{2})[ -]")
_TOKEN = re.compile(rb"ADAT=(\S+)")
#: Replies that carry a protected one.
_PROTECTED = (b"631", b"632", b"633")
#: A handshake takes three.
_ROUNDS = 16


class GridFtpError(OperationError):
    """The server said no (BUSY, DENIED, STATUS), with this reply code."""

    def __init__(self, failure: Failure, detail: str, code: int) -> None:
        super().__init__(failure, detail)
        self.code = code


@dataclass(frozen=True, slots=True)
class Reply:
    """A code, and all lines as they came."""

    code: int
    text: bytes

    @property
    def words(self) -> str:
        """What it says, without codes; of Globus' long ones the cause."""
        text = self.text.decode("utf-8", "replace")
        said = re.findall(r"(?:GridFTP-Reason|GridFTP-Error-String): *([^\r\n]+)", text)
        if said:
            return ": ".join(said)
        return " ".join(re.sub(r"^\d{3}[ -]", "", line) for line in text.splitlines() if line)

    def error(self) -> GridFtpError:
        """It as the failure that it is."""
        failure = {421: Failure.BUSY, 530: Failure.DENIED, 535: Failure.DENIED}.get(
            self.code, Failure.STATUS
        )
        return GridFtpError(failure, f"{self.code} {self.words}", self.code)


class ControlChannel:
    """Commands and replies over a connection. Methods raise OSError and OperationError."""

    __slots__ = ("_channel", "_clear", "_plain", "_wire")

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._channel: GsiChannel | None = None
        #: What has arrived, as it is on the wire, and what came out of protected replies.
        self._clear = bytearray()
        self._plain = bytearray()

    def authenticate(self, endpoint: Endpoint, context: GsiContext) -> None:
        """From the banner to the last token."""
        self._expect(self.reply(), 220)
        self._wire.send(b"AUTH GSSAPI\r\n")
        self._expect(self.reply(), 334)
        channel = GsiChannel(context, endpoint.host)
        received = b""
        try:
            for _ in range(_ROUNDS):
                if channel.handshake(received):
                    break
                received = self._exchange(channel.pending())
            else:
                raise OperationError(Failure.TLS, "the handshake has no end")
        except (ssl.SSLError, OperationError):
            # The server's log is to say why we hang up.
            if alert := channel.pending():
                with contextlib.suppress(OSError):
                    self._wire.send(_adat(alert))
            raise
        # "No delegation"; what follows is protected.
        self._wire.send(_adat(channel.wrap(b"0")))
        self._expect(self.reply(), 235)
        self._channel = channel

    def _exchange(self, token: bytes) -> bytes:
        self._wire.send(_adat(token))
        answer = self.reply()
        self._expect(answer, 335)
        found = _TOKEN.search(answer.text)
        if found is None:
            raise OperationError(Failure.GARBAGE, f"a reply without a token: {answer.words}")
        return _decoded(found[1])

    def command(self, line: str, *expected: int) -> Reply:
        """Send a command and read its reply. Raises GridFtpError if it has none of these codes.

        The text is that of preliminary replies too: Globus sends a long listing in parts, all
        but the last as ``150``.
        """
        self.send(line)
        reply = self.reply()
        text = reply.text
        while 100 <= reply.code < 200:
            reply = self.reply()
            text += reply.text
            if len(text) > LONGEST:
                raise _too_long()
        self._expect(reply, *expected)
        return Reply(reply.code, text)

    def send(self, line: str) -> None:
        """Send a command. Raises OperationError (STATUS) if it would be two."""
        if "\r" in line or "\n" in line:
            raise OperationError(Failure.STATUS, "GridFTP has no paths with line breaks")
        data = line.encode("utf-8", "surrogateescape") + b"\r\n"
        if self._channel is not None:
            data = b"ENC " + base64.b64encode(self._channel.wrap(data)) + b"\r\n"
        self._wire.send(data)

    def reply(self) -> Reply:
        """The next reply, whatever its code."""
        line = self._line(first=True)
        found = _CODE.match(line)
        if found is None:
            raise _garbage(line)
        lines, size = [line], len(line)
        last = found[1] + b" "
        while not line.startswith(last):
            line = self._line(first=False)
            lines.append(line)
            size += len(line)
            if size > LONGEST:
                raise _too_long()
        return Reply(int(found[1]), b"".join(lines))

    @staticmethod
    def _expect(reply: Reply, *codes: int) -> Reply:
        if reply.code not in codes:
            raise reply.error()
        return reply

    def _line(self, *, first: bool) -> bytes:
        """One line of a reply with its end, taken out of a protected reply if it is in one."""
        channel = self._channel
        if channel is None:
            return self._raw_line(first=first)
        while (line := _taken(self._plain)) is None:
            if len(self._plain) > LONGEST:
                raise _too_long()
            raw = self._raw_line(first=True)
            if raw[:3] in _PROTECTED:
                self._plain += channel.unwrap(_decoded(raw[4:]))
            elif self._plain or not first:
                raise OperationError(Failure.GARBAGE, f"within a reply came {raw[:60]!r}")
            else:
                # In clear, as of a server that gives up.
                return raw
        return line

    def _raw_line(self, *, first: bool) -> bytes:
        while (line := _taken(self._clear)) is None:
            if first and len(self._clear) >= 4 and not _CODE.match(self._clear):
                raise _garbage(self._clear)
            if len(self._clear) > LONGEST:
                raise _too_long()
            received = self._wire.receive()
            if not received:
                raise OperationError(
                    Failure.CUT_OFF,
                    "it hung up within a reply" if self._clear else "it hung up without a reply",
                )
            self._clear += received
        return line


def _taken(buffer: bytearray) -> bytes | None:
    """The first line, taken out of the buffer; None if there is no whole one."""
    end = buffer.find(b"\n") + 1
    if end == 0:
        return None
    line = bytes(buffer[:end])
    del buffer[:end]
    return line


def _adat(token: bytes) -> bytes:
    return b"ADAT " + base64.b64encode(token) + b"\r\n"


def _decoded(token: bytes) -> bytes:
    try:
        return binascii.a2b_base64(token)
    except binascii.Error as exc:
        raise OperationError(Failure.GARBAGE, f"a token is not base64: {exc}") from exc


def _garbage(line: bytes | bytearray) -> OperationError:
    return OperationError(Failure.GARBAGE, f"it replied {bytes(line[:60])!r}")


def _too_long() -> OperationError:
    return OperationError(Failure.TOO_LONG, f"a reply of more than {LONGEST} bytes")
