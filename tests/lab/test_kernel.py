"""Kernel settings on a real host: set, refused, given back; and the machine's own never change."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudlet_deploy import content
from tests.lab.conftest import CLI, DOOR, TestLab, made, set_values

pytestmark = pytest.mark.lab
ONLY = ("--component", "kernel", "--limit", DOOR)
SOMAXCONN, SYN, RMEM = "net.core.somaxconn", "net.ipv4.tcp_max_syn_backlog", "net.ipv4.tcp_rmem"
NAMES = (SOMAXCONN, SYN, RMEM)
FILE = "/etc/sysctl.d/90-cloudlet.conf"
LISTING = "ls -lR --full-time /etc/sysctl.d /etc/modules-load.d | grep -v ^total"
LEDGER = "/var/lib/cloudlet-deploy/ledger.json"


def configure(lab: TestLab, **values: Any) -> None:
    """Exactly these kernel settings for the door."""
    path = lab.site / "host_vars" / f"{DOOR}.yml"
    path.unlink(missing_ok=True)
    set_values(path, **values)


def values(lab: TestLab) -> dict[str, str]:
    told = lab.run(DOOR, "cd /proc/sys && cat " + " ".join(n.replace(".", "/") for n in NAMES))
    return {
        name: " ".join(line.split())
        for name, line in zip(NAMES, told.stdout.splitlines(), strict=True)
    }


def machine() -> dict[str, str]:
    """All that the role can set, as the machine has it that the lab runs on."""
    variables = yaml.safe_load((content.roles()["kernel"] / "vars" / "main.yml").read_text())
    names = {*variables["__kernel_numbers"], *variables["__kernel_last_numbers"]}
    paths = [Path("/proc/sys", *name.split(".")) for name in sorted(names)]
    return {str(path): path.read_text() for path in paths if path.exists()}


def changes(plan: dict[str, Any]) -> list[tuple[str, str, str, str]]:
    return [
        (change["kind"], change["name"], change["action"], change["detail"])
        for host in plan["plan"]["hosts"]
        for component in host["components"]
        for change in component["changes"]
        if change["kind"] == "sysctl"
    ]


@pytest.fixture(scope="module")
def lab() -> Iterator[TestLab]:
    """The door of the default lab, alone."""
    with made("t-kernel", "--hosts", DOOR) as hosts:
        yield hosts


@pytest.fixture(scope="module")
def story(lab: TestLab) -> dict[str, Any]:
    """Two settings, then one changed, one dropped and one new; what was seen at each step."""
    told: dict[str, Any] = {"machine": machine(), "files": lab.run(DOOR, LISTING).stdout}
    told |= {"looks": [values(lab)], "plans": [], "texts": []}
    for wanted in (
        {"kernel_somaxconn": 8192, "kernel_max_syn_backlog": 8192},
        {"kernel_somaxconn": 16384, "kernel_tcp_rmem": 16777216},
    ):
        configure(lab, **wanted)
        told["plans"].append(changes(lab.plan(*ONLY)))
        lab.apply(*ONLY)
        told["looks"].append(values(lab))
        told["texts"].append(lab.run(DOOR, f"cat {FILE}").stdout)
    return told


def test_values_are_set_as_planned_and_kept_for_the_boot(
    lab: TestLab, story: dict[str, Any]
) -> None:
    bare, one, other = story["looks"]
    assert one == {**bare, SOMAXCONN: "8192", SYN: "8192"}
    rmem = " ".join([*bare[RMEM].split()[:2], "16777216"])
    assert other == {**bare, SOMAXCONN: "16384", RMEM: rmem}
    plan, then = story["plans"]
    assert plan == [
        ("sysctl", SOMAXCONN, "set", f"{bare[SOMAXCONN]} -> 8192"),
        ("sysctl", SYN, "set", f"{bare[SYN]} -> 8192"),
    ]
    assert then == [
        ("sysctl", SOMAXCONN, "set", "8192 -> 16384"),
        ("sysctl", RMEM, "set", f"{bare[RMEM]} -> {rmem}"),
        ("sysctl", SYN, "restore", f"8192 -> {bare[SYN]}"),
    ]
    text, later = (text.splitlines()[1:] for text in story["texts"])
    assert text == [f"{SOMAXCONN} = 8192", f"{SYN} = 8192"]
    assert later == [f"{SOMAXCONN} = 16384", f"{RMEM} = {rmem}"]
    assert "Nothing to do." in lab.apply(*ONLY).stdout


def test_the_machine_keeps_its_own(story: dict[str, Any]) -> None:
    assert len(story["machine"]) >= 8
    assert machine() == story["machine"]


def test_what_cannot_be_set_is_refused_by_plan_and_apply(
    lab: TestLab, story: dict[str, Any]
) -> None:
    before = values(lab)
    refusals = {
        "net.core.rmem_max": "the kernel does not let this host change it",
        "net.core.netdev_max_backlog": "it does not exist in a container (podman)",
        "vm.max_map_count": "/proc/sys is read-only here, as the host is a container (podman)",
    }
    unsettable = ("kernel_rmem_max", "kernel_netdev_max_backlog", "kernel_max_map_count")
    configure(lab, kernel_somaxconn=32768, **dict.fromkeys(unsettable, 999999))
    for command in (("plan",), ("apply", "--yes", "--no-preflight")):
        refused = lab.cli(*command, *ONLY)
        words = " ".join((refused.stdout + refused.stderr).split())
        assert refused.returncode == 1 and DOOR in words, words
        for name, cause in refusals.items():
            assert re.search(rf"{name}: wanted 999999, found \w+: {re.escape(cause)}", words), words
        assert "Leave them out of the settings of this host" in words
    assert values(lab) == before
    assert lab.run(DOOR, f"cat {FILE}").stdout == story["texts"][1]
    configure(lab, kernel_somaxconn=16384, kernel_tcp_rmem=16777216)


def test_a_ledger_that_was_truncated_or_edited_is_refused(
    lab: TestLab, story: dict[str, Any]
) -> None:
    before = values(lab)
    configure(lab, kernel_somaxconn=1024)
    lab.run(DOOR, f"cp {LEDGER} /root/ledger")
    plan, apply = ("plan", *ONLY), ("apply", "--yes", "--no-preflight", *ONLY)
    destroy = ("destroy", "--limit", DOOR, "--confirm", lab.site.name)
    edited = f'sed -i \'/sysctl:{SOMAXCONN}/,/}}/ s/"before": .*/"before": [],/\' {LEDGER}'
    for edit, commands in ((f"truncate -s 40 {LEDGER}", [apply, destroy]), (edited, [plan])):
        lab.run(DOOR, edit)
        for command in commands:
            refused = lab.cli(*command)
            words = " ".join((refused.stdout + refused.stderr).split())
            assert refused.returncode == 1 and LEDGER in words and DOOR in words, words
        lab.run(DOOR, f"cp /root/ledger {LEDGER}")
        assert values(lab) == before
    configure(lab, kernel_somaxconn=16384, kernel_tcp_rmem=16777216)


def test_a_host_that_was_started_again_can_be_set_too(lab: TestLab, story: dict[str, Any]) -> None:
    for verb in ("kill", "start"):
        subprocess.run([CLI, "lab", verb, "--name", lab.name, DOOR], check=True)
    # Whether the network namespace outlives this is Podman's affair.
    lab.run(DOOR, "echo 4000 >/proc/sys/net/core/somaxconn")
    lab.apply(*ONLY)
    assert values(lab) == story["looks"][2]


def test_rollback_brings_the_running_values_back(lab: TestLab, story: dict[str, Any]) -> None:
    looked = lab.cli("rollback", "--check", "--limit", DOOR)
    assert looked.returncode == 2, looked.stdout + looked.stderr
    done = lab.cli("rollback", "--yes", "--limit", DOOR)
    assert done.returncode == 0, done.stdout + done.stderr
    for told in (looked.stdout, done.stdout):
        words = " ".join(told.split())
        assert f"set sysctl {SOMAXCONN} 16384 -> 8192" in words, told
        assert f"restore sysctl {RMEM} " in words, told
    assert values(lab) == story["looks"][1]
    assert lab.run(DOOR, f"cat {FILE}").stdout == story["texts"][0]


def test_destroy_gives_the_originals_back(lab: TestLab, story: dict[str, Any]) -> None:
    done = lab.cli("destroy", "--limit", DOOR, "--confirm", lab.site.name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert values(lab) == story["looks"][0]
    assert lab.run(DOOR, LISTING).stdout == story["files"]
    assert machine() == story["machine"]
