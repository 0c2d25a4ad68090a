"""A project space on the cloudlet's host, its server's outage, and the camera through the hop."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import testinfra
from testinfra.host import Host

SITE = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "site"
PROJECTS, SPACE = "/srv/cloudlet/projects", "/home/project"
#: As the inventory has it mounted, and the account's own number on the cluster.
DECLARED, ON_CLUSTER = (234567, 234500), (123456, 123400)
CHECK = "/usr/local/sbin/cloudlet-data-mounts check"
#: Seconds that the cluster takes no ssh.
OUTAGE = 10


def _host(name: str) -> Host:
    return testinfra.get_host(f"ansible://{name}?ansible_inventory={SITE}", sudo=True)


@pytest.fixture(scope="module")
def cloudlet() -> Host:
    return _host("cloudlet.lab.test")


@pytest.fixture(scope="module")
def cluster() -> Host:
    return _host("cluster.lab.test")


@pytest.fixture(scope="module")
def client() -> Host:
    return _host("client.lab.test")


def as_user(host: Host, command: str, uid: int = DECLARED[0], gid: int = DECLARED[1]) -> str:
    """Words of a shell command that some user of the mount runs; errors, too."""
    become = f"setpriv --reuid {uid} --regid {gid} --clear-groups"
    done = host.run(f"timeout -k 1 15 {become} sh -c {command!r}")
    return str(done.stdout + done.stderr)


def smb(host: Host, command: str, *, password: str = "lab-hop", protocol: str = "SMB3_11") -> str:
    """What smbclient says to a command on the hop's share."""
    least = f"--option='client min protocol={protocol}' --max-protocol={protocol}"
    share = f"//hop.lab.test/movies -U cameras%{password}"
    done = host.run(f"cd /tmp && timeout 20 smbclient {share} {least} -c '{command}'")
    return str(done.stdout + done.stderr)


def until(seconds: float, what: Callable[[], bool]) -> None:
    """``what`` becomes true within the time."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_what_a_user_writes_is_the_accounts_there_and_the_declared_ones_here(
    cloudlet: Host, cluster: Host
) -> None:
    assert as_user(cloudlet, f"echo result >{PROJECTS}/result") == ""
    here, there = cloudlet.file(f"{PROJECTS}/result"), cluster.file(f"{SPACE}/result")
    assert (here.uid, here.gid) == DECLARED
    assert (there.uid, there.gid, there.content_string) == (*ON_CLUSTER, "result\n")


def test_other_users_see_nothing_of_it(cloudlet: Host) -> None:
    assert "Permission denied" in as_user(cloudlet, f"ls {PROJECTS}", 123457, 123400)


def test_it_comes_back_after_an_outage_and_leaves_nobody_stuck(
    cloudlet: Host, cluster: Host
) -> None:
    assert cloudlet.run(f"{CHECK} 0").rc == 0
    # The cluster starts its own sshd again, since nobody gets in meanwhile.
    cut = f"sleep 1; systemctl stop ssh; pkill -u project sshd; sleep {OUTAGE}; systemctl start ssh"
    cluster.run_expect([0], f"systemd-run --quiet sh -c '{cut}'")
    until(10, lambda: "cluster.lab.test" in cloudlet.run(f"{CHECK} 0").stdout)
    # Without a limit of its own, as programs of users are.
    cloudlet.run_expect([0], f"systemd-run --quiet --collect --unit=reader ls {PROJECTS}")
    until(OUTAGE + 50, lambda: cloudlet.run(f"{CHECK} 0").rc == 0)
    assert as_user(cloudlet, f"echo later >{PROJECTS}/later && cat {PROJECTS}/later") == "later\n"
    assert cluster.file(f"{SPACE}/later").uid == ON_CLUSTER[0]
    until(15, lambda: not cloudlet.service("reader").is_running)
    # Any process waits for a disk now and then; one that is stuck does not end to.
    until(15, lambda: cloudlet.check_output("ps -eo stat=,args= | awk '/^D/'") == "")
    assert cloudlet.check_output(f"grep -c ' {PROJECTS} ' /proc/mounts") == "1"


def test_the_hops_client_reads_what_the_camera_filmed(client: Host) -> None:
    assert "a movie" in smb(client, "get movie-1.mrc -")
    _host("camera.lab.test").run_expect([0], "echo another >/srv/camera/movie-2.mrc")
    until(30, lambda: "another" in smb(client, "get movie-2.mrc -"))


def test_nobody_writes_through_the_hop(client: Host) -> None:
    client.run_expect([0], "echo mine >/tmp/mine")
    assert "NT_STATUS_ACCESS_DENIED" in smb(client, "put mine mine")
    assert "NT_STATUS_ACCESS_DENIED" in smb(client, "del movie-1.mrc")
    assert not _host("camera.lab.test").file("/srv/camera/mine").exists


def test_the_hop_lets_in_nobody_else(client: Host, cluster: Host) -> None:
    assert "NT_STATUS_LOGON_FAILURE" in smb(client, "ls", password="wrong")
    assert "movie-1.mrc" in smb(client, "ls")
    assert "movie-1.mrc" not in smb(client, "ls", protocol="SMB2_10")
    assert "movie-1.mrc" not in smb(cluster, "ls")


def test_passwords_and_keys_are_roots(cloudlet: Host) -> None:
    for host, path in (
        (cloudlet, "/etc/cloudlet-deploy/data_mounts/projects.key"),
        (_host("hop.lab.test"), "/etc/samba/cloudlet.smbpasswd"),
    ):
        assert (host.file(path).user, host.file(path).mode) == ("root", 0o600), path
