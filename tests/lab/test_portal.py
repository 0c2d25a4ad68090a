"""The life of a portal by the command line: plan, apply, secrets changed, rollback, destroy.

On Debian 12, whose Podman has no Quadlet: the pod is a plain unit. What people can and cannot do is
in the Molecule scenario ``cloudlet``, on Debian 13. The tests build on each other.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from cloudlet_deploy import content
from cloudlet_deploy.lab import portal
from tests.lab.behind_gate import seen_by
from tests.lab.conftest import CLI, TestLab, made, needs_devices, set_values
from tests.lab.snapshot import CONSEQUENCES, changed_keys

pytestmark = [pytest.mark.lab, needs_devices]
PORTAL, DIRECTORY, PROVIDER = "portal.lab.test", "ldap.lab.test", "idp.lab.test"
#: Seconds after the start of the host in which all is as it should be.
BOOT = 40
#: What the account's Podman and systemd keep is theirs.
STORAGE = "/var/lib/oodsvc"
SHOWN = "/var/lib/cloudlet-portal"
#: What Debian's packages bring, which no plan of a bare host can know, and what they leave.
#: A plan names nftables for each of the two roles that want it, and the first brings it.
BROUGHT = {"/etc/containers/systemd", "/etc/containers/systemd/users", "nftables"}
LEAVINGS = ("/var/lib/apache2", "/var/lib/cni", "/var/lib/containers")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestLab]:
    definition = tmp_path_factory.mktemp("portal") / "site"
    shutil.copytree(content.root() / "inventories" / "lab-portal", definition)
    hosts = definition / "hosts.yml"
    hosts.write_text(hosts.read_text().replace("portal13", "portal12"))
    with made("t-portal", "--from", str(definition)) as found:
        yield found


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
    # Carol's account is there and nobody has approved it.
    lab.run(PORTAL, "useradd --uid 123458 --gid science --create-home --password '*' "
                    "-K SUB_UID_COUNT=0 -K SUB_GID_COUNT=0 carol")  # fmt: skip
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
    monkeypatch.syspath_prepend(content.root() / "molecule" / "cloudlet" / "tests")
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
        # It asks the directory as well, and may do so just before a refresh.
        hosts.until(BOOT, lambda: lab.cli("status").returncode == 0, "a status without a fault")
    finally:
        lab.run(DIRECTORY, "campus-people add bob")
    hosts.until(BOOT, lambda: bob.ask(hosts.HOME).status == 200, "who was added again")


def test_an_approved_account_is_in_by_an_apply(lab: TestLab, hosts: ModuleType) -> None:
    """The pod starts again with the new id; sessions of others are in their browsers."""
    alice, carol = hosts.come("alice"), hosts.come("carol")
    assert hosts.works(alice) and carol.ask(hosts.HOME).status == 404
    set_values(
        lab.site / "group_vars" / "cloudlet.yml",
        podman_host_approved_users=["alice", "bob", "carol"],
    )
    said = changes(cli(lab, "plan", codes=(2,)), "plan")
    assert said == {
        ("podman_host", "subid", "/etc/subuid oodsvc:123456:2", "remove"),
        ("podman_host", "subid", "/etc/subuid oodsvc:123456:3", "create"),
        ("podman_host", "file", "/etc/cloudlet-deploy/podman_host/ids.json", "change"),
        ("podman_host", "podman", "oodsvc", "migrate"),
        ("ondemand_portal", "file", "/etc/cloudlet-deploy/ondemand_portal/people.json", "change"),
        ("ondemand_portal", "unit", "cloudlet-portal-people.timer", "restart"),
        ("pod", "file", "/etc/cloudlet-deploy/pods/portal.json", "change"),
        ("pod", "unit", "~oodsvc/portal.service", "restart"),
    }
    # With the look at the host beforehand, which knows the pod's port for its own.
    assert changes(cli(lab, "apply", "--yes"), "result") == said
    hosts.until(hosts.CUT, lambda: carol.ask(hosts.HOME).status == 200, "who was approved")
    hosts.until(hosts.CUT, lambda: hosts.works(alice), "a session of before")
    new = f"{hosts.HOME}files/fs/home/carol/new"
    assert carol.ask(new, method="PUT", body="mine").status == 201
    assert lab.run(PORTAL, "stat -c '%u %g %a' /home/carol/new").stdout == "123458 123400 600\n"
    assert carol.websocket(hosts.GATE)[0] == 403


def inside(lab: TestLab, command: str, **options: Any) -> str:
    """What a command in the pod prints, as its root."""
    home = "cd /; HOME=/var/lib/oodsvc XDG_RUNTIME_DIR=/run/user/$(id -u oodsvc)"
    become = f"{home} setpriv --reuid oodsvc --regid oodsvc --init-groups"
    done = lab.run(PORTAL, f"{become} podman exec -i portal {command}", **options)
    return done.stdout.strip()


#: Seconds in which a server is idle and ended.
IDLE = 60
#: As the timer would be if two hours were two seconds.
SHORT = "[Timer]\nOnBootSec=\nOnUnitActiveSec=\nOnActiveSec=1\nOnUnitActiveSec=2\n"


def test_the_timer_ends_idle_servers(lab: TestLab, hosts: ModuleType) -> None:
    """And none at which a request is open."""
    alice, bob = hosts.come("alice"), hosts.come("bob")
    directory = "/run/systemd/system/cloudlet-nginx-clean.timer.d"
    again = "systemctl daemon-reload; systemctl restart cloudlet-nginx-clean.timer"

    def serves(who: str) -> bool:
        return who in inside(lab, "ps -C nginx -o user:32=", check=False).split()

    def runs() -> str:
        return inside(lab, "systemctl show -P InvocationID cloudlet-nginx-clean.service")

    assert bob.ask(hosts.HOME).status == 200
    inside(lab, f"sh -c 'mkdir {directory}; cat >{directory}/short.conf; {again}'", stdin=SHORT)
    # The portal's Apache keeps its connections to a server for a while.
    hosts.until(IDLE, lambda: not serves("bob"), "an idle server")
    with alice.uploading(f"{hosts.HOME}files/fs/home/alice/sent") as upload:
        for _ in range(2):
            before = runs()
            hosts.until(hosts.CUT, lambda before=before: runs() != before, "a run of the timer")
        assert serves("alice")
    assert upload.getresponse().status in (201, 204)
    hosts.until(IDLE, lambda: not serves("alice"), "one that has become idle")
    inside(lab, f"sh -c 'rm -r {directory}; {again}'")
    assert alice.ask(hosts.HOME).status == bob.ask(hosts.HOME).status == 200
    assert serves("alice") and serves("bob")


def package(directory: Path, version: str) -> Path:
    """The stand-in of Open OnDemand as a package of its own, of another version."""
    root = directory / "root"
    for put in portal.files():
        path = root / put.path.lstrip("/")
        (path if put.content is None else path.parent).mkdir(parents=True, exist_ok=True)
        if put.content is not None:
            path.write_bytes(put.content)
            path.chmod(put.mode)
    (root / "opt/ood/VERSION").write_text(f"{version}\n")
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN/control").write_text(
        f"Package: ondemand\nVersion: {version}\nArchitecture: all\nMaintainer: lab\n"
        "Description: stand-in of Open OnDemand\n"
    )
    made = directory / "ondemand.deb"
    command = ["dpkg-deb", "--root-owner-group", "--build", str(root), str(made)]
    subprocess.run(command, check=True, capture_output=True)
    return made


@pytest.mark.soak
def test_an_image_is_built_on_the_host(lab: TestLab, hosts: ModuleType, tmp_path: Path) -> None:
    """Of a base without a registry, by the account, once for the same; and the portal runs it."""
    alice = hosts.come("alice")
    deb, name = package(tmp_path, "9.9.9"), "localhost/ondemand:9.9.9"
    build = {
        "base": portal.NAME,
        "base_archive": portal.ARCHIVE,
        "files": [{"source": str(deb), "sha256": hashlib.sha256(deb.read_bytes()).hexdigest()}],
        "commands": ["echo built here >/etc/ood/built"],
    }
    site = lab.site / "group_vars" / "portal.yml"
    before = site.read_text()
    known = yaml.safe_load(before)
    del known["ondemand_portal_archive"]
    known |= {"ondemand_portal_image": name, "ondemand_portal_build": build}
    site.write_text(yaml.safe_dump(known))
    said = changes(cli(lab, "plan", codes=(2,)), "plan")
    assert ("ondemand_portal", "image", name, "build") in said
    assert ("pod", "unit", "~oodsvc/portal.service", "restart") in said
    assert changes(cli(lab, "apply", "--yes", "--no-preflight"), "result") == said
    assert inside(lab, "cat /opt/ood/VERSION /etc/ood/built") == "9.9.9\nbuilt here"
    hosts.until(BOOT, lambda: hosts.works(alice), "a session of before, in the new image")
    assert changes(cli(lab, "plan"), "plan") == set()
    # The same name with other inputs is another image, which a plan knows beforehand.
    build["commands"] = ["echo built again >/etc/ood/built"]
    set_values(site, ondemand_portal_build=build)
    assert {change[1:3] for change in changes(cli(lab, "plan", codes=(2,)), "plan")} == {
        ("image", name),
        ("file", "/etc/systemd/user/portal.service"),
        ("unit", "~oodsvc/portal.service"),
    }
    site.write_text(before)


def address(lab: TestLab, host: str) -> str:
    return lab.run(host, "hostname -I").stdout.split()[0]


def reached(lab: TestLab, source: str) -> set[int]:
    """Ports of the portal's host to which another host can connect."""
    there = address(lab, PORTAL)
    tried = f"for port in 80 443 8443; do (: </dev/tcp/{there}/$port) && echo $port; done; true"
    done = lab.run(source, f"bash -c '{tried}' 2>/dev/null")
    return {int(line) for line in done.stdout.split()}


def test_a_program_behind_the_gate_is_reached_by_its_group(lab: TestLab, hosts: ModuleType) -> None:
    assert seen_by(lab, "alice", "bob") == [(200, True), (403, False)]


@contextlib.contextmanager
def stranger(lab: TestLab, port: int) -> Iterator[None]:
    """Something that listens on the portal's host for others too."""
    listens = f"python3 -m http.server --bind {address(lab, PORTAL)} {port}"
    lab.run(PORTAL, f"systemd-run --unit=stranger --quiet {listens}")
    try:
        there = f"for try in $(seq 50); do (: </dev/tcp/{address(lab, PORTAL)}/{port}) && exit; "
        lab.run(PORTAL, f"bash -c '{there} sleep 0.1; done; exit 1' 2>/dev/null")
        yield
    finally:
        lab.run(PORTAL, "systemctl stop stranger")


def test_the_front_is_for_visitors_and_the_pods_port_for_the_host_alone(lab: TestLab) -> None:
    """By the firewall too, should something listen where Podman's loopback is not meant."""
    with stranger(lab, 8443):
        assert reached(lab, DIRECTORY) == {80, 443}
    site = lab.site / "group_vars" / "portal.yml"
    before = site.read_text()
    set_values(site, firewall_portal_networks=[address(lab, PROVIDER)])
    done = cli(lab, "apply", "--yes", "--no-preflight", "--component", "firewall")
    site.write_text(before)  # the next apply opens it again
    assert {change[2] for change in changes(done, "result")} == {
        "/etc/cloudlet-deploy/firewall.nft",
        "cloudlet-firewall.service",
    }
    assert reached(lab, DIRECTORY) == set() and reached(lab, PROVIDER) == {80, 443}
    assert answers(lab) == "302"


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
    assert canary in inside(lab, "cat /etc/apache2/sites-available/ood-portal.conf")


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
    # With what the timer wrote, which is data to the files' set; what people wrote is theirs.
    lab.run(PORTAL, "rm /home/alice/sent /home/carol/new")
    cli(lab, "destroy", "--confirm", lab.site.name, "--purge-data")
    after = lab.snapshot(PORTAL)
    assert [path for path in left(story["bare"], after) if not path.startswith(LEAVINGS)] == []
    assert after.accounts == story["bare"].accounts and after.packages == story["bare"].packages


@pytest.mark.soak
def test_where_firewalld_runs_the_front_is_open(lab: TestLab, hosts: ModuleType) -> None:
    """And people are let in, also after its reload and a power cut. On the bare host again."""
    # A minimal host lacks this file, without which Debian's firewalld does not start.
    lab.run(PORTAL, "cat >/etc/protocols", stdin=Path("/etc/protocols").read_text())
    lab.run(PORTAL, "apt-get install -y --no-download firewalld && sleep 2")
    with stranger(lab, 443):
        assert reached(lab, DIRECTORY) == set(), "firewalld does not filter"
    cli(lab, "apply", "--yes")
    lab.run(PORTAL, "firewall-cmd --reload")
    assert reached(lab, DIRECTORY) == {80, 443}
    assert comes_in(hosts, "alice") and not comes_in(hosts, "bob")
    power(lab, "kill")
    power(lab, "start")
    hosts.until(BOOT, lambda: comes_in(hosts, "alice"), "a login after the boot")
    assert reached(lab, DIRECTORY) == {80, 443}
    cli(lab, "status")
