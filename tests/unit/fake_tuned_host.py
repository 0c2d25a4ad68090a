"""A host in a temporary directory, for the tests of what ``host_tuning`` reads."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import tuning
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import Result

from tests.unit.config_host import Host, Units

UNIT, PID = "bestman2.service", 4711
LIMITS = """\
Limit                     Soft Limit           Hard Limit           Units
Max stack size            8388608              unlimited            bytes
Max open files            20000                30000                files
Max open file locks       7                    8                    locks
"""


class FakeHost:
    """A tree of /proc and /sys, a unit of systemd, and what is below our state directory."""

    def __init__(self, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.proc, self.sys, self.ours = base / "proc", base / "sys", Host(base / "host")
        self.units = Units(base, monkeypatch)
        self.said: dict[str, Result] = {}
        self.unit(f"MainPID={PID}\nControlGroup=/system.slice/{UNIT}\n")
        self.write("proc/meminfo", "MemTotal:       8000000 kB\nMemAvailable: 7000000 kB\n")
        self.write("proc/1/limits", LIMITS)
        self.write("proc/1/cgroup", "0::/init.scope\n")
        self.write(f"proc/{PID}/limits", LIMITS)
        self.write(f"proc/{PID}/cgroup", f"0::/system.slice/{UNIT}\n")
        ids = f"Uid:\t0\t{os.geteuid()}\t0\t0\nGid:\t0\t{os.getegid()}\t0\t0\n"
        self.write(f"proc/{PID}/status", ids)
        self.write("proc/self/mountinfo", f"30 20 0:26 / {base}/cg rw - cgroup2 none rw\n")
        self.base = base

    def write(self, path: str, text: str) -> Path:
        target = self.proc.parent / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        return target

    def unit(self, more: str = "", state: str = "active") -> None:
        self.shown = f"ActiveState={state}\nInvocationID=run1\nLoadState=loaded\n{more}"
        self.units.set(UNIT, "run1", state)

    def run(self, argv: list[str], **_: Any) -> Result:
        if argv[:2] == ["systemctl", "show"]:
            return Result(0, self.shown, "")
        return self.said.get(argv[0], Result(127, "", f"{argv[0]} is not installed"))

    def report(self, *entries: dict[str, Any], **needs: Any) -> dict[str, Any]:
        wanted = {"bestman": {"tuned": list(entries), **needs}}
        found = tuning.look(wanted, self.run, str(self.ours.state), str(self.proc), str(self.sys))
        assert isinstance(found, dict)
        return json.loads(json.dumps(found))  # type: ignore[no-any-return]

    def look(self, **read: Any) -> tuple[Any, str]:
        """(effective, cause) of one setting of the unit."""
        found = self.report(self.entry(**read))["settings"]["v"]
        return found["effective"], found["cause"]

    def entry(self, *, pattern: str = r"^v=(\S+)$", **read: Any) -> dict[str, Any]:
        more = {key: read.pop(key) for key in ("as", "values", "variable") if key in read}
        where = {"file": str(self.ours.etc / "conf"), "pattern": pattern, "unit": UNIT}
        return {"variable": "v", **where, "read": read, **more}
