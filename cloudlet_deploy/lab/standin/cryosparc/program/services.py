"""``python3 -m cryosparc_standin.services NAME``: one of the processes below the supervisor."""

from __future__ import annotations

import base64
import hashlib
import socket
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from . import api, database, session, settings
from .settings import API, APP_API, CACHE, DATABASE, PORTS, VIS, WEB, Settings

#: In the order in which they are started.
NAMES = ("database", "cache", "command_api", "app", "live")
_PAGE = b"<!DOCTYPE html><title>CryoSPARC (lab stand-in)</title><h1>CryoSPARC (lab stand-in)</h1>\n"
_WEBSOCKET = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def ports(name: str, base: int) -> tuple[int, ...]:
    """What the process ``name`` listens on; the supervisor itself has base + 5."""
    return {
        "database": (base + DATABASE,),
        "cache": (base + CACHE,),
        "command_api": (base + API,),
        "app": (base + WEB, base + VIS, *range(base + APP_API, base + PORTS)),
        "live": (),
    }[name]


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


class _Cache(socketserver.StreamRequestHandler):
    """Redis as far as a probe of it goes."""

    def handle(self) -> None:
        for line in self.rfile:
            if b"PING" in line.upper():
                self.wfile.write(b"+PONG\r\n")


class _Silent(socketserver.BaseRequestHandler):
    """Takes connections, and says nothing until the other side goes."""

    def handle(self) -> None:
        connection: socket.socket = self.request
        while connection.recv(4096):
            pass


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if "websocket" in self.headers.get("Upgrade", "").lower():
            self._upgrade()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(_PAGE)))
        self.end_headers()
        self.wfile.write(_PAGE)

    def _upgrade(self) -> None:
        """What a page keeps open (RFC 6455): one message, then silence."""
        asked = self.headers.get("Sec-WebSocket-Key", "") + _WEBSOCKET
        accept = base64.b64encode(hashlib.sha1(asked.encode()).digest()).decode()
        self.send_response(101)
        for name, value in {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Accept": accept,
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"\x81\x05hello")
        while self.rfile.read(1):
            pass

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Web(ThreadingHTTPServer):
    daemon_threads = True


def _listen(port: int, handler: type[socketserver.BaseRequestHandler]) -> None:
    with _Server(("", port), handler) as server:
        server.serve_forever()


def _app(base: int) -> None:
    web, *others = ports("app", base)
    for port in others:
        threading.Thread(target=_listen, args=(port, _Silent), daemon=True).start()
    _Web(("", web), _Page).serve_forever()


def run(name: str, own: Settings) -> None:
    """Be the process ``name``, for ever."""
    if name == "database":
        database.serve(database.Database(own.database, own.version), ports(name, own.base_port)[0])
    elif name == "cache":
        _listen(ports(name, own.base_port)[0], _Cache)
    elif name == "command_api":
        api.serve(own)
    elif name == "app":
        _app(own.base_port)
    else:
        session.run(own)


if __name__ == "__main__":
    try:
        run(sys.argv[1], settings.read())
    except (OSError, database.TooNew) as problem:
        raise SystemExit(f"{sys.argv[1]}: {problem}") from problem
