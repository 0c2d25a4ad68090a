"""A stand-in for dpkg and apt that keeps a tiny host in memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import Result
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import Ledger

ARCHIVE = {
    "gridftp": ["libglobus", "libssl"],
    "client": ["libglobus"],
    "libglobus": [],
    "libssl": [],
    "admin-tool": ["libglobus"],
}


class MiniApt:
    """dpkg, apt-get, apt-mark and apt-cache of a host; ``states`` is its package database."""

    def __init__(self, tmp_path: Path) -> None:
        self.states = {"dpkg": "installed", "libssl": "installed"}
        self.lists_are_read = True
        self.fail_install: Result | None = None
        self.kill_install = self.kill_disable = False
        self.calls: list[list[str]] = []
        self.environments: list[dict[str, str]] = []
        self.ledger_at_install: dict[str, Any] | None = None
        self.state_dir = tmp_path / "state"
        self.extended = tmp_path / "extended_states"
        self.extended.write_text("")

    def __call__(self, argv: list[str], environment: dict[str, str] | None = None) -> Result:
        self.calls.append(argv)
        tool = argv[0].replace("-", "_")
        out = getattr(self, f"_{tool}")(argv[1:], environment or {})
        return out if isinstance(out, Result) else Result(0, out, "")

    def ran(self, *words: str) -> bool:
        return any(set(words) <= set(argv) and "-s" not in argv for argv in self.calls)

    def _dpkg_query(self, args: list[str], _: dict[str, str]) -> str:
        if args[0] == "-L":
            return f"/usr/bin/{args[1]}\n/lib/systemd/system/{args[1]}.service\n"
        return "".join(f"{n}\tamd64\t{s}\n" for n, s in self.states.items())

    def _dpkg(self, args: list[str], environment: dict[str, str]) -> str:
        assert args[:2] == ["--configure", "-a"]
        self.environments.append(environment)
        self.states = dict.fromkeys(self.states, "installed")
        return ""

    def _systemctl(self, args: list[str], _: dict[str, str]) -> str:
        if self.kill_disable:
            os._exit(9)
        return ""

    def _apt_cache(self, args: list[str], _: dict[str, str]) -> str:
        lines = []
        for name in args[1:]:
            if name in ARCHIVE or name in self.states:
                candidate = "1.0" if self.lists_are_read and name in ARCHIVE else "(none)"
                lines.append(
                    f"{name}:\n  Installed: (none)\n  Candidate: {candidate}\n"
                    "  Version table:\n     1.0 500\n"
                )
        return "".join(lines)

    def _apt_mark(self, args: list[str], _: dict[str, str]) -> str:
        where, (verb, *names) = self._extended(args)
        automatic = self._automatic(where)
        automatic = automatic | set(names) if verb == "auto" else automatic - set(names)
        Path(where or self.extended).write_text("\n".join(sorted(automatic)))
        return ""

    def _extended(self, args: list[str]) -> tuple[str, list[str]]:
        plain, where = [], ""
        rest = iter(args)
        for arg in rest:
            if arg == "-o":
                option = next(rest)
                if option.startswith("Dir::State::extended_states="):
                    where = option.partition("=")[2]
            elif not arg.startswith("-"):
                plain.append(arg)
        return where, plain

    def _automatic(self, where: str = "") -> set[str]:
        return set(Path(where or self.extended).read_text().split())

    def mark_automatic(self, *names: str) -> None:
        self.extended.write_text("\n".join(sorted(self._automatic() | set(names))))

    def _apt_get(self, args: list[str], environment: dict[str, str]) -> str | Result:
        where, (verb, *names) = self._extended(args)
        if verb == "update":
            self.lists_are_read = True
            return ""
        if verb == "install":
            return self._install(names, "-s" in args, environment)
        if verb == "autoremove":
            return "".join(f"Remv {n} [1.0]\n" for n in sorted(self._garbage(where)))
        gone = self._with_dependants(set(names))
        if "-s" not in args:
            left = "config-files" if verb == "remove" else "not-installed"
            self.states.update(dict.fromkeys(gone, left))
        return "".join(f"Purg {n} [1.0]\n" for n in sorted(gone))

    def _install(self, names: list[str], simulated: bool, env: dict[str, str]) -> str | Result:
        new = {n for name in names for n in (name, *ARCHIVE[name])}
        new = {n for n in new if self.states.get(n) != "installed"}
        if simulated:
            return "".join(f"Inst {n} (1.0 Debian:12 [amd64])\n" for n in sorted(new))
        self.environments.append(env)
        self.ledger_at_install = Ledger(str(self.state_dir)).entries
        if self.kill_install:
            os._exit(9)
        if self.fail_install:
            failure, self.fail_install = self.fail_install, None
            return failure
        self.states.update(dict.fromkeys(new, "installed"))
        self.mark_automatic(*(new - set(names)))
        return ""

    def _garbage(self, where: str) -> set[str]:
        automatic = self._automatic(where)
        installed = {n for n, s in self.states.items() if s == "installed"}
        wanted = installed - automatic
        for _ in ARCHIVE:
            wanted |= {d for n in wanted for d in ARCHIVE.get(n, ())}
        return installed - wanted

    def _with_dependants(self, names: set[str]) -> set[str]:
        installed = {n for n, s in self.states.items() if s == "installed"}
        return names | {n for n in installed if names & set(ARCHIVE.get(n, ()))}
