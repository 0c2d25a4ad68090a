"""A host's file tree in a temporary directory, for the tests of config_set's engine."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import config_engine

_SYSTEMCTL = """#!/bin/sh
# A stand-in for systemctl: `show` answers from one file per unit.
[ "$1" = show ] || exit 1
while [ "$1" != -- ]; do shift; done
shift
for unit in "$@"; do
    cat "{units}/$unit" 2>/dev/null || printf 'ActiveState=inactive\\nInvocationID=\\n'
    echo
done
"""

CANARY = "c4n4ry-hunter2"


def file(path: Path | str, content: str | bytes = "new\n", **more: Any) -> dict[str, Any]:
    """An entry of ``files`` as the module gets it."""
    data = content.encode() if isinstance(content, str) else content
    return {"path": str(path), "content": data, "mode": "0644", **more}


class Host:
    """``etc`` for managed files, ``state`` for the state directory."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.etc = base / "etc"
        self.state = base / "state"
        self.etc.mkdir(parents=True)

    @property
    def set_dir(self) -> Path:
        return self.state / "sets" / "demo"

    @staticmethod
    def request(*files: dict[str, Any], state: str = "present", **more: Any) -> dict[str, Any]:
        request = {"name": "demo", "state": state, "directories": [], "validate": []}
        return {**request, "files": list(files), **more}

    def apply(self, *files: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Apply for real."""
        return self.run(self.request(*files, **more))

    def plan(self, *files: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Check mode."""
        return self.run(self.request(*files, **more), check=True)

    def run(self, request: dict[str, Any], check: bool = False, **more: Any) -> dict[str, Any]:
        result = config_engine.apply(request, str(self.state), check=check, **more)
        assert isinstance(result, dict)
        return result

    def absent(self) -> dict[str, Any]:
        return self.apply(state="absent")

    def snapshot(self, *, times: bool = False, below: Path | None = None) -> dict[str, Any]:
        """Kind, content, owner and mode of everything below ``etc``."""
        return {
            str(path.relative_to(self.base)): _told(path, times) for path in walk(below or self.etc)
        }

    def leftovers(self) -> list[Path]:
        """Staged or temporary files that should be gone."""
        return [path for path in walk(self.base) if path.name.startswith(".cloudlet-")]

    def save(self) -> None:
        """Remember the whole tree for ``restore``."""
        subprocess.run(["cp", "-a", self.base, f"{self.base}.saved"], check=True)

    def restore(self) -> None:
        shutil.rmtree(self.base)
        subprocess.run(["cp", "-a", f"{self.base}.saved", self.base], check=True)


class Units:
    """Units as the stand-in for systemctl knows them."""

    def __init__(self, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.units = base / "units"
        self.units.mkdir()
        program = base / "bin" / "systemctl"
        program.parent.mkdir()
        program.write_text(_SYSTEMCTL.replace("{units}", str(self.units)))
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")

    def set(self, unit: str, invocation: str, state: str = "active") -> None:
        (self.units / unit).write_text(f"ActiveState={state}\nInvocationID={invocation}\n")


def walk(base: Path) -> list[Path]:
    return sorted(base.rglob("*")) if base.exists() else []


def _told(path: Path, times: bool) -> tuple[Any, ...]:
    status = path.lstat()
    told: tuple[Any, ...] = (oct(status.st_mode), status.st_uid, status.st_gid)
    if stat.S_ISREG(status.st_mode):
        told += (path.read_bytes(), *((status.st_mtime_ns, status.st_ino) if times else ()))
    return told


def actions(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(c["kind"], Path(c["name"]).name, c["action"]) for c in result["changes"]]


def contents(base: Path) -> str:
    return "\n".join(p.read_text(errors="replace") for p in walk(base) if p.is_file())
