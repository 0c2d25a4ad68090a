"""A directory of ordinary files that stands for a host with SELinux.

The transaction and ``restorecon`` are played: what they are told is written to the directory as
libsemanage and the kernel would.
"""

from __future__ import annotations

import bz2
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.cloudlet.deploy.plugins.module_utils import (
    commands,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import Ledger
from ansible_collections.cloudlet.deploy.plugins.module_utils.selinux_engine import Engine
from ansible_collections.cloudlet.deploy.plugins.module_utils.selinux_policy import Policy, Refused

RELAY, CONNECT = "httpd_can_network_relay", "httpd_can_network_connect"
RULE, CONTAINERS = "/srv/x(/.*)?", "/var/lib/svc/.local/share/containers"
TYPES = ("container_file_t", "http_port_t", "var_t", "zope_port_t")
CIL = "(allow mount_t self (process (setcap getcap)))"
EVERYTHING: dict[str, Any] = {
    "booleans": {RELAY: True, CONNECT: False},
    "contexts": [{"path": RULE, "type": "container_file_t"}],
    "equivalents": [{"path": CONTAINERS, "like": "/var/lib/containers"}],
    "ports": [{"port": "8444", "protocol": "tcp", "type": "http_port_t"}],
    "modules": [{"name": "cloudlet_mount", "cil": CIL}],
    "logins": [{"account": "svc", "user": "unconfined_u", "levels": "s0"}],
    "relabel": ["/srv/x"],
}


def whole(type_: str) -> str:
    return f"system_u:object_r:{type_}:s0"


class Host:
    """A host whose policy has two booleans and few types, and one directory, ``/srv/x``."""

    def __init__(self, base: Path) -> None:
        self.root, self.state = base / "root", base / "state"
        self.kernel = self.root / "sys/fs/selinux"
        self.store = self.root / "var/lib/selinux/default/active"
        self.files = self.root / "etc/selinux/default/contexts/files"
        for path in (self.kernel / "booleans", self.store / "modules/100/container", self.files):
            path.mkdir(parents=True)
        for name in ("srv/x", "run"):
            (self.root / name).mkdir(parents=True)
        self.config("enforcing")
        (self.kernel / "enforce").write_text("1")
        (self.kernel / "mls").write_text("1")
        (self.kernel / "context").touch()
        (self.kernel / "commit_pending_bools").touch()
        for name in (RELAY, CONNECT):
            (self.kernel / "booleans" / name).write_text("0 0")
        (self.files / "file_contexts").write_text(
            "".join(f"/some/{one}\t{whole(one)}\n" for one in TYPES)
        )
        (self.files / "file_contexts.subs_dist").write_text("# given\n/var/run /run\n")
        self.labels = {"/srv/x": "var_t", "/srv/x/a": "var_t"}
        self.commits: list[dict[str, Any]] = []
        self.broken = ""
        self.kill_at = ""

    def config(self, mode: str) -> None:
        path = self.root / "etc/selinux/config"
        path.write_text(f"# SELINUX=\nSELINUX={mode}\nSELINUXTYPE=default\n")

    def __call__(self, component: str | None = "portal", check: bool = False) -> Engine:
        return Engine(component, str(self.state), str(self.root), check)

    @property
    def policy(self) -> Policy:
        return Policy(str(self.root))

    def live(self, name: str) -> str:
        return (self.kernel / "booleans" / name).read_text().split()[0]

    def snapshot(self) -> dict[str, str]:
        """All that says what the policy is, but who owns it."""
        paths = [*self.store.rglob("*"), *self.files.rglob("*"), *self.kernel.rglob("booleans/*")]
        texts = {
            str(p.relative_to(self.root)): p.read_bytes().decode("latin-1").split()
            for p in paths
            if p.is_file()
        }
        return {path: " ".join(text[:1] if "booleans/" in path else text)
                for path, text in sorted(texts.items()) if text} | self.labels  # fmt: skip

    # ---- played ------------------------------------------------------------------------

    def commit(self, wanted: Mapping[str, Mapping[str, Any]]) -> None:
        assert Ledger(str(self.state)).entries, "the ledger comes first"
        if self.broken:
            raise Refused(self.broken, "Correct it.")
        if self.kill_at == "before":
            raise KeyboardInterrupt
        self.commits.append({kind: dict(values) for kind, values in wanted.items()})
        self.by_hand(wanted)
        if self.kill_at == "after":
            raise KeyboardInterrupt

    def by_hand(self, wanted: Mapping[str, Mapping[str, Any]]) -> None:
        """Change the store as libsemanage does."""
        for name, text in wanted.get("policy-module", {}).items():
            directory = self.store / "modules/400" / name
            directory.mkdir(parents=True, exist_ok=True)
            if text is None:
                for path in directory.iterdir():
                    path.unlink()
                directory.rmdir()
                continue
            (directory / "cil").write_bytes(bz2.compress(text.encode()))
            (directory / "lang_ext").write_text("cil")
        policy = self.policy
        found = {kind: {**policy.found(kind), **wanted.get(kind, {})}
                 for kind in ("boolean", "context", "port", "login")}  # fmt: skip
        written: tuple[tuple[str, str, Callable[[str, Any], str]], ...] = (
            ("boolean", "booleans.local", lambda n, v: f"{n}={int(v)}"),
            ("context", "file_contexts.local", lambda n, v: f"{n}    {v}"),
            ("port", "ports.local",
             lambda n, v: f"portcon {n.replace('/', ' ').replace('-', ' - ')} {v}"),
            ("login", "seusers.local", lambda n, v: f"{n}:{v}"),
        )  # fmt: skip
        for kind, name, line in written:
            lines = [line(n, v) for n, v in sorted(found[kind].items()) if v is not None]
            text = "# This file is auto-generated by libsemanage\n" + "\n".join(lines) + "\n"
            (self.store / name).write_text(text if lines else "")

    def run(self, argv: list[str], timeout: float) -> commands.Result:
        rules = dict(self.policy.found("context"))
        if argv[0] == "setfiles":
            local = Path(argv[-2]).parent / "file_contexts.local"
            rules = dict(line.split() for line in local.read_text().splitlines())
        lines = []
        for path in sorted(self.labels):
            if path != argv[-1] and not path.startswith(argv[-1] + "/"):
                continue
            types = [v.split(":")[2] for rule, v in rules.items() if re.fullmatch(rule, path)]
            wanted = types[0] if types else "var_t"
            if wanted != self.labels[path]:
                word = "Would relabel" if "-n" in argv else "Relabeled"
                lines.append(f"{word} {path} from {whole(self.labels[path])} to {whole(wanted)}")
                if "-n" not in argv:
                    self.labels[path] = wanted
        return commands.Result(0, "\n".join(lines), "")
