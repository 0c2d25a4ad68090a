"""Starts the BeStMan stand-in on the loopback interface, and a small SRM client for it."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from cryptography.hazmat.primitives import serialization

from cloudlet_deploy.lab.ca import Pki

ALICE = "/O=Grid/OU=lab/CN=Alice Lab"
MALLORY = "/O=Grid/OU=lab/CN=Mallory Lab"
_JETTY = """<?xml version="1.0"?>
<!DOCTYPE Configure PUBLIC "-//Jetty//Configure//EN" "http://www.eclipse.org/jetty/configure.dtd">
<Configure id="Server" class="org.eclipse.jetty.server.Server">
  <Set name="ThreadPool"><New class="org.eclipse.jetty.util.thread.QueuedThreadPool">
    <Set name="minThreads">2</Set><Set name="maxThreads">{threads}</Set>
  </New></Set>
</Configure>
"""
_ENVELOPE = (
    '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body>'
    '<ns:{op} xmlns:ns="http://srm.lbl.gov/StorageResourceManager"><{op}Request>{inner}'
    "</{op}Request></ns:{op}></soapenv:Body></soapenv:Envelope>"
)


def free_ports(count: int = 1) -> int:
    """The first of ``count`` free ports in a row, below those that connections are given.

    A port that the kernel hands out is anybody's at any moment: a connection of another test
    that has it keeps a server from listening there. Where next to none are below, it takes those.
    """
    handed_out = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for first in random.sample(range(10000, max(handed_out, 20000) - count), 100):
        with contextlib.ExitStack() as held:
            try:
                for port in range(first, first + count):
                    probe = held.enter_context(socket.socket())
                    probe.bind(("", port))
            except OSError:
                continue
            return first
    raise AssertionError(f"no {count} free ports in a row in 100 tries")


@dataclass
class Door:
    """One configuration of the stand-in below ``root``; ``running()`` starts it."""

    home: Path
    pki: Pki
    root: Path
    threads: int = 32
    rc: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.port = free_ports()
        for name in ("data", "log"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        self.gridmap = self.root / "grid-mapfile"
        self.gridmap.write_text(f'# the lab\n"{ALICE}" alice,second\n')
        host = self.pki.host("localhost")
        self.key = self.root / "hostkey.pem"
        self.key.write_bytes(_pkcs1(host / "hostkey.pem"))
        self.rc = {
            "securePort": str(self.port),
            "CertFileName": str(host / "hostcert.pem"),
            "KeyFileName": str(self.key),
            "FactoryID": "srm/v2/server",
            "GridMapFileName": str(self.gridmap),
            "EventLogLocation": str(self.root / "log"),
            "eventLogLevel": "DEBUG",
            "localPathListAllowed": str(self.data),
            "localPathListToBlock": "/etc;/var",
            "supportedProtocolList": "gsiftp://gftp1.lab.test;gsiftp://gftp2.lab.test:2812",
            "fsConcurrency": "4",
            "checkSizeWithFS": "true",
            "disableSpaceMgt": "true",
            "noCacheLog": "true",
            **self.rc,
        }

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def event_log(self) -> Path:
        return self.root / "log" / "event.srm.log"

    def surl(self, path: Path | str) -> str:
        return f"srm://localhost:{self.port}/srm/v2/server?SFN={path}"

    def argv(self) -> list[str]:
        """The command that the role's unit runs, rc and jetty.xml written first."""
        rc_file, jetty = self.root / "bestman2.rc", self.root / "jetty.xml"
        rc_file.write_text("".join(f"{k}={v}\n" for k, v in self.rc.items()))
        jetty.write_text(_JETTY.format(threads=self.threads))
        options = {
            "GLOBUS_HOSTNAME": "localhost",
            "X509_CERT_DIR": str(self.pki.certificates),
            "CADIR": str(self.pki.certificates),
            "JettyConnectorCACertPath": str(self.pki.certificates),
            "JettyConfiguration": str(jetty),
            "JettyDescriptor": f"{self.home}/conf/WEB-INF/web.xml",
            "JettyResource": f"{self.home}/conf/",
            **self.options,
        }
        memory = ["-Xmx128m", "-XX:MaxDirectMemorySize=128m", "-Xss256k"]
        defines = [f"-D{key}={value}" for key, value in options.items() if value]
        classes = f"{self.home}/properties:{self.home}/lib/*"
        main = "gov.lbl.srm.server.Server"
        return ["java", "-server", *memory, *defines, "-cp", classes, main, str(rc_file)]

    def fail_to_start(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.argv(), capture_output=True, text=True, timeout=90, check=False)

    @contextlib.contextmanager
    def running(self) -> Iterator[Door]:
        output = self.root / "stderr"
        with output.open("w") as stream:
            process = subprocess.Popen(self.argv(), stdout=stream, stderr=stream)
        try:
            deadline = time.monotonic() + 120
            while "is ready" not in output.read_text():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError(f"did not start: {output.read_text()}")
                time.sleep(0.05)
            yield self
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def connect(
        self,
        user: str | Path | None = "alice",
        *,
        tls: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        first: bytes = b"0",
        timeout: float = 120,
    ) -> Client:
        """TLS as ``user`` (a name of the lab, a PEM file with chain and key, or nobody)."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(capath=str(self.pki.certificates))
        context.minimum_version = context.maximum_version = tls
        if isinstance(user, Path):
            context.load_cert_chain(user)
        elif user is not None:
            where = self.pki.user(user)
            context.load_cert_chain(where / "usercert.pem", where / "userkey.pem")
        raw = socket.create_connection(("127.0.0.1", self.port), timeout)
        stream = context.wrap_socket(raw, server_hostname="localhost")
        stream.sendall(first)
        return Client(stream)

    def call(self, operation: str, inner: str = "", user: str | Path = "alice") -> Answer:
        with self.connect(user) as client:
            return client.call(operation, inner)

    def ls(self, *paths: Path | str, user: str | Path = "alice", more: str = "") -> Answer:
        urls = "".join(f"<urlArray>{self.surl(path)}</urlArray>" for path in paths)
        inner = f"<arrayOfSURLs>{urls}</arrayOfSURLs><fullDetailedList>true</fullDetailedList>"
        return self.call("srmLs", inner + more, user)


class Client:
    """HTTP/1.1 with keep-alive over one connection."""

    def __init__(self, stream: ssl.SSLSocket) -> None:
        self.stream = stream
        self._lines = stream.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._lines.close()
        self.stream.close()

    def call(self, operation: str, inner: str = "", *, chunks: bool = False) -> Answer:
        return self.post(_ENVELOPE.format(op=operation, inner=inner).encode(), chunks=chunks)

    def post(self, body: bytes, *, path: str = "/srm/v2/server", chunks: bool = False) -> Answer:
        head = f'POST {path} HTTP/1.1\r\nHost: localhost\r\nSOAPAction: ""\r\n'
        if chunks:
            parts = [body[i : i + 100] for i in range(0, len(body), 100)] + [b""]
            packed = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
            self.stream.sendall(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + packed)
        else:
            self.stream.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return self.read()

    def read(self) -> Answer:
        status = int(self._lines.readline().split()[1])
        length = 0
        while (line := self._lines.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return Answer(status, self._lines.read(length).decode())


@dataclass(frozen=True)
class Answer:
    """An HTTP status and a SOAP body."""

    http: int
    text: str

    @property
    def value(self) -> dict[str, object]:
        """The response bean, every ``href`` replaced by what it points at."""
        root = ElementTree.fromstring(self.text)
        ids = {element.get("id"): element for element in root.iter() if element.get("id")}
        found = _resolve(root[0][0][0], ids)
        assert isinstance(found, dict)
        return found

    @property
    def status(self) -> str:
        return self.value["returnStatus"]["statusCode"]  # type: ignore[index, no-any-return]

    @property
    def explanation(self) -> str:
        return self.value["returnStatus"]["explanation"]  # type: ignore[index, no-any-return]

    @property
    def details(self) -> list[dict[str, object]]:
        return many(self.value["details"], "pathDetailArray")


def many(array: object, name: str) -> list[dict[str, object]]:
    """The elements of an ``ArrayOf...`` value, of which a single one is no list."""
    assert isinstance(array, dict)
    found = array[name]
    return found if isinstance(found, list) else [found]


def paths(details: list[dict[str, object]], base: Path) -> set[str]:
    """The paths in a listing, relative to ``base``, children included."""
    found: set[str] = set()
    for detail in details:
        found.add(os.path.relpath(str(detail["path"]), base))
        if "arrayOfSubPaths" in detail:
            found |= paths(many(detail["arrayOfSubPaths"], "pathDetailArray"), base)
    return found


def _resolve(element: ElementTree.Element, ids: dict[str | None, ElementTree.Element]) -> object:
    href = element.get("href")
    if href is not None:
        return _resolve(ids[href.removeprefix("#")], ids)
    if len(element) == 0:
        return element.text or ""
    fields: dict[str, object] = {}
    for child in element:
        value, before = _resolve(child, ids), fields.get(child.tag)
        if before is None:
            fields[child.tag] = value
        else:
            fields[child.tag] = [*(before if isinstance(before, list) else [before]), value]
    return fields


def gfal(pki: Pki, *argv: str, proxy: Path | None = None, user: str = "alice") -> tuple[int, str]:
    """Run one of Debian's gfal2 commands as a user of the lab: exit code and all output."""
    where = pki.user(user)
    credentials = (
        {"X509_USER_PROXY": str(proxy)}
        if proxy
        else {
            "X509_USER_CERT": str(where / "usercert.pem"),
            "X509_USER_KEY": str(where / "userkey.pem"),
        }
    )
    # gfal2's Python bindings belong to the distribution's interpreter.
    environment = {
        "PATH": os.environ["PATH"],
        "GFAL_PYTHONBIN": "/usr/bin/python3",
        "X509_CERT_DIR": str(pki.certificates),
        **credentials,
    }
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    return done.returncode, done.stdout + done.stderr


def missing_programs(*names: str) -> str:
    return ", ".join(name for name in names if shutil.which(name) is None)


def _pkcs1(key_file: Path) -> bytes:
    key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
