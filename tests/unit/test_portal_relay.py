"""``portal_relay``: who begins how, when it ends, and what passes both ways."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import portal_relay
from ansible_collections.cloudlet.deploy.plugins.module_utils.portal_relay import Refused, Relay
from portal_instrument import (
    ANSWER,
    KEY,
    LIST,
    NEWEST,
    NONE,
    OLD,
    PASSWORD,
    POINTER,
    UPDATE,
    VENCRYPT,
    Instrument,
    begin,
    connected,
    port_of,
    run,
    until,
)

#: What this process has open.
OPEN = Path("/proc/self/fd")

# ---- the beginning ----------------------------------------------------------------------------


@pytest.mark.parametrize("view", [False, True])
@pytest.mark.parametrize("kind", [NONE, PASSWORD])
@pytest.mark.parametrize("version", [OLD, LIST, NEWEST])
def test_both_begin_and_an_onlooker_puts_nobody_out(version: bytes, kind: int, view: bool) -> None:
    async def trial() -> None:
        instrument = Instrument(version, (kind,))
        async with connected(instrument, view=view, idle=60) as streams:
            await begin(streams, version, kind, shared=0)
        answer = ANSWER if kind == PASSWORD else b""
        assert instrument.began == version + bytes([kind]) + answer + bytes([view])

    run(trial())


@pytest.mark.parametrize(
    ("said", "offered"),
    [("003.003", OLD), ("003.006", OLD), ("003.007", LIST), ("003.008", NEWEST),
     ("003.889", NEWEST), ("005.000", NEWEST), ("002.009", OLD)],
)  # fmt: skip
def test_a_client_is_offered_a_version_that_is_followed(said: str, offered: bytes) -> None:
    assert portal_relay.offered(f"RFB {said}\n".encode()) == offered


@pytest.mark.parametrize("said", [b"SSH-2.0-Open", b"RFB 003.0080", b"RFB 003-008\n"])
def test_what_is_no_instrument_is_refused(said: bytes) -> None:
    with pytest.raises(Refused):
        portal_relay.offered(said)


def test_a_client_is_offered_no_security_type_that_is_not_followed() -> None:
    async def trial() -> None:
        async with connected(
            Instrument(types=(VENCRYPT, PASSWORD, 16, NONE)), view=True
        ) as streams:
            streams[1].write(await streams[0].readexactly(12))
            assert await streams[0].readexactly(3) == bytes([2, PASSWORD, NONE])

    run(trial())


@pytest.mark.parametrize(
    ("types", "told"), [((VENCRYPT,), b"must offer"), ((), b"\0\0\0\0\4busy")], ids=["none", "busy"]
)
def test_who_cannot_get_in_is_told_why(types: tuple[int, ...], told: bytes) -> None:
    async def trial() -> None:
        async with connected(Instrument(types=types), view=True) as (reader, writer):
            writer.write(await reader.readexactly(12))
            assert told in await reader.read()

    run(trial())


@pytest.mark.parametrize(
    ("version", "sent"),
    [
        (NEWEST, b"RFB 003.009\n"),
        (NEWEST, b"RFB 003.889\n"),
        (LIST, NEWEST),
        (OLD, NEWEST),
        (NEWEST, NEWEST + bytes([PASSWORD])),
        (NEWEST, NEWEST + bytes([VENCRYPT])),
    ],
)
def test_a_client_that_takes_what_it_was_not_offered_is_put_out(
    version: bytes, sent: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    async def trial() -> None:
        instrument = Instrument(version, (NONE, VENCRYPT))
        async with connected(instrument, view=True) as (reader, writer):
            writer.write(sent)
            await reader.read()
            await until(lambda: instrument.ended)
        assert not instrument.began

    run(trial())
    assert "was not offered" in capsys.readouterr().err


def test_who_does_not_begin_is_put_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def trial(sent: bytes) -> None:
        instrument = Instrument()
        async with connected(instrument, view=True) as (reader, writer):
            writer.write(sent)
            await reader.read()
            await until(lambda: instrument.ended)

    monkeypatch.setattr(portal_relay, "AGREE", 0.2)
    for sent in (b"", NEWEST, NEWEST + bytes([NONE])):
        run(trial(sent))
        assert "did not begin" in capsys.readouterr().err


# ---- the time ---------------------------------------------------------------------------------


def test_who_uses_it_stays_and_who_does_not_is_put_out() -> None:
    async def trial() -> None:
        instrument = Instrument()
        async with connected(instrument, idle=0.6) as (reader, writer):
            await begin((reader, writer))
            for event in (KEY, POINTER, b"\xff\0" + bytes(10)):
                await asyncio.sleep(0.4)
                writer.write(event)
            last = time.monotonic()
            # Asking for the picture is not using it.
            for _ in range(5):
                await asyncio.sleep(0.1)
                writer.write(UPDATE)
            assert not reader.at_eof()
            await reader.read()
            assert 0.55 < time.monotonic() - last < 2
            await until(lambda: instrument.ended)

    run(trial())


def test_an_onlooker_is_put_out_after_their_time_whatever_they_send() -> None:
    async def trial() -> None:
        async with connected(Instrument(), view=True, idle=0.6) as (reader, writer):
            await begin((reader, writer))
            began = time.monotonic()
            for _ in range(4):
                await asyncio.sleep(0.1)
                writer.write(KEY + UPDATE)
            await reader.read()
            assert 0.55 < time.monotonic() - began < 0.95

    run(trial())


def test_one_that_does_not_read_is_put_out_too(monkeypatch: pytest.MonkeyPatch) -> None:
    async def trial() -> None:
        instrument = Instrument(sends=bytes(1 << 26))
        async with connected(instrument, view=True, idle=0.3) as streams:
            await begin(streams)
            held = len(list(OPEN.iterdir()))
            await until(lambda: instrument.ended)
            # The instrument's end, and both of the relay's.
            await until(lambda: len(list(OPEN.iterdir())) == held - 3)

    monkeypatch.setattr(portal_relay, "LINGER", 0.1)
    run(trial())


# ---- both ways --------------------------------------------------------------------------------


@pytest.mark.parametrize("view", [False, True])
def test_what_is_not_read_is_not_taken(view: bool) -> None:
    """Else a slow browser fills the pod's memory."""

    async def trial() -> None:
        much = os.urandom(1 << 16) * 512
        instrument = Instrument(sends=much)
        async with connected(instrument, view=view, idle=60) as (reader, writer):
            await begin((reader, writer))
            seen = -1
            while seen != instrument.sent:
                seen = instrument.sent
                await asyncio.sleep(0.3)
            assert seen < len(much) // 2
            assert await reader.readexactly(len(much)) == much

    run(trial())


@pytest.mark.parametrize("idle", [0, 60])
def test_when_one_side_has_said_all_the_other_may_finish(idle: int) -> None:
    async def trial() -> None:
        instrument = Instrument(farewell=bytes(1 << 21))
        async with connected(instrument, idle=idle) as (reader, writer):
            await begin((reader, writer))
            writer.write(KEY)
            writer.write_eof()
            assert len(await reader.read()) == 1 << 21
        assert instrument.got == KEY

    run(trial())


def test_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async def trial() -> None:
        async with connected(Instrument(stays=True), view=True) as (reader, writer):
            await begin((reader, writer))
            writer.write_eof()
            began = time.monotonic()
            await reader.read()
            assert time.monotonic() - began < 5

    monkeypatch.setattr(portal_relay, "LINGER", 0.2)
    run(trial())


def test_without_a_limit_all_passes_as_it_is() -> None:
    async def trial() -> None:
        sent = os.urandom(1 << 18)
        instrument = Instrument(version=b"", sends=sent[::-1])
        async with connected(instrument) as (reader, writer):
            writer.write(sent)
            writer.write_eof()
            assert await reader.read() == sent[::-1]
        assert instrument.got == sent

    run(trial())


def test_an_instrument_that_is_not_there_ends_it(capsys: pytest.CaptureFixture[str]) -> None:
    async def trial() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        gate = await asyncio.start_server(Relay("127.0.0.1", port).serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(gate))
        assert await reader.read() == b""
        writer.close()
        gate.close()

    run(trial())
    assert "the instrument is not reached" in capsys.readouterr().err


# ---- the program ------------------------------------------------------------------------------


def test_the_program_relays_at_loopback() -> None:
    async def trial() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        instrument = Instrument()
        there = await asyncio.start_server(instrument.serve, "127.0.0.1", 0)
        program = subprocess.Popen(
            [sys.executable, "-I", portal_relay.__file__, "--listen", str(port), "--view",
             "--idle", "1", "127.0.0.1", str(port_of(there))],
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            while True:
                try:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    break
                except ConnectionRefusedError:
                    await asyncio.sleep(0.1)
            await begin((reader, writer))
            writer.write(KEY + UPDATE)
            await reader.read()
            writer.close()
        finally:
            program.send_signal(signal.SIGTERM)
            said = program.communicate()[1]
            there.close()
        assert instrument.got == UPDATE
        assert said == "portal-relay: ended a connection: its time of 1 s was over\n"

    run(trial())


def test_the_program_takes_no_name() -> None:
    """Who answers for it would be the instrument."""
    done = subprocess.run(
        [sys.executable, "-I", portal_relay.__file__, "--listen", "1", "localhost", "5900"],
        capture_output=True, text=True, check=False, timeout=20,
    )  # fmt: skip
    assert done.returncode == 2
    assert "localhost" in done.stderr and "Traceback" not in done.stderr
