"""A made-up campus for ``portal_people``: a host's accounts, an LDAP, and a cut that tells."""

from __future__ import annotations

import json
import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import (
    portal_map,
    portal_people,
    portal_who,
)

NOW = 1_764_000_000
KEEP = 1440
BOTH = {"alice@campus.test": "alice", "bob@campus.test": "bob"}
URI = "ldaps://ldap.campus.test"
_TERM = re.compile(r"\(([A-Za-z]+)=((?:[^()*\\]|\\[0-9a-f]{2})*)\)")
_OPTIONS = [
    "OPT_PROTOCOL_VERSION", "OPT_REFERRALS", "OPT_NETWORK_TIMEOUT", "OPT_TIMEOUT",
    "OPT_X_TLS_CACERTFILE", "OPT_X_TLS_REQUIRE_CERT", "OPT_X_TLS_DEMAND", "OPT_X_TLS_NEWCTX",
]  # fmt: skip


class LDAPError(Exception):
    """As that of python-ldap: it carries a mapping."""


class Ldap(ModuleType):
    """python-ldap and a server in one. ``entries`` are {dn: {attribute: [value]}}."""

    LDAPError = LDAPError
    SCOPE_SUBTREE = "subtree"

    def __init__(self, people: dict[str, list[str]]) -> None:
        super().__init__("ldap")
        self.entries: dict[str, dict[str, list[bytes]]] = {}
        self.done: list[Any] = []
        self.filters: list[str] = []
        #: What fails: the name of a step, and URIs of which no word comes.
        self.broken, self.silent = "", set[str]()
        for name in _OPTIONS:
            setattr(self, name, name)
        for name, claims in people.items():
            self.add(name, *claims)

    def add(self, name: str, *claims: str | bytes, dn: str = "") -> None:
        values = [one if isinstance(one, bytes) else one.encode() for one in claims]
        self.entries[dn or f"uid={name},dc=x"] = {"UID": [name.encode()], "mail": values}

    def _step(self, name: str, *told: Any) -> None:
        self.done.append((name, *told))
        if name == self.broken:
            raise LDAPError({"desc": "Can't contact LDAP server", "info": "refused"})

    def initialize(self, uri: str) -> Ldap:
        self._step("initialize", uri)
        if uri in self.silent:
            threading.Event().wait(5)
        return self

    def set_option(self, option: str, value: object) -> None:
        self._step("set_option", option, value)

    def start_tls_s(self) -> None:
        self._step("start_tls")

    def simple_bind_s(self, dn: str, password: str) -> None:
        self._step("bind", dn, password)

    def unbind_s(self) -> None:
        self._step("unbind")

    def search_ext_s(
        self, base: str, scope: str, asked: str, names: list[str], *, timeout: int, sizelimit: int
    ) -> list[tuple[str | None, Any]]:
        self._step("search")
        assert (base, scope, timeout) == ("dc=x", "subtree", 5)
        self.filters.append(asked)
        assert asked.startswith("(&(objectClass=person)(|") and asked.endswith("))")
        terms = _TERM.findall(asked[len("(&(objectClass=person)(|") : -2])
        assert "".join(f"({a}={v})" for a, v in terms) == asked[24:-2], "a filter was broken out of"
        wanted = {
            (name.lower(), re.sub(r"\\(..)", lambda m: chr(int(m[1], 16)), value).lower())
            for name, value in terms
        }
        rows: list[tuple[str | None, Any]] = [(None, ["ldap://elsewhere"])]
        for dn, entry in self.entries.items():
            has = {(n.lower(), v.decode("utf-8", "replace").lower())
                   for n, values in entry.items() for v in values}  # fmt: skip
            if wanted & has:
                rows.append((dn, entry))
        assert len(rows) <= sizelimit
        return rows


def _escaped(value: str) -> str:
    return "".join(f"\\{ord(sign):02x}" if sign in "\\*()\0" else sign for sign in value)


class Campus:
    """Alice and Bob are members of groups; Carol has an LDAP entry and no approval."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = float(NOW)
        self.site, self.extra = directory / "site", directory / "extrausers"
        self.site.mkdir()
        self.extra.mkdir()
        self.accounts = {
            "alice": (123456, 123400),
            "bob": (123457, 123400),
            "carol": (123458, 123400),
        }
        self.groups = {"staff": 123400, "instr": 150001, "secret": 150002, "users": 100}
        self.members = {"alice": ["instr", "users", "secret"], "bob": [], "carol": []}
        self.ldap = Ldap({name: [f"{name}@campus.test"] for name in self.accounts})
        password, self.cuts = directory / "password", directory / "cuts"
        password.write_text("no secret\n")
        password.chmod(0o600)
        self._monkeypatch, self._file = monkeypatch, directory / "people.json"
        #: Told what it is called with, and what passwd has then; its exit status is in "status".
        script = directory / "cut"
        script.write_text(
            f'#!/bin/sh\n{{ echo "$@"; cut -d: -f1 {self.extra}/passwd; }} >>{self.cuts}\n'
            f"echo no pod; exit $(cat {directory}/status 2>/dev/null || echo 0)\n"
        )
        self.status = directory / "status"
        self.config: dict[str, Any] = {
            "ldap": {
                "uri": URI, "base": "dc=x", "bind_dn": "cn=portal", "timeout": 5,
                "password_file": str(password), "ca_file": "/ca.pem", "account_attribute": "uid",
                "claim_attribute": "mail", "filter": "(objectClass=person)",
            },
            "approved": ["alice", "bob"],
            "minimum_uid": 1000,
            "delegated_gids": [[123400, 1], [150001, 1]],
            "instruments": {"titan": {"group": "instr"}, "spare": {"group": "nobody-has-it"}},
            "keep_minutes": KEEP,
            "site_directory": str(self.site),
            "extrausers_directory": str(self.extra),
            "shell": "/bin/bash",
            "cut": ["/bin/sh", str(script), "pod"],
            "pod_root_gid": os.getgid(),
        }  # fmt: skip
        self._install()

    def _install(self) -> None:
        def put(owner: object, name: str, value: Callable[..., Any] | SimpleNamespace) -> None:
            self._monkeypatch.setattr(owner, name, value)

        def account(name: str) -> SimpleNamespace:
            uid, gid = self.accounts[name]
            return SimpleNamespace(pw_name=name, pw_uid=uid, pw_gid=gid, pw_dir=f"/home/{name}")

        def group(gid: int) -> SimpleNamespace:
            names = {number: name for name, number in self.groups.items()}
            return SimpleNamespace(gr_name=names[gid])

        put(portal_who, "pwd", SimpleNamespace(getpwnam=account))
        put(
            os,
            "getgrouplist",
            lambda name, gid: [gid, *(self.groups[g] for g in self.members[name])],
        )
        put(
            portal_people.portal_files,
            "grp",
            SimpleNamespace(
                getgrnam=lambda name: SimpleNamespace(gr_gid=self.groups[name]), getgrgid=group
            ),
        )
        put(portal_people.time, "time", lambda: self.now)
        filters = ModuleType("ldap.filter")
        filters.escape_filter_chars = _escaped  # type: ignore[attr-defined]
        self.ldap.filter = filters  # type: ignore[attr-defined]
        self._monkeypatch.setitem(sys.modules, "ldap", self.ldap)
        self._monkeypatch.setitem(sys.modules, "ldap.filter", filters)
        self._monkeypatch.setenv("LDAPNOINIT", "")

    def run(self, *arguments: str) -> int:
        """The exit code of the program."""
        self._file.write_text(json.dumps(self.config))
        code: int = portal_people.main(["--config", str(self._file), *arguments])
        return code

    def path(self, name: str) -> Path:
        return (self.site if name in ("people", "gate-groups", "gate-until") else self.extra) / name

    def text(self, name: str) -> str:
        return self.path(name).read_text(encoding="utf-8")

    def everything(self) -> dict[str, tuple[int, int, bytes]]:
        """Each file there is: inode, mode, content."""
        return {
            path.name: (path.stat().st_ino, path.stat().st_mode & 0o7777, path.read_bytes())
            for directory in (self.site, self.extra)
            for path in sorted(directory.iterdir())
        }

    def told_to_cut(self) -> list[str]:
        """The lines that the cuts left: arguments, then the accounts of passwd."""
        lines = self.cuts.read_text().splitlines() if self.cuts.exists() else []
        self.cuts.unlink(missing_ok=True)
        return lines


def mapped(campus: Campus) -> dict[str, str]:
    """{claim: account} as the pod reads it now; nobody when it is out of date."""
    try:
        found = portal_map.parsed(campus.path("people").read_bytes(), campus.now)
    except portal_map.Refused:
        return {}
    return {claim: account for claim, account, _ in found}
