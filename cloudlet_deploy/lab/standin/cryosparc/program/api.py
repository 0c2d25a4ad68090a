"""The API of the master: what its own programs, the workers and the jobs ask it for."""

from __future__ import annotations

import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from . import wire
from .database import Document
from .settings import API, DATABASE, Settings, number

_CLUSTER_KEYS = ("name", "worker_bin_path", "send_cmd_tpl", "qsub_cmd_tpl", "qstat_cmd_tpl",
                 "qdel_cmd_tpl", "qinfo_cmd_tpl")  # fmt: skip

#: What a job's report adds to it.
_REPORT = ("state", "done", "failed", "at")


class Api:
    """The methods; each takes keywords, returns plain data, and raises wire.Refused."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lock = threading.Lock()

    def call(self, method: str, params: dict[str, Any]) -> Any:
        found: Callable[..., Any] | None = getattr(self, f"do_{method}", None)
        if found is None:
            raise wire.Refused(f"unknown method {method}")
        with self._lock:
            return found(**params)

    def _ask(self, **request: Any) -> Any:
        settings = self.settings
        return wire.ask_database(settings.hostname, settings.base_port + DATABASE, request)

    def _get(self, collection: str) -> dict[str, Any]:
        found: dict[str, Any] = self._ask(op="get", collection=collection)
        return found

    def _set(self, collection: str, key: str, value: Any) -> None:
        self._ask(op="set", collection=collection, key=key, value=value)

    def do_health(self) -> dict[str, str]:
        self._get("users")
        return {"status": "ok", "version": self.settings.version}

    def do_get(self, collection: str) -> dict[str, Any]:
        return self._get(collection)

    def do_set_maintenance(self, on: bool) -> None:
        self._set("instance", "maintenance", on)

    def do_create_user(
        self, email: str, username: str, firstname: str, lastname: str, password: str
    ) -> None:
        if not password:
            raise wire.Refused("a password is required")
        users = self._get("users")
        if email in users or username in {user["username"] for user in users.values()}:
            raise wire.Refused(f"there is a user {email} or {username} already")
        salt = secrets.token_hex(8)
        self._set(
            "users",
            email,
            {
                "username": username,
                "name": f"{firstname} {lastname}",
                # The first one is the administrator.
                "role": "user" if users else "admin",
                "salt": salt,
                "password": hashlib.sha256((salt + password).encode()).hexdigest(),
            },
        )

    def do_log_in(self, email: str, password: str) -> dict[str, str]:
        user = self._get("users").get(email)
        given = hashlib.sha256(((user or {}).get("salt", "") + password).encode()).hexdigest()
        if user is None or given != user["password"]:
            raise wire.Refused("wrong email or password")
        return {"username": user["username"]}

    def do_connect_worker(
        self,
        hostname: str,
        license_digest: str,
        lane: str,
        update: bool,
        new_lane: bool,
        **rest: Any,
    ) -> None:
        own = hashlib.sha256(self.settings.license.encode()).hexdigest()
        if license_digest != own:
            raise wire.Refused("the worker has another license than the master")
        workers, lanes = self._get("workers"), self._get("lanes")
        if hostname in workers and not update:
            raise wire.Refused(f"{hostname} is connected already; --update changes it")
        if hostname not in workers and update:
            raise wire.Refused(f"{hostname} is not connected, so it cannot be updated")
        if lane not in lanes:
            if not new_lane and lane != "default":
                raise wire.Refused(f"there is no lane {lane}; --newlane makes it")
            self._set("lanes", lane, {"type": "node"})
        self._set("workers", hostname, {"lane": lane, **rest})

    def do_remove_worker(self, hostname: str) -> None:
        self._ask(op="drop", collection="workers", key=hostname)

    def do_connect_cluster(self, info: dict[str, Any], script: str) -> None:
        missing = [key for key in _CLUSTER_KEYS if key not in info]
        if missing:
            raise wire.Refused(f"cluster_info.json lacks {', '.join(missing)}")
        found = self._get("lanes").get(info["name"])
        if found and found["type"] != "cluster":
            raise wire.Refused(f"{info['name']} is a lane of workers")
        self._set("lanes", info["name"], {"type": "cluster", "info": info, "script": script})

    def do_remove_cluster(self, name: str) -> None:
        if self._get("lanes").get(name, {}).get("type") != "cluster":
            raise wire.Refused(f"there is no cluster {name}")
        self._ask(op="drop", collection="lanes", key=name)

    def do_start_session(self, raw: str, project: str, lane: str, copy: bool) -> str:
        if lane not in self._get("lanes"):
            raise wire.Refused(f"there is no lane {lane}")
        wanted = {"raw": raw, "project": project, "lane": lane, "copy": copy}
        sessions = self._get("sessions")
        for key, session in sessions.items():
            if session["state"] == "running" and session["raw"] == raw:
                raise wire.Refused(f"{key} watches {raw} already")
        name = f"S{1 + sum(session['project'] == project for session in sessions.values())}"
        key = f"{name} {project}"
        self._set("sessions", key, {**wanted, "name": name, "state": "running"})
        return name

    def do_stop_sessions(self, raw: str | None) -> list[str]:
        stopped = []
        for key, session in self._get("sessions").items():
            if session["state"] == "running" and raw in (None, session["raw"]):
                self._set("sessions", key, {**session, "state": "stopped"})
                stopped.append(key)
        return stopped

    def do_set_job(self, key: str, job: dict[str, Any]) -> None:
        found = self._get("jobs").get(key, {})
        # A quick job has reported before the queue has told its number.
        told = {k: found[k] for k in _REPORT if k in found} if "done" in found else {}
        self._set("jobs", key, {**job, **told})

    def do_report(self, key: str, done: list[str], failed: dict[str, str]) -> None:
        """A job tells what it has done; the live session reads it."""
        job = self._get("jobs").get(key)
        if job is None:
            raise wire.Refused(f"there is no job {key}")
        at = time.time()
        self._set(
            "jobs", key, {**job, "state": "reported", "done": done, "failed": failed, "at": at}
        )

    def do_dump(self) -> dict[str, Any]:
        return {"version": self.settings.version, "state": self._ask(op="dump")}

    def do_load(self, version: str, state: Document) -> None:
        if number(version) > number(self.settings.version):
            raise wire.Refused(f"the backup is of {version}, this is {self.settings.version}")
        self._ask(op="load", state=state)


def serve(settings: Settings) -> None:
    """Answer HTTP on all addresses, for ever."""
    api = Api(settings)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(api.do_health)

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length", 0))
            request = json.loads(self.rfile.read(size))
            self._answer(lambda: {"result": api.call(request["method"], request["params"])})

        def _answer(self, work: Callable[[], Any]) -> None:
            try:
                code, body = 200, work()
            except (wire.Refused, TypeError) as error:
                code, body = 400, {"error": str(error)}
            except OSError as error:
                code, body = 503, {"error": f"no database: {error}"}
            data = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    Server(("", settings.base_port + API), Handler).serve_forever()
