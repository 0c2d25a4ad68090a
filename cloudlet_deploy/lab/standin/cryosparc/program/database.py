"""The database: collections of JSON documents, in one file that is replaced at each change."""

from __future__ import annotations

import fcntl
import json
import socketserver
import threading
from pathlib import Path
from typing import Any

from .settings import number

_VERSION = "version"
_STATE = "state.json"
Document = dict[str, dict[str, Any]]


class TooNew(Exception):
    """A newer version has opened the database; this one cannot any more."""


class Database:
    """The database in ``directory``, opened by one process at a time."""

    def __init__(self, directory: Path, version: str) -> None:
        self.directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock_file = (directory / "mongod.lock").open("w")
        fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        mark = directory / _VERSION
        found = mark.read_text().strip() if mark.exists() else version
        if number(found) > number(version):
            raise TooNew(f"the database was opened by {found}, {version} cannot read it")
        _replace(mark, version)
        path = directory / _STATE
        self.state: Document = json.loads(path.read_text()) if path.exists() else {}
        self._lock = threading.Lock()

    def answer(self, request: dict[str, Any]) -> Any:
        """Do what ``request`` asks for: get, set or drop in a collection, dump or load all."""
        with self._lock:
            what = request["op"]
            if what == "dump":
                return self.state
            if what == "get":
                return self.state.get(request["collection"], {})
            if what == "load":
                self.state = request["state"]
            elif what == "set":
                collection = self.state.setdefault(request["collection"], {})
                collection[request["key"]] = request["value"]
            elif what == "drop":
                self.state.get(request["collection"], {}).pop(request["key"], None)
            else:
                return {"error": f"unknown operation {what}"}
            _replace(self.directory / _STATE, json.dumps(self.state))
            return {"ok": True}


def _replace(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text)
    part.chmod(0o600)
    part.replace(path)


def serve(database: Database, port: int) -> None:
    """Answer on all addresses, for ever."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                self.wfile.write(json.dumps(database.answer(json.loads(line))).encode() + b"\n")

    class Server(socketserver.ThreadingTCPServer):
        allow_reuse_address = True
        daemon_threads = True

    with Server(("", port), Handler) as server:
        server.serve_forever()
