"""Servers on the loopback interface for the clients of the scaling test: good, bad and hostile."""

from __future__ import annotations

import base64
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from cloudlet_deploy.lab.ca import Pki
from cloudlet_deploy.smoke.gsi import Credential, GsiContext
from cloudlet_deploy.smoke.types import Endpoint

#: What a server does with a connection; it ends by returning or by an OSError.
Talk = Callable[[socket.socket], None]


def made_pki(directory: Path) -> Pki:
    """A throw-away CA with certificates for localhost and for another host."""
    pki = Pki(directory)
    pki.ensure(("localhost", "elsewhere.lab.test"))
    return pki


def credential(pki: Pki, user: str = "alice", ca_dir: Path | None = None) -> Credential:
    where = pki.user(user)
    ca_dir = ca_dir or pki.certificates
    return Credential(where / "usercert.pem", where / "userkey.pem", ca_dir)


def context(pki: Pki, ca_dir: Path | None = None) -> GsiContext:
    return credential(pki, ca_dir=ca_dir).context()


def issued(pki: Pki, where: Path, begins: timedelta, ends: timedelta) -> Credential:
    """A credential of the CA that is valid from and until then, counted from now."""
    authority = x509.load_pem_x509_certificate((pki.directory / "ca/cert.pem").read_bytes())
    signer = serialization.load_pem_private_key((pki.directory / "ca/key.pem").read_bytes(), None)
    assert isinstance(signer, rsa.RSAPrivateKey)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Eve")]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .sign(signer, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    where.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
    return Credential(where, where, pki.certificates)


def server_tls(pki: Pki, host: str = "localhost", ca_dir: Path | None = None) -> ssl.SSLContext:
    """What a door or a transfer server speaks TLS with."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pki.host(host) / "hostcert.pem", pki.host(host) / "hostkey.pem")
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.verify_flags |= ssl.VERIFY_ALLOW_PROXY_CERTS
    tls.load_verify_locations(capath=str(ca_dir or pki.certificates))
    return tls


class Server:
    """Serves every connection in a thread of its own, and remembers what it was asked."""

    def __init__(self, talk: Talk) -> None:
        self.talk = talk
        self.connections = 0
        self.over = threading.Event()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.endpoint = Endpoint("localhost", self._listener.getsockname()[1], "127.0.0.1")
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            client.settimeout(10)
            self._open.append(client)
            thread = threading.Thread(target=self._one, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _one(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            self.talk(client)

    def stop(self) -> None:
        self.over.set()
        # shutdown() wakes accept(); close() alone would not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for client in self._open:
            try:
                client.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for thread in self._threads:
            thread.join(10)


@contextmanager
def serving(talk: Talk) -> Iterator[Server]:
    server = Server(talk)
    try:
        yield server
    finally:
        server.stop()


def door(tls: ssl.SSLContext, answer: Callable[[ssl.SSLSocket, bytes], bool | None]) -> Talk:
    """A door that calls ``answer`` with each request, until it returns False or nothing comes."""

    def talk(plain: socket.socket) -> None:
        with tls.wrap_socket(plain, server_side=True) as channel:
            if channel.recv(1) != b"0":
                return
            while request := _request(channel):
                if answer(channel, request) is False:
                    return

    return talk


def _request(channel: ssl.SSLSocket) -> bytes:
    data = b""
    while piece := channel.recv(65536):
        data += piece
        head, found, body = data.partition(b"\r\n\r\n")
        if found and len(body) == int(head.partition(b"Content-Length: ")[2].partition(b"\r")[0]):
            return data
    return b""


def http(body: bytes, status: str = "200 OK", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body


def says(*pieces: bytes, pause: float = 0.0) -> Callable[[ssl.SSLSocket, bytes], bool]:
    """An answer in pieces; then it hangs up."""

    def answer(channel: ssl.SSLSocket, _request: bytes) -> bool:
        for piece in pieces:
            channel.sendall(piece)
            time.sleep(pause)
        return False

    return answer


def transfer_server(
    tls: ssl.SSLContext,
    answer: Callable[[str], bytes | None],
    *,
    banner: bytes = b"220 ready\r\n",
    per_line: bool = False,
) -> Talk:
    """A control channel: ``answer`` gives the reply to a command, None hangs up.

    ``per_line`` wraps every line of a reply by itself, as Globus does.
    """

    def talk(plain: socket.socket) -> None:
        tls.maximum_version = ssl.TLSVersion.TLSv1_2
        stream = plain.makefile("rb")
        plain.sendall(banner)
        if stream.readline() != b"AUTH GSSAPI\r\n":
            return
        plain.sendall(b"334 Using authentication type; ADAT must follow.\r\n")
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        channel = tls.wrap_bio(incoming, outgoing, server_side=True)
        shaken = False
        while line := stream.readline():
            incoming.write(base64.b64decode(line.removeprefix(b"ADAT ").removeprefix(b"ENC ")))
            if line.startswith(b"ADAT ") and not shaken:
                try:
                    channel.do_handshake()
                    shaken = True
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLError:
                    plain.sendall(b"535 Authentication failed\r\n")
                    return
                token = base64.b64encode(outgoing.read())
                plain.sendall(b"335 ADAT=" + token + b"\r\n")
                continue
            command = channel.read(65536)
            if line.startswith(b"ADAT "):
                assert command == b"0"
                plain.sendall(b"235 GSSAPI Authentication successful.\r\n")
                continue
            reply = answer(command.decode().rstrip())
            if reply is None:
                return
            lines = reply.splitlines(keepends=True) if per_line else [reply]
            for number, one in enumerate(lines, 1):
                channel.write(one)
                mark = b" " if number == len(lines) else b"-"
                plain.sendall(b"632" + mark + base64.b64encode(outgoing.read()) + b"\r\n")

    return talk
