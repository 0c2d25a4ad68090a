"""The same for trust, for GridFTP, and for connections that are kept."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cloudlet_deploy.lab.ca import Pki
from cloudlet_deploy.smoke.gsi import GsiContext
from cloudlet_deploy.smoke.outcome import Asker
from cloudlet_deploy.smoke.types import Failure, Kind
from tests.unit.smoke_answers import ls
from tests.unit.smoke_asking import (
    ENTRIES,
    GOOD,
    ask,
    silent,
)
from tests.unit.smoke_servers import (
    Server,
    context,
    door,
    http,
    issued,
    made_pki,
    says,
    server_tls,
    serving,
    transfer_server,
)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return made_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """Another CA, which nobody trusts."""
    return made_pki(tmp_path_factory.mktemp("stranger"))


@pytest.fixture(scope="module")
def ours(pki: Pki) -> GsiContext:
    return context(pki)


class TestTrust:
    def test_expired_credential_connects_to_nobody(self, pki: Pki, ours: GsiContext) -> None:
        with serving(silent) as server:
            found = ask(server, GsiContext(ours.tls, time.time() - 1))
            assert server.connections == 0
        assert found.failure is Failure.EXPIRED and "expired on" in found.detail

    def test_door_of_a_ca_that_is_not_ours(self, pki: Pki, stranger: Pki, ours: GsiContext) -> None:
        with serving(door(server_tls(stranger), says(GOOD))) as server:
            found = ask(server, ours)
        assert found.failure is Failure.UNTRUSTED and "not trusted" in found.detail

    def test_door_that_does_not_know_our_ca(self, pki: Pki, stranger: Pki) -> None:
        foreign = context(stranger, ca_dir=pki.certificates)
        with serving(door(server_tls(pki), says(GOOD))) as server:
            found = ask(server, foreign)
        assert found.failure is Failure.DENIED and "certificate" in found.detail

    def test_door_whose_clock_is_past_our_credential(
        self, pki: Pki, ours: GsiContext, tmp_path: Path
    ) -> None:
        old = issued(pki, tmp_path / "old.pem", -timedelta(days=2), -timedelta(hours=1))
        past = GsiContext(old._tls(), time.time() + 60)
        with serving(door(server_tls(pki), says(GOOD))) as server:
            found = ask(server, past)
        assert found.failure is Failure.EXPIRED and "it says" in found.detail

    def test_door_for_another_host(self, pki: Pki, ours: GsiContext) -> None:
        with serving(door(server_tls(pki, "elsewhere.lab.test"), says(GOOD))) as server:
            found = ask(server, ours)
        assert found.failure is Failure.UNTRUSTED
        assert found.detail == "its certificate is for elsewhere.lab.test, not for localhost"

    @pytest.mark.parametrize(
        ("first", "words"), [(b"SSH-2.0-OpenSSH\r\n", "TLS: wrong version"), (b"", "hung up")]
    )
    def test_no_tls_at_all(self, ours: GsiContext, first: bytes, words: str) -> None:
        def talk(plain: socket.socket) -> None:
            plain.recv(4096)
            plain.sendall(first)

        with serving(talk) as server:
            found = ask(server, ours)
        assert found.failure is Failure.TLS and words in found.detail

    def test_tls_that_breaks_afterwards_is_garbage(self, pki: Pki, ours: GsiContext) -> None:
        def noise(channel: ssl.SSLSocket, request: bytes) -> bool:
            socket.socket.sendall(channel, b"\x17\x03\x03\x00\x20" + bytes(32))
            return False

        with serving(door(server_tls(pki), noise)) as server:
            assert ask(server, ours).failure is Failure.GARBAGE


class TestGridFtp:
    LISTING = (
        b"250-status of /d\r\n Type=cdir;Size=0; .\r\n Type=pdir;Size=0; ..\r\n"
        b" Type=file;Size=12;Modify=20260101000000; a b;c&<d> \xc3\xbc\r\n"
        b" type=DIR;size=4096; sub\r\n250 End.\r\n"
    )

    #: A long one, as Globus sends it.
    IN_PARTS = (
        b"150-Contents of /d\r\n Type=cdir; .\r\n Type=file;Size=1; a\r\n150 End.\r\n"
        b"250-Contents of /d\r\n Type=file;Size=2; b\r\n250 End.\r\n"
    )
    NO_MAPPING = b"530-Login incorrect. : Gridmap lookup failure\r\n530 End.\r\n"
    NOT_FOUND = (
        b"550-GlobusError: v=1 c=PATH_NOT_FOUND\r\n550-GridFTP-Reason: System error in stat\r\n"
        b"550-GridFTP-Error-String: No such file\r\n550 End.\r\n"
    )

    def talk(self, pki: Pki, replies: dict[str, bytes | None], **more: Any) -> Callable[..., None]:
        known = {"USER": b"331 Password required\r\n", "PASS": b"230 User logged in\r\n", **replies}
        return transfer_server(
            server_tls(pki), lambda command: known.get(command.split()[0], b"500 No\r\n"), **more
        )

    @pytest.mark.parametrize("per_line", [False, True])
    @pytest.mark.parametrize("listing", [LISTING, IN_PARTS])
    def test_lists_over_the_control_channel(
        self, pki: Pki, ours: GsiContext, listing: bytes, per_line: bool
    ) -> None:
        with serving(self.talk(pki, {"MLSC": listing}, per_line=per_line)) as server:
            found = ask(server, ours, Kind.MLSC)
        assert (found.failure, found.detail, found.size) == (None, "", 2)
        assert min(found.connect, found.authentication, found.operation) > 0

    @pytest.mark.parametrize(
        ("to", "reply", "expected"),
        [
            ("banner", b"421 Service busy.\r\n", (Failure.BUSY, "421 Service busy")),
            ("banner", b"SSH-2.0-OpenSSH_9.2\r\n", (Failure.GARBAGE, "replied")),
            ("banner", b"x" * 100000, (Failure.GARBAGE, "replied")),
            ("PASS", NO_MAPPING, (Failure.DENIED, "530 Login incorrect. : Gridmap")),
            ("USER", b"421 Idle\r\n", (Failure.BUSY, "421 Idle")),
            ("MLSC", NOT_FOUND, (Failure.STATUS, "550 System error in stat: No such file")),
            ("MLSC", None, (Failure.CUT_OFF, "without a reply")),
            ("MLSC", b"250-x\r\n Type=file; a\r\n", (Failure.TIMEOUT, "answer")),
            ("MLSC", b"150-x\r\n Type=file; a\r\n150 y\r\n", (Failure.TIMEOUT, "answer")),
            ("MLSC", b"250-x\r\n nonsense\r\n250 End.\r\n", (Failure.GARBAGE, "nonsense")),
            ("MLSC", b"hello\r\n", (Failure.GARBAGE, "hello")),
            ("MLSC", b"550 \x1b[2Jgone\r\n", (Failure.STATUS, "550 [2Jgone")),
        ],
    )
    def test_bad_reply_has_its_class(
        self, pki: Pki, ours: GsiContext, to: str, reply: Any, expected: tuple[Failure, str]
    ) -> None:
        banner = {"banner": reply} if to == "banner" else {}
        with serving(self.talk(pki, {to: reply}, **banner)) as server:
            found = ask(server, ours, Kind.MLSC, timeout=1.0)
        assert found.failure is expected[0] and expected[1] in found.detail

    def test_server_that_does_not_know_our_ca(self, pki: Pki, stranger: Pki) -> None:
        foreign = context(stranger, ca_dir=pki.certificates)
        with serving(self.talk(pki, {})) as server:
            found = ask(server, foreign, Kind.MLSC)
        assert found.failure is Failure.DENIED

    def test_server_that_is_not_trusted(self, pki: Pki, stranger: Pki, ours: GsiContext) -> None:
        with serving(self.talk(stranger, {})) as server:
            assert ask(server, ours, Kind.MLSC).failure is Failure.UNTRUSTED
        tls = server_tls(pki, "elsewhere.lab.test")
        with serving(transfer_server(tls, lambda _: b"500 No\r\n")) as server:
            found = ask(server, ours, Kind.MLSC)
        assert found.failure is Failure.UNTRUSTED and "elsewhere.lab.test" in found.detail

    def test_path_with_a_line_break_is_no_second_command(self, pki: Pki, ours: GsiContext) -> None:
        with serving(self.talk(pki, {"MLSC": self.LISTING})) as server:
            found = ask(server, ours, Kind.MLSC, path="/d\r\nDELE /d/a")
        assert found.failure is Failure.STATUS and "line breaks" in found.detail


class TestKept:
    def asker(self, server: Server, ours: GsiContext, kind: Kind = Kind.LS) -> Asker:
        return Asker(kind, server.endpoint, ours, "/d", 5.0, keep_alive=True)

    def test_one_connection_for_all(self, pki: Pki, ours: GsiContext) -> None:
        def answer(channel: ssl.SSLSocket, request: bytes) -> None:
            assert b"Connection: close" not in request
            channel.sendall(GOOD)

        with serving(door(server_tls(pki), answer)) as server:
            asker = self.asker(server, ours)
            found = [asker.ask() for _ in range(3)]
            asker.close()
            assert server.connections == 1
        assert all(one.failure is None and one.size == 2 for one in found)
        assert found[0].authentication > 0
        assert found[1].connect == found[1].authentication == 0 < found[1].operation

    def test_hanging_up_in_between_is_no_failure(self, pki: Pki, ours: GsiContext) -> None:
        with serving(door(server_tls(pki), says(GOOD))) as server:
            asker = self.asker(server, ours)
            for _ in range(3):
                assert asker.ask().failure is None
                time.sleep(0.1)
            asker.close()
            assert server.connections == 3

    def test_door_that_wants_to_hang_up_is_not_asked_again(
        self, pki: Pki, ours: GsiContext
    ) -> None:
        def answer(channel: ssl.SSLSocket, request: bytes) -> bool:
            channel.sendall(http(ls(ENTRIES), more="Connection: close\r\n"))
            time.sleep(1)  # it takes its time
            return False

        with serving(door(server_tls(pki), answer)) as server:
            asker = self.asker(server, ours)
            assert [asker.ask().failure for _ in range(2)] == [None, None]
            asker.close()
            assert server.connections == 2

    def test_after_a_failure_comes_a_new_connection(self, pki: Pki, ours: GsiContext) -> None:
        answers = iter([GOOD, http(ls(code="SRM_INTERNAL_ERROR")), b"", GOOD])

        def answer(channel: ssl.SSLSocket, request: bytes) -> bool:
            reply = next(answers)
            channel.sendall(reply)
            return bool(reply)

        with serving(door(server_tls(pki), answer)) as server:
            asker = self.asker(server, ours)
            found = [asker.ask().failure for _ in range(4)]
            asker.close()
        assert found == [None, Failure.STATUS, Failure.CUT_OFF, None]

    def test_without_keeping_each_has_its_own(self, pki: Pki, ours: GsiContext) -> None:
        with serving(door(server_tls(pki), says(GOOD))) as server:
            asker = Asker(Kind.LS, server.endpoint, ours, "/d", 5.0)
            assert all(asker.ask().authentication > 0 for _ in range(3))
            assert server.connections == 3

    def test_stopped_client_leaves_no_connection(self, pki: Pki, ours: GsiContext) -> None:
        class Stop(BaseException):
            pass

        def stop(*_: object) -> None:
            raise Stop

        with serving(door(server_tls(pki), says(GOOD))) as server:
            asker = self.asker(server, ours)
            asker._new = stop  # type: ignore[method-assign, assignment]
            with pytest.raises(Stop):
                asker.ask()
            asker = self.asker(server, ours)
            asker._attempt = stop  # type: ignore[method-assign, assignment]
            with pytest.raises(Stop):
                asker.ask()
            assert asker._session is None
