"""``portal_relay``: which of a client's messages pass, and which end it."""

from __future__ import annotations

import asyncio
import itertools
import struct

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import portal_relay
from hypothesis import given, settings
from hypothesis import strategies as st
from portal_instrument import KEY, UPDATE, Instrument, begin, connected, run, until


class Collected:
    """Stands for the instrument's stream."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.writer = self
        self.eof = False

    async def give(self, data: bytes) -> None:
        self.data += data

    def write_eof(self) -> None:
        self.eof = True


def _body(head: bytes, size: int) -> st.SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size).map(lambda rest: head + rest)


def _sized(form: str, most: int, unit: int = 1) -> st.SearchStrategy[bytes]:
    """A message whose length is in it."""
    return st.integers(0, most).flatmap(
        lambda count: st.binary(min_size=count * unit, max_size=count * unit).map(
            lambda rest: struct.pack(form, count) + rest
        )
    )


_ENCODINGS = st.lists(st.sampled_from([0, 1, 7, 16, -223, -239, -308, -312]), max_size=40).map(
    lambda codes: struct.pack(f">BxH{len(codes)}i", 2, len(codes), *codes)
)
_ASKING = st.one_of(
    _body(b"\0", 19),
    _ENCODINGS,
    _body(b"\3", 9),
    _body(b"\x96", 9),
    _sized(">xxxxxxxxB", 64).map(lambda rest: b"\xf8" + rest[1:]),
)
_ACTING = st.one_of(
    _body(b"\4", 7),
    _body(b"\5", 5),
    _sized(">xxxxi", 300).map(lambda rest: b"\6" + rest[1:]),
    # The extended clipboard's: its length is negative.
    st.binary(max_size=300).map(lambda rest: struct.pack(">Bxxxi", 6, -len(rest)) + rest),
    _body(b"\xfa", 3),
    _sized(">xxxxxxBx", 4, 16).map(lambda rest: b"\xfb" + rest[1:]),
    _body(b"\xff\0", 10),
)
_STREAM = st.lists(st.tuples(_ASKING, st.just(True)) | st.tuples(_ACTING, st.just(False)))


async def followed(pieces: list[bytes], view: bool) -> tuple[bytes, int]:
    """What passes of a client's stream, and how often somebody did something."""
    reader, there, used = asyncio.StreamReader(), Collected(), [0]

    def count() -> None:
        used[0] += 1

    class Client:
        take = reader.readexactly

    Client.reader = reader  # type: ignore[attr-defined]
    task = asyncio.ensure_future(portal_relay.follow(Client, there, view, count))
    for piece in pieces:
        reader.feed_data(piece)
        await asyncio.sleep(0)
    reader.feed_eof()
    await task
    assert there.eof
    return bytes(there.data), used[0]


@settings(max_examples=150, deadline=None)
@given(_STREAM, st.lists(st.integers(0, 3000), max_size=12), st.booleans())
def test_wherever_it_is_cut_exactly_what_may_pass_does(
    messages: list[tuple[bytes, bool]], cuts: list[int], view: bool
) -> None:
    stream = b"".join(text for text, _ in messages)
    at = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[first:last] for first, last in itertools.pairwise(at) if first < last]
    passed, used = asyncio.run(followed(pieces, view))
    assert passed == b"".join(text for text, asks in messages if asks or not view)
    assert used == sum(text[0] in (4, 5, 255) for text, _ in messages)


@pytest.mark.parametrize("view", [False, True])
def test_no_encoding_changes_what_messages_look_like(view: bool) -> None:
    sent = struct.pack(">BxH6i", 2, 6, 16, -259, -305, -310, -316, 0)
    passed, _ = asyncio.run(followed([sent + UPDATE], view))
    assert passed == struct.pack(">BxH2i", 2, 2, 16, 0) + UPDATE


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"\1" + bytes(9), "unknown type 1"),
        (b"\7", "unknown type 7"),
        (b"\xfd\1", "unknown type 253"),
        (b"\xff\1\0\0", "QEMU's unknown type 1"),
        (struct.pack(">BxH", 2, 1025), "4100 bytes"),
        (struct.pack(">Bxxxi", 6, (1 << 24) + 1), "16777217 bytes"),
        (struct.pack(">Bxxxi", 6, -(1 << 31)), "2147483648 bytes"),
        (b"\xf8" + bytes(7) + b"\x41", "65 bytes"),
    ],
)
@pytest.mark.parametrize("view", [False, True])
def test_what_cannot_be_followed_ends_it(
    sent: bytes, reason: str, view: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    async def trial() -> None:
        instrument = Instrument()
        async with connected(instrument, view=view, idle=60) as (reader, writer):
            await begin((reader, writer))
            writer.write(UPDATE + sent + KEY + bytes(64))
            assert await reader.read() == b""
            await until(lambda: instrument.ended)
        assert instrument.got == UPDATE

    # Padded, as the head is read before its length is judged.
    sent = sent + bytes(12) if "QEMU" in reason else sent
    run(trial())
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize("view", [False, True])
def test_a_client_that_leaves_within_a_message_leaves_none_behind(view: bool) -> None:
    async def trial() -> None:
        instrument = Instrument()
        async with connected(instrument, view=view, idle=60) as (reader, writer):
            await begin((reader, writer))
            writer.write(UPDATE + KEY + KEY[:5])
            await until(lambda: len(instrument.got) >= len(UPDATE if view else UPDATE + KEY))
            writer.write_eof()
            await until(lambda: instrument.ended)
        assert instrument.got == (UPDATE if view else UPDATE + KEY)

    run(trial())
