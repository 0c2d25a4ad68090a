"""``package_set`` through ansible-playbook; installs nothing on the machine it runs on."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from oldest_python import PYTHON

Run = Callable[..., Any]

pytestmark = pytest.mark.skipif(not shutil.which("dpkg-query"), reason="the machine has no dpkg")


def test_nothing_missing_and_a_prediction(run_tasks: Run, tmp_path: Path) -> None:
    def task(check: bool = False, **arguments: Any) -> dict[str, Any]:
        full = {"component": "demo", "state_dir": str(tmp_path / "state"), **arguments}
        return {"cloudlet.deploy.package_set": full, "check_mode": check}

    there, absent, predicted = run_tasks(
        [
            task(names=["dpkg", "coreutils"]),
            task(state="absent"),
            task(check=True, names=["dpkg", "no-such-package-of-ours"]),
        ],
        python=PYTHON,
    )
    assert there["changed"] is False and there["changes"] == absent["changes"] == []
    assert predicted["changes"] == [
        {"kind": "package", "name": "no-such-package-of-ours", "action": "install", "detail": ""}
    ]
    assert not (tmp_path / "state" / "ledger.json").exists()
