# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Stands between the portal's websockets and an instrument, and holds people to what they may do.

``portal-relay --listen PORT [--view] [--idle SECONDS] ADDRESS PORT`` takes connections at a port of
loopback and opens one to the instrument for each. It follows what the client sends (RFB, RFC 6143
and the registered messages that browsers' clients send); what the instrument sends passes unread
once both have agreed on how to speak.

With ``--view`` only messages that ask for the picture pass, keys, pointer, clipboard and sizes of
the screen are dropped, and the connection is always a shared one, so that an onlooker puts nobody
out. What a browser is told about looking on (``view_only``) binds nobody.

With ``--idle`` a connection ends when no key and no pointer came for so long; with ``--view``,
where neither passes, when it has been open for so long.

A message that it does not know ends the connection, as nobody can say where the next one begins.
So the client is not offered what it does not follow: security types other than None and VNC's
password, and encodings that would give the client's messages another form. Without ``--view`` and
``--idle`` there is nothing to follow, and all passes as it is.

The role ``ondemand_portal`` installs this file in the pod, to be started as ``python3 -I``. It
imports nothing of ours. Python 3.9 and later.
"""

import argparse
import asyncio
import ipaddress
import re
import socket
import struct
import sys
from typing import Callable, NamedTuple, Optional

#: Seconds to reach the instrument, to agree on how to speak (with time to type a password), and
#: for the other side to finish when one has.
CONNECT, AGREE, LINGER = 10, 120, 10
_PIECE = 1 << 16
_OLD, _LIST, _NEWEST = b"RFB 003.003\n", b"RFB 003.007\n", b"RFB 003.008\n"
_NONE, _PASSWORD = 1, 2
_CHALLENGE = 16
_REASON = b"The instrument must offer the security type None or VNC's password."
#: Pseudo-encodings by which a client's messages get another form, or new ones: sound (QEMU's),
#: gestures (gii), calls (OLIVE), more buttons of the mouse.
_NOT_FOLLOWED = frozenset([-259, -305, -310, -316])
_SET_ENCODINGS, _QEMU = 2, 255


class Refused(Exception):
    """The connection ends; the text is the reason, for the log."""


class Kind(NamedTuple):
    """A client's message: bytes up to where the length of the rest is known, and that length.

    ``asks`` is whether it merely asks for the picture, ``used`` whether a person did something.
    """

    head: int
    rest: Optional[Callable] = None
    longest: int = 0
    asks: bool = False
    used: bool = False


KINDS = {
    0: Kind(20, asks=True),  # SetPixelFormat
    _SET_ENCODINGS: Kind(4, lambda head: 4 * struct.unpack_from(">H", head, 2)[0], 4096, asks=True),
    3: Kind(10, asks=True),  # FramebufferUpdateRequest
    4: Kind(8, used=True),  # KeyEvent
    5: Kind(6, used=True),  # PointerEvent
    # ClientCutText; a negative length is one of the extended form.
    6: Kind(8, lambda head: abs(struct.unpack_from(">i", head, 4)[0]), 1 << 24),
    150: Kind(10, asks=True),  # EnableContinuousUpdates
    248: Kind(9, lambda head: head[8], 64, asks=True),  # ClientFence
    250: Kind(4),  # xvp: shut down, restart
    251: Kind(8, lambda head: 16 * head[6], 16 * 255),  # SetDesktopSize
    _QEMU: Kind(12, used=True),  # QEMU's KeyEvent
}  # fmt: skip


class Stream:
    """One side of a connection. Writing waits until the other side has taken what it got."""

    def __init__(self, reader, writer):
        self.reader, self.writer, self.take = reader, writer, reader.readexactly
        peer = writer.get_extra_info("socket")
        # A side that lost its power says nothing: some minutes later it is taken to be gone.
        for level, option, value in ((socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
                                     (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
                                     (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)):  # fmt: skip
            peer.setsockopt(level, option, value)

    async def give(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def pass_on(self, other):
        """All that is still to come goes to ``other``, and so does the end."""
        data = await self.reader.read(_PIECE)
        while data:
            await other.give(data)
            data = await self.reader.read(_PIECE)
        other.writer.write_eof()

    async def close(self):
        """Close, with time for what is under way."""
        self.writer.close()
        try:
            await asyncio.wait_for(self.writer.wait_closed(), LINGER)
        except (OSError, asyncio.TimeoutError):
            pass
        finally:
            self.writer.transport.abort()


def offered(version):
    """What a client is offered of the instrument's protocol version. Raises Refused."""
    if not re.fullmatch(rb"RFB \d{3}\.\d{3}\n", version):
        raise Refused("the instrument does not speak RFB")
    # RFC 6143: what lies between is the oldest. Makers' own numbers are all above.
    return _NEWEST if version >= _NEWEST else _LIST if version == _LIST else _OLD


async def agree(client, server):
    """The security type that both agree on; versions and types have passed. Raises Refused."""
    version = offered(await server.take(12))
    await client.give(version)
    chosen = await client.take(12)
    if chosen not in (_OLD, _LIST, _NEWEST) or chosen > version:
        raise Refused("the client asks for a version that it was not offered")
    await server.give(chosen)
    if chosen == _OLD:
        width, types = 4, [int.from_bytes(await server.take(4), "big")]
    else:
        width, types = 1, await server.take((await server.take(1))[0])
    kinds = [one for one in types if one in (_NONE, _PASSWORD)]
    if not kinds:
        await client.give(bytes(width))
        if not any(types):  # then the instrument's reason follows
            await server.pass_on(client)
        await client.give(struct.pack(">I", len(_REASON)) + _REASON)
        raise Refused("the instrument offers no security type that can be followed")
    if chosen == _OLD:
        await client.give(struct.pack(">I", kinds[0]))
        return kinds[0]
    await client.give(bytes([len(kinds), *kinds]))
    kind = (await client.take(1))[0]
    if kind not in kinds:
        raise Refused("the client asks for a security type that it was not offered")
    await server.give(bytes([kind]))
    return kind


async def enter(client, server, kind, view):
    """Pass the password's answer and ClientInit, with ``view`` always for a shared connection."""
    if kind == _PASSWORD:
        await server.give(await client.take(_CHALLENGE))
    shared = await client.take(1)
    await server.give(b"\1" if view else shared)


async def follow(client, server, view, used):
    """Pass the client's messages up to its end, ``used`` being called at each that a person made.

    With ``view`` only those that ask for the picture pass. Raises Refused.
    """
    while True:
        first = await client.reader.read(1)
        if not first:
            break
        kind = KINDS.get(first[0])
        if kind is None:
            raise Refused("the client sent a message of the unknown type %d" % first[0])
        head = first + await client.take(kind.head - 1)
        if first[0] == _QEMU and head[1]:
            raise Refused("the client sent a message of QEMU's unknown type %d" % head[1])
        left = kind.rest(head) if kind.rest else 0
        if left > kind.longest:
            raise Refused("the client sent %d bytes in a message of type %d" % (left, first[0]))
        if kind.used:
            used()
        passes = kind.asks or not view
        if first[0] == _SET_ENCODINGS:
            head, left = _followed(head, await client.take(left)), 0
        if passes:
            await server.give(head)
        while left:
            data = await client.take(min(left, _PIECE))
            left -= len(data)
            if passes:
                await server.give(data)
    server.writer.write_eof()


def _followed(head, body):
    kept = [one for (one,) in struct.iter_unpack(">i", body) if one not in _NOT_FOLLOWED]
    return head[:2] + struct.pack(">H%di" % len(kept), len(kept), *kept)


class Relay:
    """To one instrument; ``idle`` in seconds, 0 for never."""

    def __init__(self, address, port, view=False, idle=0):
        self.address, self.port, self.view, self.idle = address, port, view, idle

    async def run(self, port):
        """Serve at ``port`` of loopback, for ever."""
        listening = await asyncio.start_server(self.serve, "127.0.0.1", port, limit=_PIECE)
        async with listening:
            await listening.serve_forever()

    async def serve(self, reader, writer):
        """One connection from its begin to its end."""
        open_ones = [Stream(reader, writer)]
        try:
            open_ones.append(await self._reached())
            await self._between(*open_ones)
        except Refused as exc:
            _log(str(exc))
        except asyncio.TimeoutError:
            _log("it did not begin within %d s" % AGREE)
        except (OSError, asyncio.IncompleteReadError):
            pass  # one side has left
        finally:
            await asyncio.gather(*[one.close() for one in open_ones])

    async def _reached(self):
        try:
            there = asyncio.open_connection(self.address, self.port)
            return Stream(*await asyncio.wait_for(there, CONNECT))
        except (OSError, asyncio.TimeoutError) as exc:
            raise Refused("the instrument is not reached: %s" % (str(exc) or "no answer")) from exc

    async def _between(self, client, server):
        if not (self.view or self.idle):
            await self._run(server.pass_on(client), client.pass_on(server))
            return
        kind = await asyncio.wait_for(agree(client, server), AGREE)
        now = asyncio.get_running_loop().time
        last = now()

        def used():
            nonlocal last
            # With --view nothing is done here, and so nothing makes it last longer.
            last = last if self.view else now()

        async def up():
            await asyncio.wait_for(enter(client, server, kind, self.view), AGREE)
            await follow(client, server, self.view, used)

        async def idle():
            while True:
                left = last + self.idle - now()
                if left <= 0:
                    raise Refused("its time of %d s was over" % self.idle)
                await asyncio.sleep(left)

        await self._run(server.pass_on(client), up(), idle() if self.idle else None)

    async def _run(self, down, up, idle=None):
        """Both directions, until they have ended or anything has failed; raises that."""
        halves = [asyncio.ensure_future(down), asyncio.ensure_future(up)]
        tasks = halves + ([asyncio.ensure_future(idle)] if idle else [])
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not any(one.exception() for one in done):
                # One side has said all: the other may finish.
                await asyncio.wait(halves, timeout=LINGER)
            for one in filter(asyncio.Task.done, tasks):
                one.result()
        finally:
            for one in tasks:
                one.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def _log(reason):
    print("portal-relay: ended a connection: %s" % reason, file=sys.stderr, flush=True)


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="portal-relay", description="Relay to an instrument what people may send to it."
    )
    parser.add_argument("--listen", required=True, type=int, metavar="PORT")
    parser.add_argument("--view", action="store_true", help="people look on")
    parser.add_argument("--idle", default=0, type=int, metavar="SECONDS", help="0 for never")
    # A name could be answered by others.
    parser.add_argument("address", type=lambda text: str(ipaddress.ip_address(text)))
    parser.add_argument("port", type=int)
    asked = parser.parse_args(argv)
    asyncio.run(Relay(asked.address, asked.port, asked.view, asked.idle).run(asked.listen))


if __name__ == "__main__":
    main()
