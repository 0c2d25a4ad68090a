"""The life of a portal by the command line: plan, apply, secrets changed, rollback, destroy.

What people can and cannot do with it is in the Molecule scenario ``portal``. The tests build on
each other.
"""

from __future__ import annotations

import importlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cloudlet_deploy import content
from tests.lab.conftest import CLI, TestLab, made, needs_devices, set_values
from tests.lab.snapshot import CONSEQUENCES, changed_keys

pytestmark = [pytest.mark.lab, needs_devices]
PORTAL, DIRECTORY = "portal.lab.test", "ldap.lab.test"
#: Seconds after the start of the host in which all is as it should be.
BOOT = 40
#: What the account's Podman and systemd keep is theirs.
STORAGE = "/var/lib/oodsvc"
SHOWN = "/var/lib/cloudlet-portal"
#: What Debian's packages bring, which no plan of a bare host can know, and what they leave: that
#: of Podman runs it as root at each boot.
BROUGHT = {"/etc/containers/systemd", "/etc/containers/systemd/users"}
LEAVINGS = ("/var/lib/apache2", "/var/lib/cni", "/var/lib/containers")


@pytest.fixture(scope="module")
def lab() -> Iterator[TestLab]:
    source = content.root() / "inventories" / "lab-portal"
    with made("t-portal", "--from", str(source)) as hosts:
        yield hosts


def cli(lab: TestLab, *args: str, codes: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """The document that a command prints."""
    done = lab.cli(*args, "--output", "json", timeout=600)
    assert done.returncode in codes, done.stdout + done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def changes(document: dict[str, Any], section: str) -> set[tuple[str, ...]]:
    """All that a plan or a result lists for the portal's host, but what a plan cannot try."""
    (host,) = (one for one in document[section]["hosts"] if one["host"] == PORTAL)
    return {
        (component["component"], *(change[key] for key in ("kind", "name", "action")))
        for component in host["components"]
        for change in component["changes"]
        if change["action"] != "not-validated"
    }


def left(before: Any, after: Any) -> list[str]:
    """Paths that differ, times and what tools write for accounts aside."""
    told = ({path: one[:5] for path, one in found.files.items()} for found in (before, after))
    return sorted(
        path for path in changed_keys(*told) - set(CONSEQUENCES) if not path.startswith(STORAGE)
    )


def power(lab: TestLab, verb: str) -> None:
    """Cut the host's power by ``kill``; ``start`` returns when it takes ssh."""
    subprocess.run([CLI, "lab", verb, "--name", lab.name, PORTAL], check=True)


@pytest.fixture(scope="module")
def story(lab: TestLab) -> dict[str, Any]:
    """Bare, planned, applied, applied again."""
    bare = lab.snapshot(PORTAL)
    cli(lab, "preflight")
    plan = cli(lab, "plan", codes=(2,))
    assert left(bare, lab.snapshot(PORTAL)) == [], "a plan changed something"
    return {
        "bare": bare,
        "plan": plan,
        "apply": cli(lab, "apply", "--yes", "--no-preflight"),
        "again": cli(lab, "apply", "--yes", "--no-preflight"),
    }


def answers(lab: TestLab) -> str:
    """The status with which the front answers the host itself."""
    asked = (
        "import http.client, ssl; c = http.client.HTTPSConnection("
        f"'{PORTAL}', timeout=20, context=ssl._create_unverified_context()); "
        "c.request('GET', '/pun/sys/dashboard/', headers={'Accept': 'text/html'}); "
        "print(c.getresponse().status)"
    )
    return lab.run(PORTAL, f'python3 -c "{asked}"').stdout.strip()


def test_an_apply_does_what_the_plan_said(lab: TestLab, story: dict[str, Any]) -> None:
    said, done = changes(story["plan"], "plan"), changes(story["apply"], "result")
    assert done - said == set()
    assert {name for _, _, name, _ in said - done} <= BROUGHT
    assert len(done) > 50
    assert answers(lab) == "302"


def test_a_second_apply_changes_nothing(story: dict[str, Any]) -> None:
    assert story["again"]["result"] is None and changes(story["again"], "plan") == set()


def test_all_is_well(lab: TestLab, story: dict[str, Any]) -> None:
    cli(lab, "status")


@pytest.fixture
def hosts(
    lab: TestLab, story: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ModuleType:
    """How the Molecule scenario goes about portals, for this module's lab."""
    (tmp_path / "site").symlink_to(lab.site)
    monkeypatch.setenv("MOLECULE_EPHEMERAL_DIRECTORY", str(tmp_path))
    monkeypatch.syspath_prepend(content.root() / "molecule" / "portal" / "tests")
    return importlib.import_module("hosts")


def comes_in(hosts: ModuleType, sub: str) -> bool:
    """Whether somebody who logs in now gets as far as the instrument."""
    try:
        return bool(hosts.works(hosts.come(sub)))
    except AssertionError:
        return False


def test_a_power_cut_ends_no_session(lab: TestLab, hosts: ModuleType) -> None:
    """Portal and gate are right again without a hand, within seconds of the boot.

    A person who was removed while the host was down is out as soon as it has asked the directory.
    """
    alice, bob = hosts.come("alice"), hosts.come("bob")
    assert hosts.works(alice) and bob.ask(hosts.HOME).status == 200
    power(lab, "kill")
    lab.run(DIRECTORY, "campus-people remove bob")
    try:
        power(lab, "start")
        hosts.until(BOOT, lambda: hosts.works(alice), "a session of before the power cut")
        hosts.until(BOOT, lambda: bob.ask(hosts.HOME).status == 404, "who was removed meanwhile")
        # Apache restarts to cut Bob off.
        hosts.until(BOOT, lambda: comes_in(hosts, "alice"), "a new session")
        assert bob.websocket(hosts.GATE)[0] == 403
        cli(lab, "status")
    finally:
        lab.run(DIRECTORY, "campus-people add bob")
    hosts.until(BOOT, lambda: bob.ask(hosts.HOME).status == 200, "who was added again")


def test_a_changed_secret_restarts_the_pod_and_is_told_nowhere(
    lab: TestLab, story: dict[str, Any]
) -> None:
    own = lab.site / "host_vars" / f"{PORTAL}.yml"
    canary = "CaNaRy-of-the-provider"
    secret = lab.site / ".lab" / "passwords" / "canary"
    secret.write_text(canary)
    secret.chmod(0o600)
    looked_up = "{{ lookup('ansible.builtin.file', inventory_dir ~ '/.lab/passwords/canary') }}"
    set_values(own, ondemand_portal_oidc_client_secret=looked_up)
    done = lab.cli("apply", "--yes", "--no-preflight", "--diff", timeout=600)
    own.unlink()
    assert done.returncode == 0 and canary not in done.stdout + done.stderr, done.stderr
    assert "portal-config" in done.stdout and "portal.service" in done.stdout
    inside = "podman exec portal grep -c CaNaRy /etc/apache2/sites-available/ood-portal.conf"
    home = "cd /; HOME=/var/lib/oodsvc XDG_RUNTIME_DIR=/run/user/$(id -u oodsvc)"
    become = f"{home} setpriv --reuid oodsvc --regid oodsvc --init-groups"
    assert lab.run(PORTAL, f"{become} {inside}").stdout.strip() != "0"


def test_a_rollback_brings_back_what_was(lab: TestLab, story: dict[str, Any]) -> None:
    cli(lab, "apply", "--yes", "--no-preflight")
    before = lab.snapshot(PORTAL)
    own = lab.site / "host_vars" / f"{PORTAL}.yml"
    set_values(own, ondemand_portal_title="Another portal", portal_front_hsts=60)
    cli(lab, "apply", "--yes", "--no-preflight")
    own.unlink()
    assert f"{SHOWN}/nginx_stage.yml" in left(before, lab.snapshot(PORTAL))
    cli(lab, "rollback", "--yes")
    assert left(before, lab.snapshot(PORTAL)) == []
    assert answers(lab) == "302"


def test_destroy_leaves_the_host_as_it_was(lab: TestLab, story: dict[str, Any]) -> None:
    # With what the timer wrote, which is data to the files' set.
    cli(lab, "destroy", "--confirm", lab.site.name, "--purge-data")
    after = lab.snapshot(PORTAL)
    assert [path for path in left(story["bare"], after) if not path.startswith(LEAVINGS)] == []
    assert after.accounts == story["bare"].accounts and after.packages == story["bare"].packages
