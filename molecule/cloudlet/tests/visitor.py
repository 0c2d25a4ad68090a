"""Somebody who comes to the portal with a program: cookies, redirects, raw paths, websockets."""

from __future__ import annotations

import base64
import http.client
import os
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlencode, urlsplit

import yaml

SITE = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "site"
AUTHORITY = SITE / ".lab" / "pki" / "ca" / "cert.pem"
PORTAL, IDP = "portal.lab.test", "idp.lab.test"
HOME = "/pun/sys/dashboard/"
FILES = f"{HOME}files/fs"

#: What a VNC server says at first.
RFB = b"RFB 003.008\n"


def address(host: str) -> str:
    """Where a lab host is reached, or a further name of one (``NAME.HOST``)."""
    written = yaml.safe_load((SITE / "lab_connection.yml").read_text())
    hosts = written["all"]["hosts"]
    return str(hosts[host if host in hosts else host.partition(".")[2]]["ansible_host"])


@dataclass(frozen=True)
class Answer:
    """What came back; ``url`` is what was asked for at last."""

    status: int
    headers: http.client.HTTPMessage
    text: str
    url: str


@dataclass(frozen=True)
class Line:
    """An upgraded connection: the status of the upgrade and the first message."""

    peer: ssl.SSLSocket
    status: int
    first: bytes

    def ends_within(self, seconds: float) -> bool:
        """Whether the other side ends it."""
        self.peer.settimeout(seconds)
        try:
            while self.peer.recv(4096):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
        return True

    def press(self, key: str) -> None:
        """Type one key over the middle of the screen, as a client that has come in anew."""
        said = b"\x01"  # the screen is shared
        said += struct.pack(">BBHH", 5, 0, 400, 300)
        said += b"".join(struct.pack(">BBxxI", 4, down, ord(key)) for down in (1, 0))
        self.peer.sendall(_frame(said))


def _frame(said: bytes) -> bytes:
    """A binary message of a client, masked with nothing."""
    return bytes([0x82, 0x80 | len(said)]) + bytes(4) + said


def _message(stream: BinaryIO) -> bytes:
    """The next short message of a websocket; none at its end."""
    head = stream.read(2)
    return stream.read(head[1] & 0x7F) if len(head) == 2 else b""


@dataclass
class Visitor:
    """One person's program, with cookies of its own; ``authority`` signs whom it trusts."""

    cookies: dict[str, dict[str, str]] = field(default_factory=dict)
    authority: Path = AUTHORITY

    def ask(
        self, path: str, *, host: str = PORTAL, method: str = "GET", body: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:  # fmt: skip
        """One request; ``path`` goes over the line as it is."""
        connection = http.client.HTTPSConnection(host, timeout=30)
        connection.sock = self._connect(host)
        # Programs that take no HTML are not sent to the provider.
        sent = {"Accept": "text/html", **self._jar(host), **(headers or {})}
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        self._keep(host, answer.headers)
        text = answer.read().decode("utf-8", "replace")
        connection.close()
        return Answer(answer.status, answer.headers, text, f"https://{host}{path}")

    def follow(self, path: str, *, host: str = PORTAL) -> Answer:
        """Ask, and go where one is sent."""
        answer = self.ask(path, host=host)
        for _ in range(10):
            if answer.status not in (301, 302, 303, 307):
                return answer
            there = urlsplit(answer.headers["Location"])
            path = (there.path or "/") + (f"?{there.query}" if there.query else "")
            answer = self.ask(path, host=there.hostname or host)
        raise AssertionError(f"sent round in circles: {answer.url}")

    def log_in(self, sub: str, *, host: str = PORTAL, path: str = HOME) -> Answer:
        """Become ``sub`` at the provider; the answer is what is said then."""
        page = self.follow(path, host=host)
        assert page.status == 200 and page.url.startswith(f"https://{IDP}/"), (
            page.status,
            page.url,
        )
        there = urlsplit(page.url)
        sent = self.ask(
            f"{there.path}?{there.query}", host=IDP, method="POST", body=urlencode({"sub": sub}),
            headers={"Content-Type": "application/x-www-form-urlencoded"},
        )  # fmt: skip
        back = urlsplit(sent.headers["Location"])
        return self.follow(f"{back.path}?{back.query}", host=back.hostname or host)

    def websocket(self, path: str) -> tuple[int, bytes]:
        """The status of an upgrade, and the first message where it was granted."""
        with self.watching(path) as line:
            return line.status, line.first

    @contextmanager
    def watching(self, path: str, *, host: str = PORTAL) -> Iterator[Line]:
        """An open websocket, as far as it was granted."""
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {path} HTTP/1.1", f"Host: {host}", "Upgrade: websocket", "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Protocol: binary", f"Origin: https://{host}",
            *(f"{name}: {value}" for name, value in self._jar(host).items()),
        ]  # fmt: skip
        with self._connect(host) as peer:
            peer.sendall("\r\n".join([*lines, "", ""]).encode())
            stream = peer.makefile("rb")
            status = int(stream.readline().split()[1])
            while stream.readline().strip():
                pass
            first = _message(stream) if status == 101 else b""
            if first == RFB:
                # Who leaves before RFB's opening is over counts as a burglar: after five of them
                # TigerVNC shuts out the address, which is the pod's for everybody.
                for said in (RFB, b"\x01"):
                    peer.sendall(_frame(said))
                    _message(stream)
            yield Line(peer, status, first)

    @contextmanager
    def uploading(self, path: str) -> Iterator[http.client.HTTPSConnection]:
        """A file on its way: half of it sent, so that the person's server is at work on it.

        The rest goes when the block ends; the connection has the answer then.
        """
        half = b"x" * 2**20
        connection = http.client.HTTPSConnection(PORTAL, timeout=30)
        connection.sock = self._connect(PORTAL)
        connection.putrequest("PUT", path)
        for name, value in {**self._jar(PORTAL), "Content-Length": str(2 * len(half))}.items():
            connection.putheader(name, value)
        connection.endheaders(half)
        yield connection
        connection.send(half)

    def _connect(self, host: str) -> ssl.SSLSocket:
        trust = ssl.create_default_context(cafile=self.authority)
        plain = socket.create_connection((address(host), 443), 30)
        return trust.wrap_socket(plain, server_hostname=host)

    def _jar(self, host: str) -> dict[str, str]:
        held = "; ".join(f"{name}={value}" for name, value in self.cookies.get(host, {}).items())
        return {"Cookie": held} if held else {}

    def _keep(self, host: str, headers: http.client.HTTPMessage) -> None:
        for line in headers.get_all("Set-Cookie") or ():
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies.setdefault(host, {})[name.strip()] = value.strip()
