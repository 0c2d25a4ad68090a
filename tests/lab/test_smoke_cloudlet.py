"""Status tells whether processing keeps up, smoke what hops and mounts carry.

The tests build on each other: one lab, the mounts' apply, four looks, three measurements, of which
one installs iperf3.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.lab.conftest import TestLab, needs_devices, set_values
from tests.lab.snapshot import difference

pytestmark = [pytest.mark.lab, needs_devices]

DEFINITION = "lab-data"
CLOUDLET, CAMERA, CLUSTER = "cloudlet.lab.test", "camera.lab.test", "cluster.lab.test"
SPACE = "/srv/cloudlet/projects"
#: What of ours may run on a host, but for the mounts' own.
OURS = "ps -eo args= | grep -E 'iperf3|AnsiballZ|cloudlet-smoke' | grep -v grep"
WATCH = {
    "name": "k3", "raw": f"{SPACE}/raw", "raw_pattern": "*.tiff",
    "output": f"{SPACE}/out", "output_pattern": "*_dw.mrc", "limit": 180,
}  # fmt: skip
HOPS = [
    {"name": "in", "from": CAMERA, "to": CLOUDLET, "least_mbit": 1},
    {"name": "out", "from": CLOUDLET, "to": CLUSTER, "least_mbit": 1_000_000_000},
]


def document(lab: TestLab, code: int, command: str, *args: str) -> dict[str, Any]:
    """The document of a command that must exit with ``code``."""
    done = lab.cli(command, *args, "--output", "json")
    assert done.returncode == code, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def watched(lab: TestLab, code: int) -> tuple[dict[str, Any], list[str]]:
    """The watched directory, and what is said of it."""
    (host,) = document(lab, code, "status")["hosts"]
    (entry,) = host["watches"]
    return entry, [one["detail"] for one in host["problems"] if one["check"] == "lag"]


def film(lab: TestLab, movies: str, output: str) -> None:
    """On the cluster, which is what is mounted: ``NUMBER:AGE`` of movies, numbers of output."""
    lab.run(
        CLUSTER,
        "cd /home/project; mkdir -p raw out; "
        f"for m in {movies}; do touch -d \"-${{m#*:}} seconds\" raw/m_${{m%:*}}.tiff; done; "
        f"for n in {output}; do touch out/m_${{n}}_dw.mrc; done; chown -R project raw out",
    )  # fmt: skip


def frozen(lab: TestLab, signal: str) -> None:
    lab.run(CLOUDLET, f"pkill -{signal} -x sshfs")


def test_lag_grows_while_processing_stands_and_is_none_at_rest(lab: TestLab) -> None:
    path = lab.site / "group_vars" / "cloudlet.yml"
    (mount,) = yaml.safe_load(path.read_text())["data_mounts_sshfs"]
    # SSHFS remembers a directory for 20 s, if nobody says otherwise.
    mount["options"] = ["dcache_timeout=1"]
    set_values(path, data_mounts_sshfs=[mount], data_watch_directories=[WATCH])
    set_values(
        lab.site / "group_vars" / "all.yml",
        smoke_hops=HOPS,
        smoke_mounts=[{"name": "projects", "least_read": 0.1, "least_write": 0.1}],
        smoke_transfer_seconds=1,
        smoke_transfer_mib=64,
    )
    lab.apply("--component", "data_mounts", "--component", "data_watch")
    film(lab, "1:900 2:700 3:500 4:400", "1 3")
    found, said = watched(lab, 5)
    assert 400 <= found["lag"] < 460
    assert (found["waiting"], found["skipped"]) == (1, 1)
    assert found["raw"]["path"] == "m_4.tiff"
    assert found["output"]["path"] == "m_3_dw.mrc"
    assert "1 movie waits for output" in said[0]
    film(lab, "", "4")
    time.sleep(1.5)
    found, said = watched(lab, 2)  # Podman's part was never applied
    assert (found["lag"], said) == (0.0, [])


def test_each_hop_and_mount_is_measured_and_nothing_is_left(lab: TestLab) -> None:
    before = {host: lab.snapshot(host) for host in (CAMERA, CLUSTER)}
    found = document(lab, 5, "smoke")
    assert not found["held"]
    rates = {one["name"]: one["mbit"] for one in found["hops"]}
    assert rates["in"] > 1 < rates["out"]
    (mount,) = found["mounts"]
    assert (mount["problem"], mount["left"]) == ("", "")
    assert mount["read_mb"] > 0.1 < mount["write_mb"]
    assert {one["name"]: one["held"] for one in found["findings"]} == {
        "hop in": True,
        "hop out": False,  # more than any machine has
        f"reading projects on {CLOUDLET}": True,
        f"writing projects on {CLOUDLET}": True,
    }
    assert "Hops and mounts" in Path(found["report"]["report"]).read_text()
    for host, was in before.items():
        assert not difference(was, lab.snapshot(host)), host
    for host in (CAMERA, CLUSTER, CLOUDLET):
        assert lab.run(host, OURS, check=False).stdout == "", host
        assert lab.run(host, "command -v iperf3", check=False).returncode, host
    left = lab.run(CLOUDLET, f"ls -A {SPACE}").stdout.split()
    assert not [name for name in left if "smoke" in name]


def test_a_dead_mount_is_told_in_time(lab: TestLab) -> None:
    only = ("smoke", "--limit", CLOUDLET)
    assert document(lab, 0, *only)["held"]
    # What would mount it again.
    lab.run(CLOUDLET, "systemctl stop cloudlet-data-mounts.timer")
    frozen(lab, "STOP")
    try:
        _, said = watched(lab, 5)
        assert "no answer within 20 s" in said[0]
        found = document(lab, 5, *only)
    finally:
        frozen(lab, "CONT")
        lab.run(CLOUDLET, "systemctl start cloudlet-data-mounts.timer")
    ((name, held),) = {one["name"]: one["held"] for one in found["findings"]}.items()
    assert (name, held) == (f"mount projects on {CLOUDLET}", False)
    (mount,) = found["mounts"]
    assert "no answer within 22 s" in mount["problem"]
    assert lab.run(CLOUDLET, OURS, check=False).stdout == ""


def test_a_share_that_is_gone_is_not_taken_for_rest(lab: TestLab) -> None:
    lab.run(CLOUDLET, "systemctl stop cloudlet-data-mounts.timer 'cloudlet-sshfs-*'")
    _, said = watched(lab, 5)
    assert said == [f"k3: {SPACE} is not mounted"]
