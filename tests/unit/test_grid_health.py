"""``grid_health`` against real sockets: a TLS door that speaks httpg, a GridFTP greeting."""

from __future__ import annotations

import datetime
import itertools
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import srm_probe
from ansible_collections.cloudlet.deploy.plugins.modules import grid_health
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NS = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Grid"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


class Pki:
    """A CA, and certificates it signed, as files in the layout of a grid host."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.certificates = base / "certificates"
        self.certificates.mkdir()
        self.key = ec.generate_private_key(ec.SECP256R1())
        ca = self._sign(_name("Test CA"), self.key, ca=True)
        path = self.certificates / "ca.pem"
        path.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
        hashed = subprocess.run(
            ["openssl", "x509", "-in", str(path), "-noout", "-hash"],
            check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip
        path.rename(self.certificates / f"{hashed}.0")

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        *,
        ca: bool = False,
        san: str = "",
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(_name("Test CA"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if san:
            names = x509.SubjectAlternativeName([x509.DNSName(san)])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, common: str, san: str = "") -> tuple[str, str]:
        """(certificate file, key file)."""
        key = ec.generate_private_key(ec.SECP256R1())
        stem = self.base / common.replace("/", "_")
        certificate, key_file = stem.with_suffix(".pem"), stem.with_suffix(".key")
        signed = self._sign(_name(common), key, san=san)
        certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return str(certificate), str(key_file)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


def soap(status: str, explanation: str = "", entry: str = "", said: str = "") -> bytes:
    """An srmLs reply in the form of Axis: every part a multiRef, enumerations too."""
    detail = (
        f'<multiRef id="id3" {NS}><pathDetailArray href="#id4"/></multiRef>'
        f'<multiRef id="id4" {NS}><path>/x</path><status href="#id5"/></multiRef>'
        f'<multiRef id="id5" {NS}><statusCode href="#id6"/><explanation>{said}</explanation>'
        f'</multiRef><multiRef id="id6">{entry}</multiRef>'
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope '
        'xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>'
        '<ns1:srmLsResponse xmlns:ns1="http://srm.lbl.gov/StorageResourceManager">'
        '<srmLsResponse href="#id0"/></ns1:srmLsResponse>'
        f'<multiRef id="id0" {NS}><returnStatus href="#id1"/>'
        + ('<details href="#id3"/>' if entry else f'<details {NS} xsi:nil="true"/>')
        + '</multiRef><multiRef id="id1"><statusCode href="#id2"/>'
        f"<explanation {NS}>{explanation}</explanation></multiRef>"
        f'<multiRef id="id2">{status}</multiRef>{detail if entry else ""}'
        "</soapenv:Body></soapenv:Envelope>"
    ).encode()


PING = (
    b'<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><srmPingResponse>'
    b"<r><versionInfo>v2.2</versionInfo><otherInfo>"
    b"<extraInfoArray><key>color</key><value>red</value></extraInfoArray>"
    b"<extraInfoArray><key>backend_type</key><value>Test</value></extraInfoArray>"
    b"<extraInfoArray><key>backend_version</key><value>9.1</value></extraInfoArray>"
    b"</otherInfo></r></srmPingResponse></e:Body></e:Envelope>"
)


class Door:
    """Serves httpg on loopback: one scripted answer a connection, the last one again and again.

    An answer is a body, an HTTP status with a body, or None to hang up after the handshake.
    """

    def __init__(self, context: ssl.SSLContext, answers: list[Any]) -> None:
        self.context = context
        self.answers = answers
        self.requests: list[bytes] = []
        self.delegation: list[bytes] = []
        self.peers: list[Any] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        for turn in itertools.count():
            try:
                plain, _ = self.listener.accept()
            except OSError:
                return
            plain.settimeout(5)
            answer = self.answers[min(turn, len(self.answers) - 1)]
            try:
                with self.context.wrap_socket(plain, server_side=True) as channel:
                    self.peers.append(channel.getpeercert())
                    if answer is not None:
                        self._talk(channel, answer)
            except OSError:
                continue

    def _talk(self, channel: ssl.SSLSocket, answer: Any) -> None:
        self.delegation.append(channel.recv(1))
        status, body = answer if isinstance(answer, tuple) else ("200 OK", answer)
        while request := self._request(channel):
            self.requests.append(request)
            data = PING if b"srmPing" in request else body
            head = f"HTTP/1.1 {status}\r\nContent-Length: {len(data)}\r\n\r\n"
            channel.sendall(head.encode() + data)

    @staticmethod
    def _request(channel: ssl.SSLSocket) -> bytes:
        data = b""
        while chunk := channel.recv(65536):
            data += chunk
            head, found, body = data.partition(b"\r\n\r\n")
            length = re.search(rb"Content-Length: (\d+)", head)
            if found and length and len(body) == int(length.group(1)):
                return data
        return b""


@pytest.fixture
def door(pki: Pki) -> Iterator[Callable[..., Door]]:
    doors = []

    def make(*answers: Any, common: str = "host/localhost", san: str = "") -> Door:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*pki.issue(common, san))
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(capath=str(pki.certificates))
        doors.append(Door(context, list(answers)))
        return doors[-1]

    yield make
    for made in doors:
        # shutdown() wakes accept(); close() alone would not.
        made.listener.shutdown(socket.SHUT_RDWR)
        made.listener.close()
        made.thread.join(10)


@pytest.fixture
def options(pki: Pki) -> Callable[..., dict[str, Any]]:
    certificate, key = pki.issue("Alice")

    def make(port: int, **more: Any) -> dict[str, Any]:
        return {
            "kind": "srm", "host": "localhost", "port": port, "address": "127.0.0.1",
            "path": "/srv/a&b", "certificate": certificate, "key": key,
            "ca_dir": str(pki.certificates), "timeout": 0, **more,
        }  # fmt: skip

    return make


def refusal(options: dict[str, Any]) -> srm_probe.ProbeError:
    with pytest.raises(srm_probe.ProbeError) as caught:
        grid_health.ask(options, check=False)
    return caught.value


def test_healthy_door_is_asked_with_certificate_and_byte_and_soap(door: Any, options: Any) -> None:
    server = door(soap("SRM_SUCCESS", "fine"))
    result = grid_health.ask(options(server.port), check=False)
    assert result["healthy"] and result["checked"] and not result["changed"]
    assert (result["status"], result["explanation"]) == ("SRM_SUCCESS", "fine")
    assert result["version"] == "v2.2 Test 9.1"
    assert result["attempts"] == 1 and result["duration_ms"] >= 0
    assert server.delegation == [b"0"]
    subject = server.peers[0]["subject"]
    assert subject == ((("organizationName", "Grid"),), (("commonName", "Alice"),))
    request = server.requests[0].decode()
    assert request.startswith("POST /srm/v2/server HTTP/1.1\r\n") and 'SOAPAction: ""' in request
    surl = f"srm://localhost:{server.port}/srm/v2/server?SFN=/srv/a&amp;b"
    assert f">{surl}</urlArray>" in request


def test_name_in_subject_alternative_name_is_enough(door: Any, options: Any) -> None:
    server = door(soap("SRM_SUCCESS"), common="anything", san="LOCALHOST")
    assert grid_health.ask(options(server.port), check=False)["healthy"]


@pytest.mark.parametrize(
    ("reply", "words", "step"),
    [
        (
            soap("SRM_AUTHORIZATION_FAILURE", "no mapping for /O=Grid/CN=Alice"),
            "SRM_AUTHORIZATION_FAILURE: no mapping for /O=Grid/CN=Alice",
            "gridmap",
        ),
        (
            soap("SRM_FAILURE", "see entry", "SRM_INVALID_PATH", "/srv is not there"),
            "SRM_INVALID_PATH: /srv is not there",
            "mounted",
        ),
        (soap("SRM_FAILURE", "whole"), "answered SRM_FAILURE: whole", "log"),
        (soap(""), "answered no status", "log"),
        (
            b'<e:Envelope xmlns:e="x"><e:Body><e:Fault><faultstring>No such operation'
            b"</faultstring></e:Fault></e:Body></e:Envelope>",
            "SOAP fault: No such operation",
            "log",
        ),
        (("404 Not Found", b"<html>no"), "HTTP 404 Not Found, which is not SOAP", "web server"),
    ],
)
def test_bad_answer_is_told_and_not_asked_again(
    door: Any, options: Any, reply: Any, words: str, step: str
) -> None:
    server = door(reply)
    error = refusal(options(server.port, timeout=30))
    assert words in error.seen and step in error.next_step
    assert len(server.peers) == 1
    if b"srmLsResponse" in reply:
        assert f"srm://localhost:{server.port}/srm/v2/server?SFN=/srv/a&b" in error.seen


def test_starting_door_is_asked_until_it_answers(door: Any, options: Any) -> None:
    server = door(None, ("503 Busy", b""), soap("SRM_INTERNAL_ERROR"), soap("SRM_SUCCESS"))
    naps: list[float] = []
    result = grid_health.ask(options(server.port, timeout=30), check=False, sleep=naps.append)
    assert result["attempts"] == 4 and len(naps) == 3


def test_nothing_listening_is_waited_for_and_then_told(options: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    naps: list[float] = []
    ticks = itertools.count()
    with pytest.raises(srm_probe.ProbeError) as caught:
        grid_health.ask(
            options(port, timeout=10), check=False, sleep=naps.append, clock=lambda: next(ticks)
        )
    assert len(naps) >= 3 and "refused" in caught.value.seen


def test_check_mode_reports_and_never_fails(door: Any, options: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    absent = grid_health.ask(options(port, timeout=300), check=True)
    assert not absent["checked"] and absent["explanation"].startswith("Not checked: nothing")
    missing = grid_health.ask(options(port, certificate="/nowhere.pem"), check=True)
    assert not missing["healthy"]
    server = door(soap("SRM_AUTHORIZATION_FAILURE"))
    broken = grid_health.ask(options(server.port), check=True)
    assert broken["checked"] and not broken["healthy"] and not broken["changed"]


def test_certificate_of_another_host_is_refused(door: Any, options: Any) -> None:
    server = door(soap("SRM_SUCCESS"), common="host/elsewhere.example.org", san="other.example.org")
    error = refusal(options(server.port))
    assert "elsewhere.example.org, other.example.org" in error.seen
    assert server.requests == []


def test_untrusted_door_is_refused(door: Any, options: Any, tmp_path: Path) -> None:
    server = door(soap("SRM_SUCCESS"))
    error = refusal(options(server.port, ca_dir=str(tmp_path)))
    assert "not trusted" in error.seen and str(tmp_path) in error.next_step
    assert server.requests == []


def test_door_that_refuses_our_certificate_is_told(door: Any, options: Any, tmp_path: Path) -> None:
    stranger = Pki(tmp_path)
    certificate, key = stranger.issue("Mallory")
    server = door(soap("SRM_SUCCESS"))
    error = refusal(options(server.port, certificate=certificate, key=key, timeout=30))
    assert f"refused the certificate {certificate}" in error.seen


def test_unusable_key_names_the_files(options: Any, pki: Pki, door: Any) -> None:
    server = door(soap("SRM_SUCCESS"))
    _, other = pki.issue("Bob")
    error = refusal(options(server.port, key=other))
    assert other in error.seen and "belong together" in error.next_step
    missing = refusal(options(server.port, key="/nowhere.key"))
    assert missing.seen.startswith("/nowhere.key")


@contextmanager
def greeting(*replies: bytes) -> Iterator[tuple[int, list[bytes]]]:
    """A control channel that says ``replies``, the second and later after a command each."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            channel, _ = listener.accept()
            with channel:
                for index, reply in enumerate(replies):
                    if index:
                        heard.append(channel.recv(1000))
                    channel.sendall(reply)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1], heard
        thread.join(5)


def test_gridftp_offers_gssapi(options: Any) -> None:
    banner = b"220-Hi\r\n 220 not the end\r\n220 GridFTP 13.24\r\n"
    with greeting(banner, b"334 go\r\n") as (port, heard):
        result = grid_health.ask(options(port, kind="gridftp"), check=False)
    assert result["version"] == "GridFTP 13.24" and result["status"] == "334"
    assert heard == [b"AUTH GSSAPI\r\n"]


@pytest.mark.parametrize(
    ("replies", "words"),
    [
        ((b"421 Service busy\r\n",), "421 Service busy"),
        ((b"SSH-2.0-OpenSSH\r\n",), "its banner was"),
        ((b"220 hi\r\n", b"500 Invalid command\r\n"), "'500 Invalid command'"),
        ((b"220 hi\r\n", b""), "answered AUTH GSSAPI with ''"),
    ],
)
def test_gridftp_that_answers_badly_is_told(
    options: Any, replies: tuple[bytes, ...], words: str
) -> None:
    with greeting(*replies) as (port, _):
        assert words in refusal(options(port, kind="gridftp")).seen
