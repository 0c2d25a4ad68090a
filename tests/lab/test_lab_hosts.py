"""The lab itself: real hosts over real ssh, killed, started, made anew and removed."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudlet_deploy import lab as labs
from cloudlet_deploy.errors import UsageError
from cloudlet_deploy.lab import podman
from cloudlet_deploy.lab.model import LABEL_LAB
from cloudlet_deploy.lab.site import LabSite

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(
        os.geteuid() != 0 or shutil.which("podman") is None, reason="needs root and Podman"
    ),
]
NAME = "t-lab-hosts"
DOOR, TRANSFER, CLIENT = "door.lab.test", "data1.lab.test", "client.lab.test"
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[labs.Lab]:
    site = tmp_path_factory.mktemp("lab") / "a site"
    try:
        yield labs.up(name=NAME, directory=site)
    finally:
        labs.down(NAME)


def on(lab: labs.Lab, host: str, command: str) -> subprocess.CompletedProcess[str]:
    """Run a shell command as root, by the admin's ssh and sudo."""
    argv = LabSite(lab.site).keys.command(
        host, lab.host(host).address, f"sudo -n sh -c {shlex.quote(command)}"
    )
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)


def said(lab: labs.Lab, host: str, command: str) -> str:
    done = on(lab, host, command)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_ansible_reaches_every_host_and_becomes_root(lab: labs.Lab) -> None:
    done = subprocess.run(
        [BIN / "ansible", "-i", lab.site, "all", "-b", "-m", "command", "-a", "id -un"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split().count("root") == 3
    assert "WARNING" not in done.stderr


def test_hosts_keep_what_modules_were_compiled_to(lab: labs.Lab) -> None:
    """For the next task: see cloudlet_deploy/lab/zip_cache.py."""
    ask = [BIN / "ansible", "-i", lab.site, DOOR, "-b", "-m", "command", "-a", "true"]
    kept = []
    for _ in range(2):
        subprocess.run(ask, capture_output=True, timeout=120, check=True)
        kept.append(said(lab, DOOR, "ls /var/cache/lab-zip-cache/*"))
    assert len(kept[0].split()) > 20
    assert kept[1] == kept[0]


def test_hosts_are_bare_booted_and_know_each_other(lab: labs.Lab) -> None:
    assert {host.state for host in lab.hosts} == {"running"}
    for host in (DOOR, TRANSFER, CLIENT):
        assert said(lab, host, "systemctl is-system-running") == "running"
        assert said(lab, host, "hostname -f") == host
        for other in (DOOR, TRANSFER, CLIENT):
            address = said(lab, host, f"getent ahostsv4 {other} | head -n 1").split()[0]
            assert address == lab.host(other).address
    for host in (DOOR, TRANSFER):
        absent = said(lab, host, "ls -d /etc/grid-security /usr/bin/java 2>/dev/null || true")
        assert absent == ""


def test_only_the_pinned_key_is_believed(lab: labs.Lab) -> None:
    keys = LabSite(lab.site).keys
    argv = keys.command(TRANSFER, lab.host(DOOR).address, "true")  # a stranger under that name
    refused = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert refused.returncode == 255
    assert "Host key verification failed" in refused.stderr


def test_packages_of_the_roles_install_without_network(lab: labs.Lab) -> None:
    install = "apt-get install --yes --no-download acl globus-gridftp-server-progs"
    labs.reset(NAME, TRANSFER)
    said(lab, TRANSFER, f"DEBIAN_FRONTEND=noninteractive {install}")
    said(lab, TRANSFER, "test -x /usr/sbin/globus-gridftp-server")
    labs.reset(NAME, TRANSFER)


def test_people_have_certificates_on_the_client_alone(lab: labs.Lab) -> None:
    subject = said(lab, CLIENT, "su - alice -c 'grid-proxy-init -rfc -q && grid-proxy-info'")
    assert "/O=Grid/OU=lab/CN=Alice Lab" in subject
    verified = "openssl verify -crl_check -CApath /etc/grid-security/certificates"
    assert said(lab, CLIENT, f"{verified} /home/mallory/.globus/usercert.pem").endswith("OK")
    assert said(lab, CLIENT, "stat -c '%U %a' /home/alice/.globus/userkey.pem") == "alice 400"
    assert on(lab, DOOR, "test -e /home/alice").returncode == 1


def test_shared_directory_is_one(lab: labs.Lab) -> None:
    said(lab, DOOR, "echo hello >/srv/storage/shared")
    assert said(lab, TRANSFER, "cat /srv/storage/shared") == "hello"
    assert on(lab, CLIENT, "test -e /srv/storage").returncode == 1


def test_up_again_changes_nothing(lab: labs.Lab) -> None:
    def all_files() -> dict[str, tuple[int, bytes]]:
        return {
            str(path): (path.stat().st_mtime_ns, path.read_bytes())
            for path in lab.site.rglob("*")
            if path.is_file()
        }

    booted = [said(lab, host.name, "cat /proc/1/stat").split()[21] for host in lab.hosts]
    before = all_files()
    again = labs.up(name=NAME)
    assert again.made == ()
    assert again.hosts == labs.status(NAME).hosts
    assert all_files() == before
    now = [said(lab, host.name, "cat /proc/1/stat").split()[21] for host in lab.hosts]
    assert now == booted


def test_power_cut_and_back(lab: labs.Lab) -> None:
    said(lab, DOOR, "echo kept >/root/kept; echo gone >/run/gone")
    labs.kill(NAME, DOOR)
    assert labs.status(NAME).host(DOOR).state == "stopped"
    assert on(lab, DOOR, "true").returncode == 255
    back = labs.start(NAME, DOOR)
    assert (back.state, back.address) == ("running", lab.host(DOOR).address)
    assert said(lab, DOOR, "cat /root/kept") == "kept"
    assert on(lab, DOOR, "test -e /run/gone").returncode == 1


def test_up_starts_what_was_killed(lab: labs.Lab) -> None:
    labs.kill(NAME, TRANSFER)
    assert labs.up(name=NAME).made == ()
    assert said(lab, TRANSFER, "true") == ""


def test_reset_makes_a_bare_host_of_the_same_name(lab: labs.Lab) -> None:
    said(lab, DOOR, "touch /root/mine; echo kept >/srv/storage/kept")
    labs.reset(NAME, DOOR)
    assert said(lab, DOOR, "ls /root") == ""
    assert said(lab, DOOR, "cat /srv/storage/kept") == "kept"


def test_clashes_are_refused(lab: labs.Lab, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"There is a lab {NAME} already"):
        labs.up(name=NAME, directory=tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=f"site of the lab {NAME}"):
        labs.up(name="t-lab-other", directory=lab.site)
    with pytest.raises(UsageError, match="has no host nobody"):
        labs.kill(NAME, "nobody")
    assert not labs.down("t-lab-other").anything


def test_another_lab_beside_it_comes_and_goes(lab: labs.Lab, tmp_path: Path) -> None:
    site = tmp_path / "hosts-of-a-site"
    site.mkdir()
    (site / "hosts.ini").write_text("[bestman]\nsrm.example.org\n")
    try:
        other = labs.up(site, name="t-lab-beside", directory=tmp_path / "site")
        assert other.hosts[0].address.rsplit(".", 1)[0] != (lab.hosts[0].address.rsplit(".", 1)[0])
        assert said(other, "srm.example.org", "hostname -f") == "srm.example.org"
    finally:
        removed = labs.down("t-lab-beside")
    assert len(removed.hosts) == 1
    assert not (tmp_path / "site").exists()
    assert said(lab, DOOR, "true") == ""


@pytest.mark.parametrize("seconds", [1.0, 1.8, 2.4, 3.2])
def test_a_killed_up_is_finished_or_removed(seconds: float, tmp_path: Path) -> None:
    name, site = "t-lab-killed", tmp_path / "site"
    argv = [BIN / "cloudlet-deploy", "lab", "up", "--name", name, "--dir", site]
    try:
        process = subprocess.Popen(argv, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
        done = labs.up(name=name, directory=site)
        assert {host.state for host in done.hosts} == {"running"}
        assert said(done, DOOR, "hostname -f") == DOOR
    finally:
        labs.down(name)
    assert leftovers(name) == []
    assert not site.exists()


def leftovers(name: str) -> list[str]:
    label = f"--filter=label={LABEL_LAB}={name}"
    kinds = (("ps", "--all"), ("volume", "ls"), ("network", "ls"))
    with podman.connected(starts_hosts=False) as found:
        return [
            json.dumps(item) for kind in kinds for item in found.json(*kind, "--format=json", label)
        ]


def test_the_machines_own_cgroups_are_untouched(lab: labs.Lab) -> None:
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    at_root = [line for line in mounts if line.split()[4] == "/sys/fs/cgroup"]
    assert len(at_root) == 1
    if not podman.machine_has_cgroup2():
        assert " - tmpfs " in at_root[0]


def test_a_host_that_was_made_but_not_filled_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, real = "t-lab-half", podman.Podman.run

    def interrupted(self: podman.Podman, *arguments: str, **options: Any) -> Any:
        if arguments[0] == "cp":
            raise KeyboardInterrupt
        return real(self, *arguments, **options)

    try:
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(podman.Podman, "run", interrupted)
            labs.up(name=name, directory=tmp_path / "site", hosts="gridftp")
        assert [host.state for host in labs.status(name).hosts] == ["stopped"]
        done = labs.up(name=name, directory=tmp_path / "site", hosts="gridftp")
        assert said(done, TRANSFER, "hostname -f") == TRANSFER
    finally:
        labs.down(name)
    assert leftovers(name) == []
