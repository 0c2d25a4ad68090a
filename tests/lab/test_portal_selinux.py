"""The portal, its gate and its front on a machine that enforces SELinux.

What people may and may not is asked by the tests of the scenario ``cloudlet`` themselves, which
runs in a container, without SELinux.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cloudlet_deploy import content
from cloudlet_deploy.lab import portal
from tests.lab.behind_gate import seen_by
from tests.lab.conftest import TestLab, made, needs_devices, set_values

pytestmark = [pytest.mark.lab, pytest.mark.soak, needs_devices]
PORTAL, STORE = "portal.lab.test", "store.lab.test"
SCENARIO = content.root() / "molecule" / "cloudlet" / "tests"
#: The audit log, and how many lines of it are of the time before.
LOG, BEFORE = "/var/log/audit/audit.log", "/root/audit-before"
#: Debian's sshd wants to write down who logs in, and Debian's policy does not let it.
DEBIANS = ' comm="sshd-session" name="wtmp.db" '


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestLab]:
    definition = tmp_path_factory.mktemp("portal") / "site"
    shutil.copytree(content.root() / "inventories" / "lab-portal", definition)
    hosts = yaml.safe_load((definition / "hosts.yml").read_text())
    hosts["portal"]["hosts"][PORTAL]["lab_image"] = "vm"
    # Its image has the archive of the pod's.
    hosts["lab_store"] = {"hosts": {STORE: {"lab_image": "portal13"}}}
    (definition / "hosts.yml").write_text(yaml.safe_dump(hosts))
    set_values(
        definition / "group_vars" / "cloudlet.yml",
        selinux_accept_mode="",
        selinux_routes=[{"port": 8443}],
    )
    with made("t-portal-selinux", "--from", str(definition)) as found:
        send = found.ssh(STORE, f"cat {portal.ARCHIVE}")
        take = found.ssh(PORTAL, f"cat >{portal.ARCHIVE}")
        with subprocess.Popen(send, stdout=subprocess.PIPE) as sending:
            subprocess.run(take, stdin=sending.stdout, check=True)
        found.run(PORTAL, f"wc -l <{LOG} >{BEFORE}")
        done = found.cli("apply", "--yes", "--no-preflight", timeout=2400)
        assert done.returncode == 0, done.stdout + done.stderr
        assert found.run(PORTAL, "getenforce").stdout == "Enforcing\n"
        yield found


@pytest.fixture
def ephemeral(lab: TestLab, tmp_path: Path) -> Path:
    """Where the scenario's tests look for its site."""
    (tmp_path / "site").symlink_to(lab.site)
    return tmp_path


@pytest.mark.parametrize("module", ["test_gate", "test_portal"])
def test_people_may_what_they_may_without_it(ephemeral: Path, module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"{module}.py"],
        cwd=SCENARIO,
        env={
            **os.environ,
            "MOLECULE_EPHEMERAL_DIRECTORY": str(ephemeral),
            "PORTAL_CUT_SECONDS": "60",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr


def test_a_program_behind_the_gate_is_reached(
    lab: TestLab, ephemeral: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host's Apache may read who may come, and relay to a port that the policy gives nobody."""
    monkeypatch.setenv("MOLECULE_EPHEMERAL_DIRECTORY", str(ephemeral))
    monkeypatch.syspath_prepend(SCENARIO)
    assert seen_by(lab, "alice", "bob") == [(200, True), (403, False)]


def test_a_look_beforehand_knows_the_pods_port(lab: TestLab) -> None:
    """On a machine of its own, root sees whose each socket is."""
    done = lab.cli("preflight", "--verbose")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8443 taken by ~oodsvc/portal.service itself" in " ".join(done.stdout.split())


def test_nothing_of_it_was_denied(lab: TestLab) -> None:
    log = lab.run(PORTAL, f"tail -n +$(($(cat {BEFORE}) + 1)) {LOG}").stdout.splitlines()
    denied = [line for line in log if "type=AVC" in line and "denied" in line]
    denied = [line for line in denied if DEBIANS not in line]
    assert denied == [], "\n".join(denied)
    booleans = lab.run(PORTAL, "getsebool httpd_can_network_relay httpd_can_network_connect").stdout
    assert booleans.split() == [
        *("httpd_can_network_relay", "-->", "on"),
        *("httpd_can_network_connect", "-->", "off"),
    ]
