"""A VNC server of the tests', and a client to it through ``portal_relay``."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from ansible_collections.cloudlet.deploy.plugins.module_utils.portal_relay import Relay

OLD, LIST, NEWEST = b"RFB 003.003\n", b"RFB 003.007\n", b"RFB 003.008\n"
NONE, PASSWORD, VENCRYPT = 1, 2, 19
CHALLENGE, ANSWER, SCREEN = b"c" * 16, b"a" * 16, b"what ServerInit says"
KEY, POINTER = b"\4\1\0\0\0\0\0a", b"\5\1\0\7\0\7"
UPDATE = b"\3\1\0\0\0\0\4\0\3\0"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Instrument:
    """A VNC server that keeps what it got; without a version it says nothing of itself."""

    version: bytes = NEWEST
    types: tuple[int, ...] = (NONE,)
    #: What it sends after the beginning, and after the client's end.
    sends: bytes = b""
    farewell: bytes = b""
    stays: bool = False
    began: bytes = b""
    got: bytearray = field(default_factory=bytearray)
    sent: int = 0
    ended: bool = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.version:
                await self._begin(reader, writer)
            for start in range(0, len(self.sends), 1 << 16):
                writer.write(self.sends[start : start + (1 << 16)])
                await writer.drain()
                self.sent = start
            while data := await reader.read(4096):
                self.got += data
            self.ended = True
            writer.write(self.farewell)
            if self.stays:
                await asyncio.sleep(60)
        except (OSError, asyncio.IncompleteReadError):
            self.ended = True
        finally:
            writer.close()

    async def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(self.version)
        chosen = await reader.readexactly(12)
        if chosen == OLD:
            kind = self.types[0]
            writer.write(struct.pack(">I", kind))
        else:
            writer.write(bytes([len(self.types), *self.types]))
            if not self.types:
                writer.write(struct.pack(">I", 4) + b"busy")
                raise ConnectionError
            kind = (await reader.readexactly(1))[0]
        self.began = chosen + bytes([kind])
        if kind == PASSWORD:
            writer.write(CHALLENGE)
            self.began += await reader.readexactly(16)
        if chosen == NEWEST or kind == PASSWORD:
            writer.write(bytes(4))
        self.began += await reader.readexactly(1)
        writer.write(SCREEN)


def port_of(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


@asynccontextmanager
async def connected(
    instrument: Instrument, *, view: bool = False, idle: float = 0
) -> AsyncIterator[Streams]:
    """A client's streams to the relay before the instrument."""
    there = await asyncio.start_server(instrument.serve, "127.0.0.1", 0)
    relay = Relay("127.0.0.1", port_of(there), view, idle)
    gate = await asyncio.start_server(relay.serve, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(gate))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        gate.close()
        there.close()


async def begin(
    streams: Streams, version: bytes = NEWEST, kind: int = NONE, shared: int = 0
) -> None:
    """What a client does before its first message."""
    reader, writer = streams
    await reader.readexactly(12)
    writer.write(version)
    if version == OLD:
        assert int.from_bytes(await reader.readexactly(4), "big") == kind
    else:
        assert kind in await reader.readexactly((await reader.readexactly(1))[0])
        writer.write(bytes([kind]))
    if kind == PASSWORD:
        assert await reader.readexactly(16) == CHALLENGE
        writer.write(ANSWER)
    if version == NEWEST or kind == PASSWORD:
        assert await reader.readexactly(4) == bytes(4)
    writer.write(bytes([shared]))
    assert await reader.readexactly(len(SCREEN)) == SCREEN


def run(what: Awaitable[None]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(what, 20)

    asyncio.run(limited())


async def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not what():
        assert time.monotonic() < deadline, "the time is over"
        await asyncio.sleep(0.01)
