"""``cryosparcm``: the commands of the master that a deployment uses."""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from . import supervisor, wire
from .settings import API, DATABASE, PORTS, Settings, read


class Failure(Exception):
    """Told on standard error; the exit code is 1."""


class Master:
    """The commands of one installation."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def ask(self, method: str, **params: Any) -> Any:
        settings = self.settings
        try:
            return wire.ask_api(settings.hostname, settings.base_port + API, method, **params)
        except wire.Refused as error:
            raise Failure(str(error)) from error
        except OSError as error:
            raise Failure(f"the API does not answer: {error}. Is CryoSPARC running?") from error

    def running(self) -> dict[str, bool] | None:
        try:
            found: dict[str, bool] = supervisor.ask(self.settings.root, "status", 5)
        except OSError:
            return None
        return found

    def start(self, _: argparse.Namespace) -> None:
        if self.running() is not None:
            print("CryoSPARC is already running.")
            return
        path = supervisor.socket_path(self.settings.root)
        if path.exists():
            raise Failure(f"unix://{path} refused connection: a stale socket, or another user's")
        for port in range(self.settings.base_port, self.settings.base_port + PORTS):
            with contextlib.closing(socket.socket()) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("", port))
                except OSError as error:
                    raise Failure(f"port {port} cannot be had: {error.strerror}") from error
        command = [sys.executable, "-m", "cryosparc_standin.supervisor"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if "started" not in done.stdout:
            raise Failure(f"CryoSPARC did not start: {done.stderr.strip() or 'no reason told'}")
        if (Path.home() / f".standin-fail-start-{self.settings.version.lstrip('v')}").exists():
            self.stop(argparse.Namespace())
            raise Failure("CryoSPARC did not start (asked to fail)")
        print(
            f"CryoSPARC master started at http://{self.settings.hostname}:{self.settings.base_port}"
        )

    def stop(self, _: argparse.Namespace) -> None:
        try:
            supervisor.ask(self.settings.root, "stop")
        except OSError:
            print("CryoSPARC is not running.")
            return
        deadline = time.monotonic() + 60
        while supervisor.socket_path(self.settings.root).exists():
            if time.monotonic() > deadline:
                raise Failure("the supervisor does not stop")
            time.sleep(0.05)
        print("CryoSPARC is stopped.")

    def status(self, _: argparse.Namespace) -> None:
        found = self.running()
        print(f"CryoSPARC System status\nCurrent cryoSPARC version: {self.settings.version}")
        if found is None:
            print("CryoSPARC is not running.")
        for name, alive in (found or {}).items():
            print(f"{name:<16}{'RUNNING' if alive else 'STOPPED'}")

    def env(self, _: argparse.Namespace) -> None:
        for name, value in sorted(os.environ.items()):
            if name.startswith("CRYOSPARC_") and name != "CRYOSPARC_STANDIN_PASSWORD":
                print(f'export "{name}={value}"')

    def maintenancemode(self, given: argparse.Namespace) -> None:
        if given.state != "status":
            self.ask("set_maintenance", on=given.state == "on")
        on = self.ask("get", collection="instance").get("maintenance", False)
        print(f"Maintenance mode is {'on' if on else 'off'}.")

    def backup(self, given: argparse.Namespace) -> None:
        name = given.file or time.strftime("cryosparc_backup_%Y_%m_%d_%Hh%M.archive")
        target = Path(given.dir or self.settings.database / "backup", name)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f"{target.name}.part")
        with gzip.open(part, "wt") as stream:
            json.dump(self.ask("dump"), stream)
        part.rename(target)
        print(f"Backup written to {target}")

    def restore(self, given: argparse.Namespace) -> None:
        try:
            with gzip.open(given.file, "rt") as stream:
                dump = json.load(stream)
        except (OSError, EOFError, ValueError) as error:
            raise Failure(f"{given.file} cannot be read: {error}") from error
        self.ask("load", version=dump["version"], state=dump["state"])
        print("Restored. Restart CryoSPARC now.")

    def user_create(self, given: argparse.Namespace) -> None:
        password = os.environ.get("CRYOSPARC_STANDIN_PASSWORD", "")
        self.ask("create_user", email=given.email, username=given.username,
                 firstname=given.firstname, lastname=given.lastname, password=password)  # fmt: skip
        print(f"Created the user {given.email}.")

    def user_list(self, _: argparse.Namespace) -> None:
        found = self.ask("get", collection="users")
        _table(("email", "username", "name", "role"), [{"email": k, **v} for k, v in found.items()])

    def worker_list(self, _: argparse.Namespace) -> None:
        found = self.ask("get", collection="workers")
        columns = ("hostname", "lane", "gpus", "ssdpath")
        _table(columns, [{"hostname": k, **v} for k, v in found.items()])

    def worker_remove(self, given: argparse.Namespace) -> None:
        self.ask("remove_worker", hostname=given.name)

    def cluster_connect(self, _: argparse.Namespace) -> None:
        try:
            info = json.loads(Path("cluster_info.json").read_text())
            script = Path("cluster_script.sh").read_text()
        except (OSError, ValueError) as error:
            raise Failure(f"in {Path.cwd()}: {error}") from error
        self.ask("connect_cluster", info=info, script=script)
        print(f"Successfully added cluster lane {info['name']}")

    def cluster_list(self, _: argparse.Namespace) -> None:
        lanes = self.ask("get", collection="lanes")
        found = [lane["info"] for lane in lanes.values() if lane["type"] == "cluster"]
        _table(("name", "worker_bin_path", "send_cmd_tpl"), found)

    def cluster_remove(self, given: argparse.Namespace) -> None:
        self.ask("remove_cluster", name=given.name)
        print(f"Removed cluster {given.name}")

    def test_install(self, _: argparse.Namespace) -> None:
        for what, port in (("database", DATABASE), ("API", API)):
            address = (self.settings.hostname, self.settings.base_port + port)
            try:
                socket.create_connection(address, 5).close()
            except OSError as error:
                raise Failure(f"the {what} cannot be reached at {address}: {error}") from error
        self.ask("health")
        print("All tests passed.")

    def session_start(self, given: argparse.Namespace) -> None:
        for path in (given.raw, given.project):
            if not Path(path).is_dir():
                raise Failure(f"{path} is no directory")
        raw, project = str(Path(given.raw).resolve()), str(Path(given.project).resolve())
        print(self.ask("start_session", raw=raw, project=project, lane=given.lane, copy=given.copy))

    def session_stop(self, given: argparse.Namespace) -> None:
        raw = str(Path(given.raw).resolve()) if given.raw else None
        print("\n".join(self.ask("stop_sessions", raw=raw)))

    def session_list(self, _: argparse.Namespace) -> None:
        found = self.ask("get", collection="sessions")
        jobs = self.ask("get", collection="jobs").values()
        rows = [
            {
                **session,
                "done": sum(len(job.get("done", ())) for job in jobs if job["session"] == key),
                "jobs": sum(job["session"] == key for job in jobs),
                "last": next((job["why"] for job in reversed(jobs) if job.get("why")), ""),
            }
            for key, session in found.items()
        ]
        _table(("name", "state", "done", "jobs", "project", "raw", "last"), rows)


def _table(columns: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    """Tab-separated, the first line says what the columns are."""
    print("\t".join(columns))
    for row in rows:
        print("\t".join(str(row.get(column) or "-") for column in columns))


def _parser(master: Master) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("cryosparcm")
    commands = parser.add_subparsers(required=True)

    def add(to: Any, name: str, work: Any, *options: str, words: tuple[str, ...] = ()) -> Any:
        one = to.add_parser(name)
        one.set_defaults(work=work)
        for option in options:
            one.add_argument(f"--{option.rstrip('!')}", required=option.endswith("!"))
        for word in words:
            one.add_argument(word)
        return one

    for name in ("start", "stop", "status", "env"):
        add(commands, name, getattr(master, name))
    mode = add(commands, "maintenancemode", master.maintenancemode)
    mode.add_argument("state", choices=("on", "off", "status"))
    add(commands, "backup", master.backup, "dir", "file")
    add(commands, "restore", master.restore, "file!")
    person = ("email!", "username!", "firstname!", "lastname!")
    if master.settings.major < 5:
        add(commands, "createuser", master.user_create, *person)
        add(commands, "listusers", master.user_list)
    else:
        user = commands.add_parser("user").add_subparsers(required=True)
        add(user, "create", master.user_create, *person)
        add(user, "list", master.user_list)
    worker = commands.add_parser("worker").add_subparsers(required=True)
    add(worker, "list", master.worker_list)
    add(worker, "remove", master.worker_remove, words=("name",))
    cluster = commands.add_parser("cluster").add_subparsers(required=True)
    add(cluster, "connect", master.cluster_connect)
    add(cluster, "list", master.cluster_list)
    add(cluster, "remove", master.cluster_remove, words=("name",))
    test = commands.add_parser("test").add_subparsers(required=True)
    add(test, "install", master.test_install)
    live = commands.add_parser("standin-session").add_subparsers(required=True)
    begin = add(live, "start", master.session_start, "raw!", "project!", "lane!")
    begin.add_argument("--copy", action="store_true")
    add(live, "stop", master.session_stop, "raw")
    add(live, "list", master.session_list)
    return parser


def main() -> None:
    given = _parser(Master(read())).parse_args()
    try:
        given.work(given)
    except Failure as error:
        raise SystemExit(f"ERROR: {error}") from error


if __name__ == "__main__":
    main()
