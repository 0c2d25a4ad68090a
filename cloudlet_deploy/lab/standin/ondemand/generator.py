#!/usr/bin/python3
"""update_ood_portal of the stand-in: makes Apache's virtual host of ``ood_portal.yml``.

Exit codes with ``--detailed-exitcodes``: 0 nothing to do, 3 written, 4 left alone since somebody
edited it (the new text lies beside it, ``.new``); without it 0 for all three. 1 is a mistake in
the settings, told in one line of stderr.
"""

from __future__ import annotations

import argparse
import difflib
import hashlib
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import yaml

_SETTINGS = Path("/etc/ood/config/ood_portal.yml")
_SUM = Path("/etc/ood/config/ood_portal.sha256sum")
_VHOST = Path("/etc/apache2/sites-available/ood-portal.conf")
_OIDC_AUTH = ["AuthType openid-connect", "Require valid-user"]
#: Every key that is understood, with what holds where it is not given.
_DEFAULTS: dict[str, Any] = {
    "servername": None,
    "server_aliases": [],
    "proxy_server": None,
    "port": None,
    "listen_addr_port": None,
    "ssl": [],
    "use_rewrites": True,
    "use_maintenance": True,
    "maintenance_ip_allowlist": [],
    "logroot": "/var/log/apache2",
    "user_map_cmd": None,
    "user_map_match": ".*",
    "user_env": None,
    "map_fail_uri": None,
    "auth": _OIDC_AUTH,
    "custom_vhost_directives": [],
    "custom_location_directives": [],
    "host_regex": "[^/]+",
    "node_uri": None,
    "rnode_uri": None,
    "secure_node_uri": None,
    "secure_rnode_uri": None,
    "ssl_proxy": [],
    "pun_stage_cmd": "sudo /opt/ood/nginx_stage/sbin/nginx_stage",
    "oidc_uri": "/oidc",
    "oidc_provider_metadata_url": None,
    "oidc_client_id": None,
    "oidc_client_secret": None,
    "oidc_remote_user_claim": "preferred_username",
    "oidc_scope": "openid profile email",
    "oidc_crypto_passphrase": None,
    "oidc_session_inactivity_timeout": 28800,
    "oidc_session_max_duration": 28800,
    "oidc_state_max_number_of_cookies": "10 true",
    "oidc_cookie_same_site": None,
    "oidc_settings": {},
    "strip_proxy_headers": ["Authorization", "OIDC_access_token", "OIDC_id_token"],
    "strip_proxy_cookies": ["mod_auth_openidc_session", "mod_auth_openidc_session_chunks"],
    "security_csp_frame_ancestors": None,
    "security_strict_transport": None,
    "logout_redirect": "/",
    "dex": False,
}
_OIDC_NEEDS = ("oidc_provider_metadata_url", "oidc_client_id", "oidc_crypto_passphrase")


class SettingsError(Exception):
    """The settings make no virtual host."""


def read(text: str) -> dict[str, Any]:
    """The settings in ``text``, completed; SettingsError names the key that is wrong."""
    given = yaml.safe_load(text) or {}
    if not isinstance(given, dict):
        raise SettingsError("not a mapping")
    for key, value in given.items():
        if key not in _DEFAULTS:
            near = difflib.get_close_matches(str(key), _DEFAULTS, 1)
            raise SettingsError(
                f"unknown key {key}" + "".join(f", did you mean {n}?" for n in near)
            )
        for kind in (list, dict):
            if isinstance(_DEFAULTS[key], kind) and not isinstance(value, kind | None):
                raise SettingsError(f"{key} must be a {kind.__name__}")
    found = {**_DEFAULTS, **{key: value for key, value in given.items() if value is not None}}
    if found["dex"]:
        raise SettingsError("dex: the stand-in has none")
    if not found["servername"]:
        raise SettingsError("servername is missing")
    if not found["user_map_cmd"] and "user_map_match" not in given:
        raise SettingsError("user_map_cmd is missing")
    if any("openid-connect" in line for line in found["auth"]):
        missing = [key for key in _OIDC_NEEDS if not found[key]]
        if missing:
            raise SettingsError(f"{missing[0]} is missing")
    return _completed(found)


def _completed(found: dict[str, Any]) -> dict[str, Any]:
    tls = bool(found["ssl"])
    port = int(found["port"] or (443 if tls else 80))
    host = found["proxy_server"] or found["servername"]
    usual = port == (443 if tls else 80)
    url = f"{'https' if tls else 'http'}://{host}" + ("" if usual else f":{port}")
    return {
        **found,
        "port": port,
        "url": url,
        "authority": url.partition("://")[2],
        "oidc_cookie_same_site": found["oidc_cookie_same_site"] or ("On" if tls else "Off"),
        "security_csp_frame_ancestors": url
        if found["security_csp_frame_ancestors"] is None
        else found["security_csp_frame_ancestors"],
        "security_strict_transport": tls
        if found["security_strict_transport"] is None
        else found["security_strict_transport"],
    }


def render(s: dict[str, Any]) -> str:
    """Apache's configuration of completed settings."""
    lines = ["# Made by update_ood_portal of the Open OnDemand stand-in: edit ood_portal.yml."]
    listen = s["listen_addr_port"] or []
    lines += [f"Listen {one}" for one in (listen if isinstance(listen, list) else [listen])]
    if s["ssl"] and s["use_rewrites"]:
        lines += _section(
            "VirtualHost *:80",
            [f"ServerName {s['servername']}", f'RedirectMatch permanent "^(.*)$" "{s["url"]}$1"'],
        )
    inside = [
        *_server(s),
        *_oidc(s),
        *s["custom_vhost_directives"],
        *_proxies(s),
    ]
    return "\n".join([*lines, *_section(f"VirtualHost *:{s['port']}", inside)]) + "\n"


def _server(s: dict[str, Any]) -> list[str]:
    tls = "_ssl" if s["ssl"] else ""
    log = f"{s['logroot']}/{s['servername']}"
    lines = [
        f"ServerName {s['servername']}",
        *(f"ServerAlias {alias}" for alias in s["server_aliases"]),
        f'ErrorLog "{log}_error{tls}.log"',
        f'CustomLog "{log}_access{tls}.log" combined',
        'DocumentRoot "/var/www/ood/public"',
        "RewriteEngine On",
    ]
    if s["use_maintenance"]:
        allowed = s["maintenance_ip_allowlist"]
        lines += [
            "RewriteCond /etc/ood/maintenance.enable -f",
            *(f'RewriteCond %{{REMOTE_ADDR}} "!{pattern}"' for pattern in allowed),
            "RewriteRule ^ - [R=503,L]",
        ]
    if s["use_rewrites"]:
        names = "|".join(re.escape(name) for name in (s["authority"], *s["server_aliases"]))
        lines += [
            f'RewriteCond %{{HTTP_HOST}} "!^({names})$" [NC]',
            f'RewriteRule ^(.*) "{s["url"]}$1" [R=301,NE,L]',
        ]
    if s["ssl"]:
        lines += ["SSLEngine On", *s["ssl"]]
    if s["security_csp_frame_ancestors"]:
        policy = f"frame-ancestors {s['security_csp_frame_ancestors']};"
        lines.append(f"Header always set Content-Security-Policy {_quoted(policy)}")
    if s["security_strict_transport"]:
        policy = "max-age=63072000; includeSubDomains; preload"
        lines.append(f"Header always set Strict-Transport-Security {_quoted(policy)}")
    environment = {
        "OOD_USER_MAP_CMD": s["user_map_cmd"],
        "OOD_USER_MAP_MATCH": s["user_map_match"],
        "OOD_USER_ENV": s["user_env"],
        "OOD_MAP_FAIL_URI": s["map_fail_uri"],
        "OOD_PUN_STAGE_CMD": s["pun_stage_cmd"],
        "OOD_PORTAL_URL": s["url"],
    }
    return [
        *lines,
        "ProxyPreserveHost On",
        "LuaRoot /opt/ood/mod_ood_proxy/lib",
        *(f"SetEnv {name} {_quoted(value)}" for name, value in environment.items() if value),
    ]


def _oidc(s: dict[str, Any]) -> list[str]:
    if not s["oidc_provider_metadata_url"]:
        return []
    directives = {
        "OIDCProviderMetadataURL": s["oidc_provider_metadata_url"],
        "OIDCClientID": s["oidc_client_id"],
        "OIDCClientSecret": s["oidc_client_secret"],
        "OIDCRedirectURI": s["url"] + s["oidc_uri"],
        "OIDCCryptoPassphrase": s["oidc_crypto_passphrase"],
        "OIDCRemoteUserClaim": s["oidc_remote_user_claim"],
        "OIDCScope": s["oidc_scope"],
        "OIDCSessionInactivityTimeout": s["oidc_session_inactivity_timeout"],
        "OIDCSessionMaxDuration": s["oidc_session_max_duration"],
        "OIDCStateMaxNumberOfCookies": s["oidc_state_max_number_of_cookies"],
        "OIDCCookieSameSite": s["oidc_cookie_same_site"],
        **s["oidc_settings"],
    }
    return [
        # As OOD does: a value with blanks in it has to bring its quotes along.
        f"{name} {_quoted(value) if name == 'OIDCScope' else value}"
        for name, value in directives.items()
        if value is not None
    ] + _section(f'Location "{s["oidc_uri"]}"', s["auth"])


def _proxies(s: dict[str, Any]) -> list[str]:
    lines = ['RedirectMatch "^/$" "/pun/sys/dashboard/"']
    lines.append(f'Redirect "/logout" "{s["logout_redirect"]}"')
    lines += _location(s, 'Location "/pun"', "pun", [])
    lines += _location(s, 'Location "/nginx"', "control", [])
    stripped = [
        *(f'RequestHeader unset "{name}"' for name in s["strip_proxy_headers"]),
        *(
            f'RequestHeader edit* Cookie "(^|;\\s*){re.escape(name)}=[^;]*" ""'
            for name in s["strip_proxy_cookies"]
        ),
    ]
    for key, scheme in (
        ("node_uri", "http"),
        ("rnode_uri", "http"),
        ("secure_node_uri", "https"),
        ("secure_rnode_uri", "https"),
    ):
        if s[key]:
            where = rf'LocationMatch "^{s[key]}/(?<host>{s["host_regex"]})/(?<port>\d+)"'
            more = [f"SetEnv OOD_NODE_SCHEME {scheme}", f'SetEnv OOD_NODE_PREFIX "{s[key]}"']
            more += [] if "rnode" in key else ["SetEnv OOD_NODE_WHOLE 1"]
            lines += _location(s, where, "node", [*more, *stripped])
    if s["secure_node_uri"] or s["secure_rnode_uri"]:
        lines += ["SSLProxyEngine On", *s["ssl_proxy"]]
    return lines


def _location(s: dict[str, Any], where: str, hook: str, more: list[str]) -> list[str]:
    hook = f"LuaHookFixups proxy.lua {hook}"
    return _section(where, [*s["auth"], *s["custom_location_directives"], *more, hook])


def _section(opening: str, lines: list[str]) -> list[str]:
    return ["", f"<{opening}>", *(f"  {line}" for line in lines), f"</{opening.partition(' ')[0]}>"]


def _quoted(value: object) -> str:
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def apply(text: str, *, force: bool) -> int:
    """Bring the virtual host to ``text``; returns the detailed exit code."""
    present = _VHOST.read_text() if _VHOST.exists() else None
    if present == text:
        _write(_SUM, f"{_digest(text)} {_VHOST}\n", 0o644)
        return 0
    known = _SUM.read_text().split()[0] if _SUM.exists() else None
    if present is not None and known != _digest(present) and not force:
        _write(_VHOST.with_suffix(".conf.new"), text, 0o640)
        print(f"{_VHOST} was edited by hand: left alone, see {_VHOST}.new", file=sys.stderr)
        return 4
    _write(_VHOST, text, 0o640)
    _write(_SUM, f"{_digest(text)} {_VHOST}\n", 0o644)
    return 3


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _write(path: Path, text: str, mode: int) -> None:
    fresh = path.with_name(f".{path.name}")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as handle:
        handle.write(text)
    if mode == 0o640:
        shutil.chown(fresh, "root", "www-data")
    fresh.chmod(mode)
    fresh.replace(path)


def main() -> int:
    """Entry point of the command."""
    parser = argparse.ArgumentParser(prog="update_ood_portal", description="Open OnDemand stand-in")
    parser.add_argument("--detailed-exitcodes", action="store_true")
    parser.add_argument("-f", "--force", action="store_true", help="overwrite what was edited")
    options = parser.parse_args()
    try:
        code = apply(render(read(_SETTINGS.read_text())), force=options.force)
    except (OSError, yaml.YAMLError, SettingsError) as error:
        # A fault of YAML would show the line that it lies in.
        told = "not YAML" if isinstance(error, yaml.YAMLError) else str(error)
        print(f"{_SETTINGS}: {told}", file=sys.stderr)
        return 1
    return code if options.detailed_exitcodes else 0


if __name__ == "__main__":
    sys.exit(main())
