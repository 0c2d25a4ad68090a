"""``python3 -m cryosparc_standin.supervisor``: goes to the background and keeps the others alive.

A stop takes its socket away; a crash leaves it, and leaves the other processes running, as
happens with the vendor's.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from . import services
from .settings import SUPERVISOR, Settings, read

_PATIENCE = 20.0


def socket_path(root: Path) -> Path:
    """Where the supervisor of the installation at ``root`` is spoken to."""
    digest = hashlib.md5(str(root).encode(), usedforsecurity=False).hexdigest()
    return Path(f"/tmp/cryosparc-supervisor-{digest}.sock")


def ask(root: Path, command: str, timeout: float = 40) -> Any:
    """The supervisor's answer; OSError where none runs."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        connection.connect(str(socket_path(root)))
        connection.sendall(command.encode() + b"\n")
        with connection.makefile() as stream:
            return json.loads(stream.readline())


class Supervisor:
    """The processes of one master."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self.stopping = threading.Event()

    def start(self) -> None:
        for name in services.NAMES:
            self._spawn(name)
            for port in services.ports(name, self.settings.base_port):
                self._await(name, port)

    def _spawn(self, name: str) -> None:
        log = self.settings.root / "run" / f"{name}.log"
        with log.open("ab") as stream:
            self.children[name] = subprocess.Popen(
                [sys.executable, "-m", "cryosparc_standin.services", name],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
            )

    def _await(self, name: str, port: int) -> None:
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            if self.children[name].poll() is not None:
                log = (self.settings.root / "run" / f"{name}.log").read_text().strip()
                raise SystemExit(f"{name} ended: {log.splitlines()[-1] if log else 'no reason'}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            time.sleep(0.05)
        raise SystemExit(f"{name} does not listen on {port}")

    def keep(self) -> None:
        """Start what ended, until told to stop."""
        while not self.stopping.wait(0.5):
            for name, child in list(self.children.items()):
                if child.poll() is not None and not self.stopping.is_set():
                    self._spawn(name)

    def stop(self) -> None:
        self.stopping.set()
        for name in reversed(services.NAMES):
            child = self.children.get(name)
            if child is not None and child.poll() is None:
                child.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(10)

    def answer(self, command: str) -> Any:
        if command == "stop":
            self.stopping.set()
        return {name: child.poll() is None for name, child in self.children.items()}


def _serve(own: Supervisor, listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        with connection, connection.makefile() as stream, contextlib.suppress(OSError):
            answer = own.answer(stream.readline().strip())
            connection.sendall(json.dumps(answer).encode() + b"\n")


def main() -> None:
    """Start everything, tell the parent by one line of standard output, then stay."""
    settings = read()
    path = socket_path(settings.root)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    web = socket.socket()
    web.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    own = Supervisor(settings)
    signal.signal(signal.SIGTERM, lambda *_: own.stopping.set())
    try:
        listener.listen()
        web.bind(("", settings.base_port + SUPERVISOR))
        web.listen()
        own.start()
        threading.Thread(target=_serve, args=(own, listener), daemon=True).start()
        print("started", flush=True)
        # The one who started it waits for the end of its output.
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        own.keep()
    finally:
        own.stop()
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    if os.fork():
        os._exit(0)
    os.setsid()
    main()
