"""The whole command line on a machine with a kernel of its own, under SELinux.

One machine is the cloudlet's host and a transfer server, so that kernel mounts, real limits and
reboots are seen of both. The tests of this module build on each other: plan, apply, tune, cuts,
reboot, revert, rollback, destroy. What a reboot in the middle of an apply does, and pods, are in
the Molecule scenario ``virtual_machine``.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudlet_deploy import content
from tests.lab.conftest import DOOR, TestLab, made, needs_devices, set_values
from tests.lab.snapshot import changed_keys

pytestmark = [pytest.mark.lab, pytest.mark.soak, needs_devices]
VM, CAMERA_HOST, CLUSTER = "cloudlet.lab.test", "camera.lab.test", "cluster.lab.test"
CAMERA, PROJECTS = "/srv/cloudlet/camera", "/srv/cloudlet/projects"
HOSTS = {
    "bestman": {"hosts": {DOOR: None}},
    "gridftp": {"hosts": {VM: None}},
    "cloudlet": {"hosts": {VM: {"lab_image": "vm", "lab_volumes": []}}},
    "lab_data": {"hosts": {CAMERA_HOST: None, CLUSTER: None}},
}
UNITS = ("globus-gridftp-server.service", "cloudlet-data-mounts.timer", "srv-cloudlet-camera.mount",
         "cloudlet-sshfs-srv-cloudlet-projects.service")  # fmt: skip
#: Of those that tune sets: what no container of this machine can be given.
BEYOND_CONTAINERS = (
    *("net.core.netdev_max_backlog", "net.core.rmem_max", "net.core.wmem_max"),
    "net.core.default_qdisc",
)
#: What the product may write to, and whatever SELinux keeps; accounts are compared as such.
_LOOK = """
find /etc /usr/local /srv /home /root /var/lib/systemd/linger -xdev \
  \\( -path '/home/admin/.ansible' -o -path '/root/.ansible' -o -path '/etc/selinux/*/policy' \\
     -o -path '/srv/storage' \\) \
  -prune -o -type f ! -name '*-' ! -name '.pwd.lock' ! -name 'ld.so.cache' -print0 |
  xargs -0 sha256sum
find /etc /usr/local /srv -xdev -path /srv/storage -prune -o ! -type f -printf '%M %U:%G  %p %l\\n'
dpkg-query -W -f '-  package ${Package} ${db:Status-Abbrev}\\n' | grep ' ii'
getent passwd | sed 's/^/-  account /'
semanage export | sed 's/^/-  policy /'
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestLab]:
    """The default lab's door, and a virtual machine instead of its transfer server."""
    definition = tmp_path_factory.mktemp("vm") / "site"
    inventories = content.root() / "inventories"
    shutil.copytree(inventories / "lab", definition)
    shutil.copytree(inventories / "lab-cloudlet", definition, dirs_exist_ok=True)
    (definition / "hosts.yml").write_text(yaml.safe_dump(HOSTS))
    with made("t-virtual-machine", "--from", str(definition)) as hosts:
        hosts.run(VM, "mkdir /srv/storage")
        yield hosts


def look(lab: TestLab) -> dict[str, str]:
    """What is on the machine, by the name that a difference is to be told by."""
    lines = lab.run(VM, _LOOK, timeout=400).stdout.splitlines()
    return {name: value for value, _, name in (line.partition("  ") for line in lines)}


def changes(document: dict[str, Any], section: str) -> set[tuple[str, ...]]:
    """All that a plan or a result lists for the machine."""
    (host,) = (one for one in document[section]["hosts"] if one["host"] == VM)
    return {
        (component["component"], *(change[key] for key in ("kind", "name", "action")))
        for component in host["components"]
        for change in component["changes"]
    }


def in_force(lab: TestLab) -> dict[str, str]:
    """Limits and kernel settings as the processes and the kernel have them."""
    limits = lab.run(VM, f"cat /proc/$(systemctl show -P MainPID {UNITS[0]})/limits").stdout
    (files,) = (line for line in limits.splitlines() if line.startswith("Max open files"))
    paths = " ".join(name.replace(".", "/") for name in BEYOND_CONTAINERS)
    values = lab.run(VM, f"cd /proc/sys && cat {paths}").stdout.splitlines()
    return {"nofile": files.split()[3], **dict(zip(BEYOND_CONTAINERS, values, strict=True))}


def settings(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    (host,) = (one for one in document["verified"] if one["host"] == VM)
    return {setting["variable"]: setting for setting in host["settings"]}


def cli(lab: TestLab, *args: str, codes: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """The document that a command prints; the machine is emulated, and slow."""
    done = lab.cli(*args, "--output", "json", timeout=1200)
    assert done.returncode in codes, done.stdout + done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def timed(lab: TestLab, command: str, within: float) -> tuple[int, float]:
    """Exit code of a command on the machine, which may take ``within`` seconds; what it took."""
    began = time.monotonic()
    done = lab.run(VM, f"timeout -k 1 {within:.0f} {command}", check=False, timeout=within + 30)
    return done.returncode, time.monotonic() - began


def until_good(lab: TestLab, path: str, within: float) -> float:
    """Seconds until ``path`` can be listed again."""
    began = time.monotonic()
    while time.monotonic() - began < within:
        if timed(lab, f"ls {path} >/dev/null 2>&1 && findmnt {path} >/dev/null", within)[0] == 0:
            return time.monotonic() - began
        time.sleep(2)
    raise AssertionError(f"{path} was not back within {within} s")


def stuck(lab: TestLab) -> str:
    """Processes that nobody can end: in a sleep of the kernel now and 5 s later."""
    return lab.run(
        VM,
        "one=$(ps -eo stat=,pid=,comm= | grep '^D' | sort); sleep 5;"
        "two=$(ps -eo stat=,pid=,comm= | grep '^D' | sort); "
        "printf '%s\\n' \"$one\" >/tmp/one; printf '%s\\n' \"$two\" | grep -xFf /tmp/one | grep .",
        check=False,
    ).stdout


@contextmanager
def cut_off(lab: TestLab, host: str) -> Iterator[None]:
    """No packet between the machine and ``host``, as when a cable is out."""
    address = lab.run(VM, f"getent ahostsv4 {host}").stdout.split()[0]
    lab.run(
        VM,
        "nft -f - <<END\ntable inet cut {\n"
        f"chain i {{ type filter hook input priority -300; ip saddr {address} drop; }}\n"
        f"chain o {{ type filter hook output priority -300; ip daddr {address} drop; }}\n}}\nEND",
    )
    try:
        yield
    finally:
        lab.run(VM, "nft delete table inet cut")


@pytest.fixture(scope="module")
def bare(lab: TestLab) -> dict[str, str]:
    return look(lab)


@pytest.fixture(scope="module")
def applied(lab: TestLab, bare: dict[str, str]) -> dict[str, Any]:
    """The plan of the bare machine, and what an apply then did."""
    plan = cli(lab, "plan", codes=(2,))
    assert look(lab) == bare, "a plan changed something"
    return {"plan": plan, "apply": cli(lab, "apply", "--yes", "--no-preflight")}


@pytest.fixture(scope="module")
def tuned(lab: TestLab, applied: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"before": in_force(lab)}
    # 5: the door is a container, which has bounds.
    told["document"] = cli(lab, "tune", "--clients", "2000", "--yes", codes=(0, 5))
    told["after"] = in_force(lab)
    return told


def test_an_apply_does_what_the_plan_said(applied: dict[str, Any]) -> None:
    said, done = changes(applied["plan"], "plan"), changes(applied["apply"], "result")
    assert said ^ done == set()
    assert len(done) > 50


def test_a_second_apply_changes_nothing(lab: TestLab, applied: dict[str, Any]) -> None:
    document = cli(lab, "apply", "--yes", "--no-preflight")
    assert document["result"] is None and changes(document, "plan") == set()


def test_limits_are_real(tuned: dict[str, Any]) -> None:
    found = settings(tuned["document"])
    assert int(tuned["after"]["nofile"]) >= 65536
    assert found["gridftp_nofile"]["effective"] == int(tuned["after"]["nofile"])
    assert {name: one["state"] for name, one in found.items() if one["state"] != "effective"} == {}


@pytest.mark.parametrize("name", BEYOND_CONTAINERS)
def test_a_setting_that_no_container_can_be_given(tuned: dict[str, Any], name: str) -> None:
    variable = "kernel_" + name.rpartition(".")[2]
    assert str(settings(tuned["document"])[variable]["effective"]) == tuned["after"][name]
    assert tuned["after"][name] != tuned["before"][name]


def test_a_camera_whose_server_is_gone_for_a_minute(lab: TestLab, tuned: dict[str, Any]) -> None:
    lab.run(CAMERA_HOST, "echo movie >/srv/camera/movie-1.mrc && systemctl stop smbd")
    began = time.monotonic()
    try:
        code, _ = timed(lab, f"cat {CAMERA}/movie-1.mrc", 60)
        assert code not in (0, 124, 137), "it must fail, and by itself"
        time.sleep(max(0, began + 70 - time.monotonic()))
    finally:
        lab.run(CAMERA_HOST, "systemctl start smbd")
    until_good(lab, CAMERA, 60)
    assert lab.run(VM, f"cat {CAMERA}/movie-1.mrc").stdout == "movie\n"
    assert stuck(lab) == ""


@pytest.mark.parametrize(("host", "path"), [(CLUSTER, PROJECTS), (CAMERA_HOST, CAMERA)])
def test_a_network_that_is_cut_for_two_minutes(
    lab: TestLab, tuned: dict[str, Any], host: str, path: str
) -> None:
    with cut_off(lab, host):
        began = time.monotonic()
        code, _ = timed(lab, f"ls {path}/no-such-file", 100)
        assert code not in (124, 137), "it hung"
        time.sleep(max(0, began + 120 - time.monotonic()))
    until_good(lab, path, 90)
    assert stuck(lab) == ""


def test_after_a_reboot_all_is_up_and_tuned(lab: TestLab, tuned: dict[str, Any]) -> None:
    boot = "cat /proc/sys/kernel/random/boot_id"
    before = lab.run(VM, boot).stdout
    lab.run(VM, "systemd-run --on-active=1 systemctl reboot")
    deadline = time.monotonic() + 240
    while True:
        found = lab.run(VM, f"systemctl is-system-running --wait; {boot}", check=False).stdout
        if found.startswith("running\n") and before not in found:
            break
        assert time.monotonic() < deadline, found
        time.sleep(2)
    assert lab.run(VM, "systemctl is-active " + " ".join(UNITS)).stdout.split() == ["active"] * 4
    assert lab.run(VM, f"cat {CAMERA}/movie-1.mrc").stdout == "movie\n"
    lab.run(VM, f"touch {PROJECTS}/after-a-reboot")
    assert in_force(lab) == tuned["after"]
    found = settings(cli(lab, "tune", "--verify", codes=(0, 5)))
    assert {name: one["state"] for name, one in found.items() if one["state"] != "effective"} == {}
    assert lab.cli("status", "--limit", VM).returncode == 0


def test_revert_gives_the_values_of_the_image(lab: TestLab, tuned: dict[str, Any]) -> None:
    cli(lab, "tune", "--revert", "--yes")
    assert in_force(lab) == tuned["before"]


def test_a_rollback_brings_the_mounts_of_before(lab: TestLab, tuned: dict[str, Any]) -> None:
    before = look(lab)
    own = lab.site / "host_vars" / f"{VM}.yml"
    set_values(own, data_mounts_wait=45)
    only = ("--limit", VM, "--component", "data_mounts")
    cli(lab, "apply", "--yes", "--no-preflight", *only)
    altered = changed_keys(before, look(lab))
    assert "/etc/systemd/system/srv-cloudlet-camera.mount" in altered
    own.unlink()
    done = lab.cli("rollback", "--yes", "--limit", VM, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert changed_keys(before, look(lab)) == set()
    assert lab.run(VM, f"cat {CAMERA}/movie-1.mrc").stdout == "movie\n"


def test_destroy_leaves_the_machine_as_it_was(
    lab: TestLab, bare: dict[str, str], applied: dict[str, Any]
) -> None:
    said = cli(lab, "destroy", "--check", "--limit", VM, codes=(0, 2))
    assert "/srv/cloudlet stays" not in json.dumps(said)
    confirm = ("--confirm", Path(lab.site).name)
    done = lab.cli("destroy", *confirm, "--limit", VM, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    assert changed_keys(bare, look(lab)) == set()
