#!/usr/bin/env python3
"""An SRM door that does nothing but TLS: what a load client is measured against.

    tls_sink.py --certificate PEM --key PEM --ca-dir DIR [--listen ADDRESS:PORT] [--control PORT]
                [--processes N] [--entries N] [--hold]

Wants a client certificate, reads the GSI byte and SOAP requests over HTTP/1.1 (new connections or
kept ones), and answers srmPing, and srmLs with a fixed listing, in multiRefs. With `--hold` it
reads the request and never answers. Prints `ready ADDRESS:PORT CONTROL-PORT`.

Whoever connects to the control port (on the loopback interface, or with `--control` on that of
--listen) gets one line of JSON: how many connections were accepted, handshakes done, answers sent
of each kind, requests held and connections now open, all processes together. The same line is
printed at the end (SIGTERM or SIGINT). An answer counts when the kernel has all of it.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import re
import resource
import selectors
import signal
import socket
import ssl
import struct
import threading
from functools import lru_cache
from types import FrameType

COUNTERS = ("accepted", "handshakes", "failed", "ping", "ls", "held", "open")
_ROW = struct.Struct(f"{len(COUNTERS)}q")
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_PATH = re.compile(rb"SFN=([^<]*)<")
_ENVELOPE = (
    '<?xml version="1.0" encoding="utf-8"?><soapenv:Envelope xmlns:soapenv='
    '"http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsd="http://www.w3.org/2001/XMLSchema" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body><ns1:{0}Response '
    'soapenv:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/" '
    'xmlns:ns1="http://srm.lbl.gov/StorageResourceManager"><{0}Response href="#id0"/>'
    "</ns1:{0}Response>{1}</soapenv:Body></soapenv:Envelope>"
)
_REF = (
    '<multiRef id="id{0}" soapenc:root="0" '
    'soapenv:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/" xsi:type="{1}" '
    'xmlns:soapenc="http://schemas.xmlsoap.org/soap/encoding/" '
    'xmlns:srm="http://srm.lbl.gov/StorageResourceManager">{2}</multiRef>'
)


def ping_answer() -> bytes:
    """The answer to srmPing, as HTTP."""
    version = _REF.format(0, "srm:srmPingResponse", "<versionInfo>v2.2</versionInfo>")
    return _http(_ENVELOPE.format("srmPing", version))


def listing(path: str, entries: int) -> str:
    """The answer to a detailed srmLs of a directory with so many files; ``path`` is XML."""
    status, details = "srm:TReturnStatus", "srm:ArrayOfTMetaDataPathDetail"
    # gSOAP refuses a part of another type than it expects.
    refs = [
        ("srm:srmLsResponse", '<returnStatus href="#id1"/><details href="#id3"/>'),
        (status, '<statusCode href="#id2"/><explanation xsi:type="xsd:string">done</explanation>'),
        ("srm:TStatusCode", "SRM_SUCCESS"),
        (details, '<pathDetailArray href="#id4"/>'),
        (
            "srm:TMetaDataPathDetail",
            f'<path xsi:type="xsd:string">{path}</path><status href="#id1"/><type href="#id5"/>'
            '<arrayOfSubPaths href="#id6"/>',
        ),
        ("srm:TFileType", "DIRECTORY"),
        (details, "".join(f'<pathDetailArray href="#id{10 + 3 * i}"/>' for i in range(entries))),
        ("srm:TFileType", "FILE"),
        ("srm:TPermissionMode", "RW"),
        (
            "srm:TUserPermission",
            '<userID xsi:type="xsd:string">grid</userID><mode href="#id8"/>',
        ),
    ]
    for i in range(entries):
        number = 10 + 3 * i
        refs += [
            (
                "srm:TMetaDataPathDetail",
                f'<path xsi:type="xsd:string">{path}/file_{i:05}</path>'
                f'<status href="#id{number + 1}"/><size href="#id{number + 2}"/>'
                '<lastModificationTime xsi:type="xsd:dateTime">2026-01-01T00:00:00.000Z'
                '</lastModificationTime><type href="#id7"/><ownerPermission href="#id9"/>'
                '<otherPermission href="#id8"/>',
            ),
            (status, '<statusCode href="#id2"/>'),
            ("xsd:unsignedLong", f"{i}"),
        ]
    return _ENVELOPE.format("srmLs", "".join(_REF.format(i, *ref) for i, ref in enumerate(refs)))


@lru_cache(maxsize=64)
def ls_answer(path: bytes, entries: int) -> bytes:
    """The answer to srmLs, as HTTP."""
    return _http(listing(path.decode(), entries))


def _http(body: str) -> bytes:
    data = body.encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/xml;charset=utf-8\r\nContent-Length: {len(data)}"
    return head.encode() + b"\r\n\r\n" + data


class Counters:
    """Figures of all processes, in memory that they share; each writes a row of its own."""

    def __init__(self, processes: int) -> None:
        self._memory = mmap.mmap(-1, _ROW.size * processes)
        self._rows = processes
        self.mine = dict.fromkeys(COUNTERS, 0)
        self._row = 0

    def take(self, row: int) -> None:
        """This process writes that row from now on."""
        self._row = row

    def add(self, name: str, number: int = 1) -> None:
        self.mine[name] += number
        _ROW.pack_into(self._memory, self._row * _ROW.size, *self.mine.values())

    def total(self) -> str:
        rows = [_ROW.unpack_from(self._memory, row * _ROW.size) for row in range(self._rows)]
        return json.dumps(dict(zip(COUNTERS, map(sum, zip(*rows, strict=True)), strict=True)))


class Connection:
    """One client. ``step`` goes on until it would block, and says what it waits for."""

    def __init__(self, channel: ssl.SSLSocket, sink: Sink) -> None:
        self.channel = channel
        self.sink = sink
        self.shaken = False
        self.first = True
        self.request = bytearray()
        self.answer = memoryview(b"")
        self.kind = ""
        self.closes = False

    def step(self) -> int:
        """Events to wait for; 0 if it is over. Raises OSError."""
        try:
            if not self.shaken:
                self.channel.do_handshake()
                self.shaken = True
                self.sink.counters.add("handshakes")
            while True:
                while self.answer:
                    self.answer = self.answer[self.channel.send(self.answer) :]
                if self.kind:
                    self.sink.counters.add(self.kind)
                    self.kind = ""
                    if self.closes:
                        return 0
                received = self.channel.recv(16384)
                if not received:
                    return 0
                self.request += received
                self._look()
        except ssl.SSLWantReadError:
            return selectors.EVENT_READ
        except ssl.SSLWantWriteError:
            return selectors.EVENT_WRITE

    def _look(self) -> None:
        """Answer the request if it is whole."""
        if self.first:
            if self.request[:1] != b"0":
                raise OSError("no GSI byte")
            del self.request[:1]
            self.first = False
        end = self.request.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        length = _LENGTH.search(self.request, 0, end)
        if length is None:
            raise OSError("no length")
        if len(self.request) < end + int(length[1]):
            return
        text = bytes(self.request)
        self.request.clear()
        if self.sink.hold:
            self.sink.counters.add("held")
            return
        self.closes = b"Connection: close" in text
        if b"srmPing>" in text:
            self.kind, self.answer = "ping", memoryview(self.sink.ping)
        else:
            path = _PATH.search(text)
            found = ls_answer(path[1] if path else b"", self.sink.entries)
            self.kind, self.answer = "ls", memoryview(found)


class Sink:
    """One process of the sink."""

    def __init__(self, given: argparse.Namespace, counters: Counters) -> None:
        self.counters = counters
        self.entries: int = given.entries
        self.hold: bool = given.hold
        self.ping = ping_answer()
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        # Globus clients send a byte more in 1.3.
        self.tls.maximum_version = ssl.TLSVersion.TLSv1_2
        self.tls.load_cert_chain(given.certificate, given.key)
        self.tls.load_verify_locations(capath=given.ca_dir)
        self.tls.verify_mode = ssl.CERT_REQUIRED
        self.tls.verify_flags |= ssl.VERIFY_ALLOW_PROXY_CERTS
        self.tls.options |= ssl.OP_NO_TICKET
        self.selector = selectors.DefaultSelector()

    def serve(self, listener: socket.socket) -> None:
        listener.setblocking(False)
        self.selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in self.selector.select():
                if isinstance(key.data, Connection):
                    self._step(key.data, key.events)
                else:
                    self._accept(listener)

    def _accept(self, listener: socket.socket) -> None:
        try:
            plain, _ = listener.accept()
        except OSError:  # another process was faster
            return
        self.counters.add("accepted")
        self.counters.add("open")
        plain.setblocking(False)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        channel = self.tls.wrap_socket(plain, server_side=True, do_handshake_on_connect=False)
        connection = Connection(channel, self)
        self.selector.register(channel, selectors.EVENT_READ, connection)

    def _step(self, connection: Connection, waited: int) -> None:
        try:
            events = connection.step()
        except OSError:
            events = 0
            if not connection.shaken:
                self.counters.add("failed")
        if events and events != waited:
            self.selector.modify(connection.channel, events, connection)
        elif not events:
            self.selector.unregister(connection.channel)
            connection.channel.close()
            self.counters.add("open", -1)


def tell(listener: socket.socket, counters: Counters) -> None:
    """Send the figures to whoever connects."""
    while True:
        client, _ = listener.accept()
        with client:
            client.sendall(counters.total().encode() + b"\n")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("--certificate", "--key", "--ca-dir"):
        parser.add_argument(name, required=True)
    parser.add_argument("--listen", default="127.0.0.1:0")
    parser.add_argument("--control", type=int)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--entries", type=int, default=10)
    parser.add_argument("--hold", action="store_true")
    given = parser.parse_args()
    address, _, port = given.listen.rpartition(":")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    listener = socket.create_server((address, int(port)), backlog=4096)
    control = socket.create_server(
        ("127.0.0.1" if given.control is None else address, given.control or 0)
    )
    counters = Counters(given.processes)
    children = []
    for row in range(given.processes):
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            counters.take(row)
            Sink(given, counters).serve(listener)
        children.append(child)

    def end(_signal: int, _frame: FrameType | None) -> None:
        for child in children:
            os.kill(child, signal.SIGKILL)
        print(counters.total(), flush=True)
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    threading.Thread(target=tell, args=(control, counters), daemon=True).start()
    where = listener.getsockname()
    print(f"ready {where[0]}:{where[1]} {control.getsockname()[1]}", flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
