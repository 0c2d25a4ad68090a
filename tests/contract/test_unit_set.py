"""``unit_set`` and ``grid_health`` through ansible-playbook: arguments, check mode, failures."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oldest_python import PYTHON

Run = Callable[..., Any]
UNIT = "cloudlet-demo-not-there.service"


def unit_set(state: Path, *, check: bool = False, **arguments: Any) -> dict[str, Any]:
    full = {"component": "demo", "state_dir": str(state), **arguments}
    return {"cloudlet.deploy.unit_set": full, "check_mode": check, "ignore_errors": True}


def test_units_are_planned_before_they_exist(run_tasks: Run, tmp_path: Path) -> None:
    units = [{"name": UNIT, "enabled": True, "state": "started"}]
    order = {"restart": [UNIT, "other.service"], "reload": []}
    fact = "{{ ansible_facts['cloudlet_units_pending'] | default({}) }}"
    planned, nothing, started = run_tasks(
        [
            unit_set(tmp_path / "state", check=True, units=units, pending=order),
            unit_set(tmp_path / "state", units=[], pending=fact),
            unit_set(tmp_path / "state", units=units),
        ],
        python=PYTHON,
    )
    assert [(c["name"], c["action"]) for c in planned["changes"]] == [
        (UNIT, "enable"),
        (UNIT, "start"),
    ]
    assert nothing["changes"] == [] and not (tmp_path / "state").exists()
    booted = Path("/run/systemd/system").is_dir()
    reason = f"no unit file for {UNIT}" if booted else "Is it the init of this host?"
    assert started["failed"] and reason in started["msg"]


def test_health_names_host_and_port_and_what_to_do(run_tasks: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ask = {"kind": "gridftp", "host": "127.0.0.1", "port": port, "timeout": 1}
    tasks = [
        {"cloudlet.deploy.grid_health": ask, "check_mode": True},
        {"cloudlet.deploy.grid_health": ask, "ignore_errors": True},
        {"cloudlet.deploy.grid_health": {"kind": "srm", "host": "localhost", "port": 1}},
    ]
    checked, failed, incomplete = run_tasks(tasks, python=PYTHON)
    assert checked["checked"] is False and not checked.get("failed")
    assert failed["failed"] and "firewall" in failed["msg"]
    assert failed["msg"].startswith(f"The GridFTP server 127.0.0.1:{port} is not healthy: nothing")
    assert incomplete["failed"] and "certificate" in incomplete["msg"]
