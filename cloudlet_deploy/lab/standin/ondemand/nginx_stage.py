"""nginx_stage of the stand-in: makes, starts and stops per-user nginx servers (PUN).

Run as root by Apache through sudo. Silent when it succeeds, since Apache takes any output for an
error.
"""

from __future__ import annotations

import argparse
import grp
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

#: Every key of nginx_stage.yml that is understood, with its default. ``%{user}`` is the user.
_DEFAULTS: dict[str, Any] = {
    "ondemand_portal": "ondemand",
    "ondemand_title": "Open OnDemand stand-in",
    "pun_custom_env": {},
    "pun_custom_env_declarations": [],
    "proxy_user": "www-data",
    "nginx_bin": "/usr/sbin/nginx",
    "nginx_file_upload_max": 10737420000,
    # Passenger is not part of the stand-in; its settings are taken and have no effect.
    "passenger_pool_idle_time": 300,
    "passenger_options": {},
    "user_regex": r"[\w@\.\-]+",
    "min_uid": 1000,
    "disabled_shell": "/access/denied",
    "pun_config_path": "/var/lib/ondemand-nginx/config/puns/%{user}.conf",
    "pun_tmp_root": "/var/tmp/ondemand-nginx/%{user}",
    "pun_access_log_path": "/var/log/ondemand-nginx/%{user}/access.log",
    "pun_error_log_path": "/var/log/ondemand-nginx/%{user}/error.log",
    "pun_pid_path": "/run/ondemand-nginx/%{user}/passenger.pid",
    "pun_socket_path": "/run/ondemand-nginx/%{user}/passenger.sock",
    "app_root": {"sys": "/var/www/ood/apps/sys"},
}
_CONFIG = """\
# Made by nginx_stage of the Open OnDemand stand-in.
include /etc/nginx/modules-enabled/*.conf;
user "{account}" "{group}";
worker_processes 1;
pid "{pid}";
error_log "{error_log}" info;
{environment}events {{ worker_connections 256; }}
http {{
  include /etc/nginx/mime.types;
  default_type application/octet-stream;
  access_log "{access_log}";
  client_body_temp_path "{tmp}/client_body";
  proxy_temp_path "{tmp}/proxy_temp";
  fastcgi_temp_path "{tmp}/fastcgi_temp";
  uwsgi_temp_path "{tmp}/uwsgi_temp";
  scgi_temp_path "{tmp}/scgi_temp";
  client_max_body_size {upload};
  init_by_lua_block {{ require "lyaml" require "posix.dirent" require "posix.sys.stat" }}
  absolute_redirect off;
  server_tokens off;
  server {{
    listen "unix:{socket}";
    add_header X-Content-Type-Options nosniff;
    set $title "{title}";
    set $apps "{apps}";
    set $home "{home}";
    location / {{ return 302 "{missing}"; }}
    location = /pun/sys/dashboard {{ return 302 /pun/sys/dashboard/; }}
    location = /pun/sys/dashboard/ {{ content_by_lua_file {pages}/apps.lua; }}
    location /pun/sys/dashboard/noVNC-1.3.0/ {{ alias /usr/share/novnc/; }}
    # What the worker, who is the user, may read and write: nothing is decided here.
    location /pun/sys/dashboard/files/fs/ {{
      alias /;
      types {{ }}
      rewrite_by_lua_file {pages}/files.lua;
      dav_methods PUT;
      dav_access user:rw;
    }}
  }}
}}
"""
_PAGES = "/opt/ood/nginx_stage/lib"


class StageError(Exception):
    """What was asked cannot be done; the text reaches the user."""


class Pun:
    """The server of one user as the settings describe it."""

    def __init__(self, settings: dict[str, Any], user: str) -> None:
        if not re.fullmatch(settings["user_regex"], user):
            raise StageError("invalid user name syntax")
        self.settings, self.user = settings, user
        self.config = self._path("pun_config_path")
        self.pid_file = self._path("pun_pid_path")
        self.socket = self._path("pun_socket_path")

    def _path(self, key: str) -> Path:
        return Path(self.settings[key].replace("%{user}", self.user))

    def account(self) -> pwd.struct_passwd:
        """The user's account; StageError unless it may have a server."""
        try:
            found = pwd.getpwnam(self.user)
        except KeyError:
            found = _by_number(self.user)
        if found.pw_uid < self.settings["min_uid"]:
            raise StageError(f"user uid is less than {self.settings['min_uid']}")
        if found.pw_shell == self.settings["disabled_shell"]:
            raise StageError("user is disabled")
        return found

    def running(self) -> int | None:
        """The id of the living master process, or None."""
        try:
            pid = int(self.pid_file.read_text())
            # Another process may have the number of a dead server.
            named = b"nginx: master" in Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return pid if named else None

    def start(self, missing: str) -> None:
        """Write the server's files and start it; ``missing`` is where unknown apps lead."""
        account = self.account()
        if self.running():
            return
        for path, mode in (
            (self.socket.parent, 0o700),
            (self._path("pun_error_log_path").parent, 0o700),
            # nginx makes the user's own directories in it.
            (self._path("pun_tmp_root"), 0o711),
        ):
            path.mkdir(mode=mode, parents=True, exist_ok=True)
        shutil.chown(self.socket.parent, self.settings["proxy_user"])
        self.config.write_text(self._text(account, missing))
        _run([self.settings["nginx_bin"], "-c", str(self.config)])

    def _text(self, account: pwd.struct_passwd, missing: str) -> str:
        s = self.settings
        given = [f"{name}={value}" for name, value in s["pun_custom_env"].items()]
        names = [*(_quoted(one) for one in given), *s["pun_custom_env_declarations"]]
        return _CONFIG.format(
            account=account.pw_name,
            group=_group(account.pw_gid),
            pid=self.pid_file,
            error_log=self._path("pun_error_log_path"),
            access_log=self._path("pun_access_log_path"),
            environment="".join(f"env {name};\n" for name in names),
            tmp=self._path("pun_tmp_root"),
            upload=s["nginx_file_upload_max"],
            socket=self.socket,
            title=s["ondemand_title"].replace("\\", "").replace('"', ""),
            apps=s["app_root"]["sys"],
            home=account.pw_dir,
            missing=missing,
            pages=_PAGES,
        )

    def signal(self, name: str) -> None:
        """Hand a signal of nginx's own to the server; StageError where none runs."""
        _run([self.settings["nginx_bin"], "-c", str(self.config), "-s", name])

    def clean(self, *, force: bool) -> None:
        """Stop the server unless a request is open, and remove what it left."""
        pid = self.running()
        if pid and not force and self._connections():
            return
        if pid:
            os.kill(pid, signal.SIGTERM)
            end = time.monotonic() + 5
            while self.running() and time.monotonic() < end:
                time.sleep(0.02)
        for path in (self.socket, self.pid_file, self.config):
            path.unlink(missing_ok=True)

    def _connections(self) -> int:
        """Connected ends at the socket, as the kernel lists them (state 03)."""
        rows = (line.split() for line in Path("/proc/net/unix").read_text().splitlines())
        return sum(row[5:6] == ["03"] and row[-1] == str(self.socket) for row in rows)


def _by_number(user: str) -> pwd.struct_passwd:
    # A number, also a hexadecimal one, is taken for a uid.
    try:
        return pwd.getpwuid(int(user, 0))
    except (ValueError, KeyError, OverflowError):
        raise StageError(f"can't find user for {user}") from None


def _group(gid: int) -> str:
    return grp.getgrgid(gid).gr_name


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StageError((done.stderr or done.stdout).strip())


def _settings() -> dict[str, Any]:
    path = Path(os.environ.get("NGINX_STAGE_CONFIG_FILE", "/etc/ood/config/nginx_stage.yml"))
    given = (yaml.safe_load(path.read_text()) or {}) if path.exists() else {}
    for key in given:
        if key not in _DEFAULTS:
            raise StageError(f"{path}: unknown key {key}")
    return {**_DEFAULTS, **{key: value for key, value in given.items() if value is not None}}


def _puns(settings: dict[str, Any]) -> list[Pun]:
    pattern = Path(settings["pun_config_path"].replace("%{user}", "*"))
    return [Pun(settings, path.stem) for path in sorted(pattern.parent.glob(pattern.name))]


def _pun(settings: dict[str, Any], options: argparse.Namespace) -> None:
    Pun(settings, options.user).start(options.app_init_url)


def _app(settings: dict[str, Any], options: argparse.Namespace) -> None:
    Pun(settings, options.user).account()
    # The dashboard is part of each server; other apps that are more than a link need Passenger.
    raise StageError(f"app {options.sub_request} does not exist")


def _nginx(settings: dict[str, Any], options: argparse.Namespace) -> None:
    Pun(settings, options.user).signal(options.signal)


def _clean(settings: dict[str, Any], options: argparse.Namespace) -> None:
    for pun in _puns(settings):
        if options.user in (None, pun.user):
            pun.clean(force=options.force)


def _list(settings: dict[str, Any], _options: argparse.Namespace) -> None:
    for pun in _puns(settings):
        print(pun.user)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="nginx_stage", description="Open OnDemand stand-in")
    commands = parser.add_subparsers(required=True)

    def command(name: str, run: Callable[..., None], user: bool = True) -> argparse.ArgumentParser:
        made = commands.add_parser(name)
        made.add_argument("-u", "--user", required=user)
        made.set_defaults(run=run)
        return made

    command("pun", _pun).add_argument("-a", "--app-init-url", default="/nginx/init")
    app = command("app", _app)
    app.add_argument("-r", "--sub-request", required=True)
    app.add_argument("-i", "--sub-uri")
    signals = ("stop", "quit", "reopen", "reload")
    command("nginx", _nginx).add_argument("-s", "--signal", required=True, choices=signals)
    command("nginx_clean", _clean, False).add_argument("-f", "--force", action="store_true")
    command("nginx_list", _list, False)
    return parser.parse_args()


def main() -> int:
    """Entry point of the command."""
    # What it starts runs for hours: nothing of the caller's stays with it.
    os.umask(0o022)
    os.chdir("/")
    options = _options()
    try:
        options.run(_settings(), options)
    except (StageError, OSError, yaml.YAMLError) as error:
        print(f"Error -- {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
