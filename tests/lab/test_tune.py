"""``tune`` on real hosts: what it says is in force is in force, and revert leaves no trace.

The tests of this module build on each other: a site is applied, tuned twice, changed by an
unrelated apply, and reverted once.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cloudlet_deploy import lab as labs
from tests.lab.conftest import DOOR, SERVERS, TRANSFER, TestLab, set_values
from tests.lab.snapshot import Snapshot, difference

pytestmark = pytest.mark.lab

UNITS = {DOOR: "bestman2.service", TRANSFER: "globus-gridftp-server.service"}
SYSCTLS = (
    "net.core.somaxconn",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_abort_on_overflow",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
)
#: What no container of this machine can be given: the verdict must say so.
BEYOND = {
    *("kernel_netdev_max_backlog", "kernel_rmem_max", "kernel_wmem_max", "kernel_default_qdisc"),
    *("bestman_tasks_max", "gridftp_tasks_max"),
}


class Running:
    """What a host has in force: read here by other means than the product's."""

    def __init__(self, lab: TestLab, host: str) -> None:
        unit = UNITS[host]
        pid = lab.run(host, f"systemctl show -P MainPID {unit}").stdout.strip()
        self.limits = lab.run(host, f"cat /proc/{pid}/limits").stdout
        self.command = lab.run(host, f"tr '\\0' ' ' </proc/{pid}/cmdline").stdout
        self.tasks_max = lab.run(
            host, f"cat /sys/fs/cgroup/pids/*/{unit}/pids.max /sys/fs/cgroup/*/{unit}/pids.max",
            check=False,
        ).stdout.split()[:1]  # fmt: skip
        self.sysctls = {name: lab.run(host, f"sysctl -n {name}").stdout for name in SYSCTLS}
        self.queue = lab.run(host, "ss -Hltn 'sport = :8443'").stdout.split()[2:3]


def tuned(lab: TestLab, *args: str, code: int = 5) -> dict[str, Any]:
    """The document of a tune that must exit with ``code``."""
    done = lab.cli("tune", *args, "--output", "json")
    assert done.returncode == code, done.stdout + done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def site_files(lab: TestLab) -> dict[str, bytes]:
    return {
        str(path.relative_to(lab.site)): path.read_bytes()
        for path in lab.site.rglob("*")
        if path.is_file()
    }


def states(document: dict[str, Any], host: str) -> dict[str, str]:
    (found,) = (entry for entry in document["verified"] if entry["host"] == host)
    return {setting["variable"]: setting["state"] for setting in found["settings"]}


def value(document: dict[str, Any], host: str, variable: str) -> dict[str, Any]:
    (found,) = (entry for entry in document["verified"] if entry["host"] == host)
    (setting,) = (one for one in found["settings"] if one["variable"] == variable)
    return dict(setting)


@pytest.fixture(scope="module")
def story(lab: TestLab) -> dict[str, Any]:
    """A site before, after one tune, after another with fewer clients, and reverted."""
    door = lab.site / "group_vars" / "bestman.yml"
    door.write_text(re.sub(r"(?m)^bestman_heap_mb:.*\n", "", door.read_text()))
    set_values(lab.site / "group_vars" / "gridftp.yml", gridftp_connections_max=50)
    told: dict[str, Any] = {"bare": lab.cli("tune", "--clients", "1000", "--yes")}
    lab.apply()
    told["files"] = site_files(lab)
    told["hosts"] = {host: lab.snapshot(host) for host in SERVERS}
    told["running"] = {host: Running(lab, host) for host in SERVERS}
    told["check"] = tuned(lab, "--clients", "1000", "--check", code=2)
    told["checked"] = {host: lab.snapshot(host) for host in SERVERS}
    told["first"] = tuned(lab, "--clients", "1000", "--yes")
    told["first_running"] = {host: Running(lab, host) for host in SERVERS}
    return told


def test_a_site_that_was_never_applied_is_not_tuned(story: dict[str, Any]) -> None:
    assert story["bare"].returncode == 5
    assert "'cloudlet-deploy apply' sets it up" in " ".join(story["bare"].stderr.split())


def test_check_changes_nothing(lab: TestLab, story: dict[str, Any]) -> None:
    for host in SERVERS:
        assert not difference(story["hosts"][host], story["checked"][host])
    heap = next(
        s
        for entry in story["check"]["hosts"]
        if entry["host"] == DOOR
        for s in entry["settings"]
        if s["variable"] == "bestman_heap_mb"
    )
    assert heap["differs"] and heap["wanted"] == 256 + 2.5 * 1000


def test_what_tune_says_is_in_force_is_in_force(story: dict[str, Any]) -> None:
    door = story["first_running"][DOOR]
    assert "-Xmx2756m" in door.command
    assert door.queue == ["2000"]
    assert door.sysctls["net.core.somaxconn"] == "8192\n"
    limit = next(line for line in door.limits.splitlines() if line.startswith("Max open files"))
    assert limit.split()[3] == str(value(story["first"], DOOR, "bestman_nofile")["effective"])
    assert "-Xmx1024m" in story["running"][DOOR].command
    assert story["running"][DOOR].queue != door.queue


def test_what_cannot_be_set_is_not_effective_and_says_why(story: dict[str, Any]) -> None:
    for host in SERVERS:
        found = states(story["first"], host)
        bad = {name for name, state in found.items() if state != "effective"}
        assert bad <= BEYOND, found
    refused = value(story["first"], TRANSFER, "kernel_rmem_max")
    assert refused["state"] == "not effective" and refused["cause"]


def test_a_pin_wins_and_what_speaks_against_it_is_said(story: dict[str, Any]) -> None:
    (transfer,) = (one for one in story["check"]["hosts"] if one["host"] == TRANSFER)
    (pinned,) = (s for s in transfer["settings"] if s["variable"] == "gridftp_connections_max")
    assert pinned["pinned"]["value"] == pinned["wanted"] == 50
    assert pinned["pinned"]["where"].rpartition("/")[2].startswith("gridftp.yml:")
    assert pinned["recommended"] > 50 and pinned["objection"]
    assert value(story["first"], TRANSFER, "gridftp_connections_max")["effective"] == 50


def test_an_apply_after_it_changes_nothing(lab: TestLab, story: dict[str, Any]) -> None:
    document = lab.plan()
    assert [
        e for e in document["plan"]["hosts"] if any(c["changes"] for c in e["components"])
    ] == []


def test_it_is_in_force_again_after_a_restart(lab: TestLab, story: dict[str, Any]) -> None:
    lab.run(DOOR, "systemctl restart bestman2")
    lab.apply("--limit", DOOR)  # waits for the first listing
    assert states(tuned(lab, "--verify"), DOOR) == states(story["first"], DOOR)


def test_a_limit_that_systemd_cuts_is_not_called_set(lab: TestLab, story: dict[str, Any]) -> None:
    lab.apply("--limit", TRANSFER, "--component", "gridftp", "-e", "gridftp_nofile=900000")
    told = tuned(lab, "--limit", TRANSFER, "--verify", "-e", "gridftp_nofile=900000")
    found = value(told, TRANSFER, "gridftp_nofile")
    assert found["configured"] == 900000
    assert found["effective"] < 900000
    assert found["state"] == "not effective" and "systemd" in found["cause"]
    lab.apply("--limit", TRANSFER, "--component", "gridftp")


def test_bad_input_changes_nothing(lab: TestLab, story: dict[str, Any]) -> None:
    files = site_files(lab)
    hosts = {host: lab.snapshot(host) for host in SERVERS}
    for wrong in ("0", "-5", "100000000", "many"):
        done = lab.cli("tune", "--yes", "--clients", wrong)
        assert done.returncode == 64, done.stdout + done.stderr
        assert wrong in done.stderr
    declined = lab.cli("tune", "--clients", "300")
    assert declined.returncode == 64 and "--yes" in declined.stderr
    doorless = lab.cli("tune", "--yes", "--clients", "300", "-e", "bestman_state=absent")
    assert doorless.returncode == 4 and "no host is a door" in " ".join(doorless.stderr.split())
    mine = lab.site / "host_vars" / DOOR / "zz_tuned.yml"
    kept = mine.read_text()
    for altered in (kept.replace("2756", "9999"), kept[: len(kept) // 2], ""):
        mine.write_text(altered)
        for call in (("--clients", "300", "--yes"), ("--revert", "--yes")):
            done = lab.cli("tune", *call)
            assert done.returncode == 4, done.stdout + done.stderr
            assert "zz_tuned.yml" in done.stderr
    mine.write_text(kept)
    ledger = "/var/lib/cloudlet-deploy/ledger.json"
    lab.run(DOOR, f"cp -p {ledger} /root/kept && head -c 300 /root/kept >{ledger}")
    for call in (("--clients", "300", "--yes"), ("--revert", "--yes")):
        done = lab.cli("tune", *call)
        assert done.returncode == 1, done.stdout + done.stderr
        assert DOOR in done.stderr and "ledger.json" in done.stderr
    lab.run(DOOR, f"cat /root/kept >{ledger}; rm /root/kept")
    assert site_files(lab) == files
    for host in SERVERS:
        assert not difference(hosts[host], lab.snapshot(host), times=False)


def test_a_host_that_does_not_answer_stops_it(lab: TestLab, story: dict[str, Any]) -> None:
    files = site_files(lab)
    labs.kill(lab.name, TRANSFER)
    try:
        done = lab.cli("tune", "--clients", "300", "--yes")
        assert done.returncode == 3, done.stdout + done.stderr
        told = " ".join(done.stderr.split())
        assert TRANSFER in told and "nothing was changed on any host" in told
        assert site_files(lab) == files
    finally:
        labs.start(lab.name, TRANSFER)
    lab.apply()  # the lab's kernel forgets what it was given, as its systemd-sysctl is not run


def test_two_tunes_and_one_revert_give_the_originals(lab: TestLab, story: dict[str, Any]) -> None:
    tuned(lab, "--clients", "300", "--yes")
    assert "-Xmx1006m" in Running(lab, DOOR).command
    set_values(lab.site / "group_vars" / "bestman.yml", bestman_event_log_files=7)
    lab.apply()  # has nothing to do with it
    before: dict[str, Snapshot] = story["hosts"]
    done = lab.cli("tune", "--revert", "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    assert files_that_differ(story["files"], site_files(lab)) == {"group_vars/bestman.yml"}
    environment = "/etc/default/bestman2"
    for host in SERVERS:
        found = difference(before[host], lab.snapshot(host), times=False)
        assert found.files == ({environment} if host == DOOR else set())
        assert not (found.accounts or found.packages)
    assert "BESTMAN_EVENT_LOG_COUNT=7" in lab.run(DOOR, f"cat {environment}").stdout
    for host in SERVERS:
        now, then = Running(lab, host), story["running"][host]
        now.command = now.command.replace("SRMMaxNumEventLog=7", "SRMMaxNumEventLog=10")
        assert vars(now) == vars(then)
    again = lab.cli("tune", "--revert", "--yes")
    assert again.returncode == 0 and "Nothing to revert" in again.stdout


def files_that_differ(before: dict[str, bytes], after: dict[str, bytes]) -> set[str]:
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def test_the_values_can_be_kept_in_a_file_of_their_own(lab: TestLab, tmp_path: Path) -> None:
    kept = tmp_path / "tuned.yml"
    door = ("--limit", DOOR, "--write-to", str(kept))
    tuned(lab, "--clients", "300", "--yes", *door)
    assert not list(lab.site.rglob("zz_tuned.yml"))
    assert "-Xmx1006m" in Running(lab, DOOR).command
    tuned(lab, "--revert", "--yes", *door, code=0)
    assert not kept.exists()
    assert "-Xmx1024m" in Running(lab, DOOR).command
