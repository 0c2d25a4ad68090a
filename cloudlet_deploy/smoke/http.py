"""Reading one HTTP/1.1 answer, as small as a load client wants it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from cloudlet_deploy.smoke.answer import LONGEST, OperationError
from cloudlet_deploy.smoke.types import Failure

_LONGEST_HEAD = 65536
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})(?: ([^\r\n]*))?\r?\n")
_END = re.compile(rb"\r?\n\r?\n")
_LENGTH = re.compile(rb"\ncontent-length:[ \t]*([^\r\n]*?)[ \t]*(?=\r?\n)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\ntransfer-encoding:[^\r\n]*\bchunked", re.IGNORECASE)
_CLOSE = re.compile(rb"\nconnection:[^\r\n]*\bclose\b", re.IGNORECASE)
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")
_LONGEST_CHUNK_LINE = 1024


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """A status, its reason in words, the body, and whether the server hangs up now."""

    status: int
    reason: str
    body: bytearray
    closes: bool


def read_answer(receive: Callable[[], bytes]) -> HttpAnswer:
    """The next answer; ``receive`` gives at least one byte, or nothing at the end.

    Raises OperationError: CUT_OFF, TOO_LONG, GARBAGE. Never holds more than the longest answer and
    one received piece.
    """
    return _Reader(receive).answer()


class _Reader:
    def __init__(self, receive: Callable[[], bytes]) -> None:
        self._receive = receive
        self._data = bytearray()

    def _more(self) -> bool:
        piece = self._receive()
        self._data += piece
        return bool(piece)

    def answer(self) -> HttpAnswer:
        while True:
            head = self._head()
            status = _STATUS.match(head)
            if status is None:
                raise _garbage(head)
            if not 100 <= int(status[1]) < 200:
                break
        closes = _CLOSE.search(head) is not None or head.startswith(b"HTTP/1.0")
        if _CHUNKED.search(head):
            body = self._chunks()
        else:
            lengths = set(_LENGTH.findall(head))
            if lengths:
                body = self._exactly(_number(lengths))
            else:
                body, closes = self._rest(), True
                self._data = bytearray()
        reason = (status[2] or b"").decode("latin-1")
        # Bytes after the answer to the only request: nothing that follows could be trusted.
        return HttpAnswer(int(status[1]), reason, body, closes or bool(self._data))

    def _head(self) -> bytes:
        while (end := _END.search(self._data)) is None:
            if not b"HTTP/1.".startswith(self._data[:7]):
                raise _garbage(self._data)
            if len(self._data) > _LONGEST_HEAD:
                raise OperationError(Failure.GARBAGE, "the head of the HTTP answer has no end")
            if not self._more():
                raise OperationError(
                    Failure.CUT_OFF,
                    "it hung up within the head of its answer"
                    if self._data
                    else "it hung up without an answer",
                )
        head = bytes(self._data[: end.end()])
        del self._data[: end.end()]
        return head

    def _exactly(self, length: int) -> bytearray:
        if length > LONGEST:
            raise _too_long(f"an answer of {length} bytes")
        while len(self._data) < length:
            if not self._more():
                raise _cut_off(f"{len(self._data)} of {length} bytes")
        # The usual answer is not copied.
        if len(self._data) == length:
            body, self._data = self._data, bytearray()
            return body
        body = self._data[:length]
        del self._data[:length]
        return body

    def _rest(self) -> bytearray:
        while self._more():
            if len(self._data) > LONGEST:
                raise _too_long("an answer without an end")
        return self._data

    def _chunks(self) -> bytearray:
        body = bytearray()
        while (length := self._chunk_length()) > 0:
            if len(body) + length > LONGEST:
                raise _too_long("a chunked answer")
            while len(self._data) < length:
                if not self._more():
                    raise _cut_off(f"{len(body) + len(self._data)} bytes")
            body += self._data[:length]
            del self._data[:length]
            self._line_end(len(body))
        # Trailers, of which nobody here makes any, up to an empty line.
        while self._line(len(body)).strip():
            pass
        return body

    def _chunk_length(self) -> int:
        line = self._line(0)
        found = _CHUNK.fullmatch(line)
        if found is None:
            raise OperationError(Failure.GARBAGE, f"a chunk of the answer begins with {line!r}")
        return int(found[1], 16)

    def _line_end(self, so_far: int) -> None:
        line = self._line(so_far)
        if line.strip():
            raise OperationError(Failure.GARBAGE, f"a chunk of the answer ends with {line!r}")

    def _line(self, so_far: int) -> bytes:
        while (end := self._data.find(b"\n")) < 0:
            if len(self._data) > _LONGEST_CHUNK_LINE:
                raise OperationError(Failure.GARBAGE, "the answer has a chunk without a length")
            if not self._more():
                raise _cut_off(f"{so_far + len(self._data)} bytes")
        line = bytes(self._data[: end + 1])
        del self._data[: end + 1]
        return line


def _number(lengths: set[bytes]) -> int:
    """The one Content-Length. Two that differ are a server that cannot be read."""
    text = lengths.pop()
    if lengths or not text.isdigit() or len(text) > 15:
        raise OperationError(Failure.GARBAGE, f"its Content-Length is {text!r}")
    return int(text)


def _garbage(data: bytes | bytearray) -> OperationError:
    return OperationError(Failure.GARBAGE, f"it did not answer in HTTP: {bytes(data[:60])!r}")


def _too_long(what: str) -> OperationError:
    return OperationError(Failure.TOO_LONG, f"{what}; the longest that is read is {LONGEST}")


def _cut_off(what: str) -> OperationError:
    return OperationError(Failure.CUT_OFF, f"it hung up after {what} of its answer")
