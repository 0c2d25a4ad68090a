"""Each way in which an operation can fail has its class, its words and its bound in time."""

from __future__ import annotations

import errno
import json
import resource
import socket
import ssl
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloudlet_deploy.lab.ca import Pki
from cloudlet_deploy.smoke import outcome as outcomes
from cloudlet_deploy.smoke.gsi import GsiContext
from cloudlet_deploy.smoke.outcome import Phase, classify, perform
from cloudlet_deploy.smoke.types import Endpoint, Failure, Kind
from tests.unit.smoke_answers import PING, ls
from tests.unit.smoke_asking import (
    ENTRIES,
    FAULT,
    GOOD,
    SHORT,
    TOO_LONG,
    ask,
    nobody,
    silent,
)
from tests.unit.smoke_servers import (
    context,
    door,
    http,
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


class TestSrm:
    def test_parts_add_up(self, pki: Pki, ours: GsiContext) -> None:
        def slowly(channel: ssl.SSLSocket, request: bytes) -> None:
            time.sleep(0.2)
            channel.sendall(GOOD)

        with serving(door(server_tls(pki), slowly)) as server:
            before = time.time()
            found = ask(server, ours)
            after = time.time()
        assert (found.failure, found.size) == (None, 2)
        assert before <= found.start and found.start + found.seconds <= after + 0.05
        assert 0 < found.connect < 0.1 and 0.2 <= found.operation < 1
        assert found.authentication > 0

    def test_request_is_what_a_door_wants(self, pki: Pki, ours: GsiContext) -> None:
        seen: list[bytes] = []

        def answer(channel: ssl.SSLSocket, request: bytes) -> bool:
            seen.append(request)
            channel.sendall(http(PING) if b"srmPing" in request else GOOD)
            return False

        with serving(door(server_tls(pki), answer)) as server:
            assert ask(server, ours, path="/d/a&b <c>").failure is None
            assert ask(server, ours, Kind.PING).size == 0
            port = server.endpoint.port
        assert b"POST /srm/v2/server HTTP/1.1\r\n" in seen[0]
        assert b"Connection: close\r\n" in seen[0]
        surl = f">srm://localhost:{port}/srm/v2/server?SFN=/d/a&amp;b &lt;c&gt;</urlArray>"
        assert surl.encode() in seen[0] and b">true</fullDetailedList>" in seen[0]
        assert b">1</numOfLevels>" in seen[0] and b"srmPingRequest" in seen[1]

    def test_chunks_and_pieces_are_put_together(self, pki: Pki, ours: GsiContext) -> None:
        body = ls(ENTRIES)
        parts = [body[i : i + 97] for i in range(0, len(body), 97)] + [b""]
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        chunked = head + b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
        with serving(door(server_tls(pki), says(*[bytes([one]) for one in chunked]))) as server:
            assert ask(server, ours).size == 2

    @pytest.mark.parametrize(
        ("answer", "expected", "words"),
        [
            (says(), Failure.CUT_OFF, "without an answer"),
            (says(GOOD[:-100]), Failure.CUT_OFF, "of its answer"),
            (says(b"220 ftp ready\r\n"), Failure.GARBAGE, "HTTP"),
            (says(bytes(range(256)) * 9), Failure.GARBAGE, "HTTP"),
            (says(http(b"<html>hello</html>")), Failure.GARBAGE, "SOAP"),
            (says(http(b"{}")), Failure.GARBAGE, "XML"),
            (says(http(b"no", "404 Not Found")), Failure.STATUS, "HTTP 404 Not Found"),
            (says(http(b"", "503 Service Unavailable")), Failure.STATUS, "HTTP 503"),
            (says(http(ls(code="SRM_INTERNAL_ERROR"))), Failure.STATUS, "SRM_INTERNAL_ERROR"),
            (says(http(ls(code="SRM_AUTHORIZATION_FAILURE"))), Failure.DENIED, "SRM_AUTHOR"),
            (says(http(FAULT.replace(b"way", b"\x1b[m"), "500 Oops")), Failure.GARBAGE, "XML"),
            (says(http(FAULT, "500 Oops")), Failure.STATUS, "SOAP fault: No way"),
            (says(TOO_LONG), Failure.TOO_LONG, "104857600"),
        ],
    )
    def test_bad_answer_has_its_class(
        self, pki: Pki, ours: GsiContext, answer: Any, expected: Failure, words: str
    ) -> None:
        with serving(door(server_tls(pki), answer)) as server:
            found = ask(server, ours)
        assert found.failure is expected and words in found.detail
        assert found.connect > 0 and found.authentication > 0 and found.operation > 0

    def test_hundred_megabytes_are_refused_in_bounded_memory(
        self, pki: Pki, ours: GsiContext
    ) -> None:
        sent = 0

        def flood(channel: ssl.SSLSocket, request: bytes) -> bool:
            nonlocal sent
            channel.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            for _ in range(100):
                channel.sendall(b"<" * 2**20)
                sent += 1
            return False

        with serving(door(server_tls(pki), flood)) as server:
            tracemalloc.start()
            began = time.monotonic()
            found = perform(Kind.LS, server.endpoint, ours, "/d", 30)
            took = time.monotonic() - began
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert found.failure is Failure.TOO_LONG and sent < 80 and took < 25
        assert peak < 100 * 2**20

    def test_server_that_never_answers_is_left(self, pki: Pki, ours: GsiContext) -> None:
        with serving(door(server_tls(pki), lambda *_: None)) as server:
            found = ask(server, ours, timeout=SHORT)
        assert (found.failure, found.detail) == (
            Failure.TIMEOUT,
            "not done within 0.4 s, while waiting for the answer",
        )
        assert found.operation == pytest.approx(SHORT, abs=0.2)

    @pytest.mark.parametrize("kind", [Kind.LS, Kind.MLSC])
    def test_server_that_accepts_and_says_nothing_is_left(
        self, ours: GsiContext, kind: Kind
    ) -> None:
        with serving(silent) as server:
            found = ask(server, ours, kind, timeout=SHORT)
        assert found.failure is Failure.TIMEOUT and "authenticating" in found.detail
        assert found.operation == 0 and found.authentication == pytest.approx(SHORT, abs=0.2)

    def test_dripping_answer_cannot_hold_a_client(self, pki: Pki, ours: GsiContext) -> None:
        drops = [bytes([one]) for one in GOOD[:2000]]
        with serving(door(server_tls(pki), says(*drops, pause=0.02))) as server:
            found = ask(server, ours, timeout=SHORT)
        assert found.failure is Failure.TIMEOUT

    def test_dripping_handshake_cannot_hold_a_client(self, ours: GsiContext) -> None:
        def drip(plain: socket.socket) -> None:
            # A record of the handshake, which is announced as a long one.
            for one in b"\x16\x03\x03\x3f\xff" + bytes(2000):
                plain.sendall(bytes([one]))
                time.sleep(0.02)

        with serving(drip) as server:
            assert ask(server, ours, timeout=SHORT).failure is Failure.TIMEOUT


class TestConnecting:
    def test_nobody_there(self, ours: GsiContext) -> None:
        found = ask(nobody(), ours)
        assert found.failure is Failure.REFUSED and "connecting" in found.detail
        assert found.connect > 0 and found.authentication == found.operation == 0

    def test_name_without_an_address(self, ours: GsiContext) -> None:
        found = perform(Kind.LS, Endpoint("x", 1, "no-such-host.invalid"), ours, "/", 20)
        assert found.failure is Failure.UNREACHABLE and "address" in found.detail

    def test_full_queue_that_drops_packets(self, ours: GsiContext) -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=1) as full:
            port = full.getsockname()[1]
            fillers = [socket.socket() for _ in range(6)]
            for one in fillers:
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", port))
            found = ask(Endpoint("localhost", port, "127.0.0.1"), ours, timeout=SHORT)
            for one in fillers:
                one.close()
        assert found.failure is Failure.TIMEOUT and found.detail.endswith("connecting")

    def test_reset(self, pki: Pki, ours: GsiContext) -> None:
        def reset(plain: socket.socket) -> None:
            plain.recv(1)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

        with serving(reset) as server:
            found = ask(server, ours)
        assert found.failure is Failure.RESET and "authenticating" in found.detail

    def test_too_few_descriptors_are_our_own_fault(self, ours: GsiContext) -> None:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        with serving(silent) as server:
            highest = max(int(one.name) for one in Path("/proc/self/fd").iterdir())
            held = []
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
            try:
                while True:
                    held.append(socket.socket())
            except OSError:
                pass
            try:
                found = ask(server, ours)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
                for one in held:
                    one.close()
        assert found.failure is Failure.OWN_LIMIT and "open files" in found.detail


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENETUNREACH, Failure.UNREACHABLE),
        (errno.EHOSTUNREACH, Failure.UNREACHABLE),
        (errno.ETIMEDOUT, Failure.TIMEOUT),
        (errno.EPIPE, Failure.RESET),
        (errno.EADDRNOTAVAIL, Failure.OWN_LIMIT),
        (errno.ENOMEM, Failure.OWN_LIMIT),
        (errno.ENOBUFS, Failure.OWN_LIMIT),
        (errno.EPERM, Failure.UNREACHABLE),
    ],
)
def test_errors_of_the_kernel(number: int, expected: Failure) -> None:
    assert classify(OSError(number, "words"), Phase.CONNECT, 1)[0] is expected


def test_what_nobody_foresaw_has_a_class() -> None:
    assert classify(MemoryError(), Phase.OPERATION, 1)[0] is Failure.OWN_LIMIT
    assert classify(KeyError("x"), Phase.OPERATION, 1)[0] is Failure.GARBAGE


@given(st.binary(max_size=400), st.sampled_from([Kind.PING, Kind.LS]))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_answer_of_a_door_is_an_outcome(
    pki: Pki, ours: GsiContext, answer: bytes, kind: Kind
) -> None:
    with serving(door(server_tls(pki), says(answer))) as server:
        found = ask(server, ours, kind)
    assert found.failure in (Failure.CUT_OFF, Failure.GARBAGE, Failure.RESET)


@given(st.binary(max_size=200), st.sampled_from(list(Kind)))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_anything_before_authentication_is_an_outcome(
    ours: GsiContext, first: bytes, kind: Kind
) -> None:
    def talk(plain: socket.socket) -> None:
        plain.sendall(first)
        plain.shutdown(socket.SHUT_WR)
        silent(plain)

    with serving(talk) as server:
        assert ask(server, ours, kind).failure is not None


@given(st.binary(max_size=200))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_reply_of_a_transfer_server_is_an_outcome(
    pki: Pki, ours: GsiContext, reply: bytes
) -> None:
    known = {"USER": b"331 x\r\n", "PASS": b"230 x\r\n"}
    replies = iter([*known.values(), reply, None])
    with serving(transfer_server(server_tls(pki), lambda _: next(replies))) as server:
        found = perform(Kind.MLSC, server.endpoint, ours, "/d", 0.3)
    assert found.failure is not None or reply.startswith(b"250")


def test_classes_of_the_module_are_those_of_the_report() -> None:
    assert set(outcomes._ERRORS.values()) <= set(Failure)


#: Under gevent: each client in a greenlet, all in one thread; prints failures and seconds.
_GREENLETS = """
from gevent import monkey
monkey.patch_all()
import gevent, json, sys, time
from cloudlet_deploy.smoke.gsi import Credential
from cloudlet_deploy.smoke.outcome import Asker, perform
from cloudlet_deploy.smoke.types import Endpoint, Kind
certificate, key, ca_dir, *ports = sys.argv[1:]
context = Credential(certificate, key, ca_dir).context()
silent, good = (Endpoint("localhost", int(port), "127.0.0.1") for port in ports)
began = time.monotonic()
waiting = [gevent.spawn(perform, Kind.LS, silent, context, "/d", 1.0) for _ in range(50)]
served = [gevent.spawn(perform, Kind.LS, good, context, "/d", 20.0) for _ in range(5)]
kept = Asker(Kind.LS, good, context, "/d", 20.0, keep_alive=True)
served += [gevent.spawn(kept.ask)]
gevent.joinall(waiting + served)
took = time.monotonic() - began
print(json.dumps([[one.value.failure for one in some] for some in (waiting, served)] + [took]))
"""


def test_works_under_monkey_patching_too(pki: Pki) -> None:
    pytest.importorskip("gevent")
    user = pki.user("alice")
    files = [user / "usercert.pem", user / "userkey.pem", pki.certificates]
    with serving(silent) as hangs, serving(door(server_tls(pki), says(GOOD))) as serves:
        ports = [hangs.endpoint.port, serves.endpoint.port]
        done = subprocess.run(
            [sys.executable, "-c", _GREENLETS, *map(str, files), *map(str, ports)],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        connections = hangs.connections
    assert done.returncode == 0, done.stderr
    waited, answered, took = json.loads(done.stdout)
    assert waited == ["timeout"] * 50 and answered == [None] * 6
    # One after the other they would take 50 s.
    assert connections == 50 and took < 15
