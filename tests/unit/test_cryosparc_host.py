"""What CryoSPARC wants of its host: refused before anything is changed, with what to do."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import cryosparc_host as host
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_facts import Listener
from ansible_collections.cloudlet.deploy.plugins.module_utils.idmaps import Refused

LICENSE = "c0ffee00-1ab0-4e57-8a11-2bad5eed0001"
MOUNTS = """\
21 1 8:1 / / rw - ext4 /dev/sda1 rw
22 21 0:40 / /projects rw - fuse.sshfs login:/projects rw
23 21 0:41 / /camera ro - cifs //camera/movies ro
24 21 0:42 / /home rw - nfs4 server:/home rw
25 21 8:2 / /ssd rw - xfs /dev/sdb1 rw
26 25 0:43 / /ssd/remote rw - lustre mgs:/scratch rw
"""


@pytest.fixture
def mounts(tmp_path: Path) -> str:
    path = tmp_path / "mountinfo"
    path.write_text(MOUNTS)
    return str(path)


@pytest.mark.parametrize("path", ["/var/lib/database", "/ssd/database", "/ssd/a/b", "/homes/db"])
def test_a_database_on_a_local_disk(mounts: str, path: str) -> None:
    host.check_database(path, mounts)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/projects/db", "fuse.sshfs"),
        ("/camera/db", "cifs"),
        ("/home/cryosparc/db", "nfs4"),
        ("/ssd/remote/db", "lustre"),
    ],
)
def test_a_database_elsewhere(mounts: str, path: str, kind: str) -> None:
    with pytest.raises(Refused, match=kind) as refused:
        host.check_database(path, mounts)
    assert "local disk" in refused.value.next_step


def test_a_database_that_could_not_be_moved_aside(mounts: str) -> None:
    with pytest.raises(Refused, match="mount point itself") as refused:
        host.check_database("/ssd", mounts)
    assert "/ssd/database" in refused.value.next_step


def test_the_longest_path() -> None:
    host.check_path("/" + "x" * 82)
    with pytest.raises(Refused, match="84 characters"):
        host.check_path("/" + "x" * 83)


@pytest.mark.parametrize("version", ["", "5", "latest", "v5.0.1/..", "v5.0.x"])
def test_what_is_no_version(version: str) -> None:
    with pytest.raises(Refused, match="cryosparc_version"):
        host.check_words(LICENSE, version)


@pytest.mark.parametrize("license_id", ["", "secret-thing", LICENSE + "0", LICENSE + "\n"])
def test_what_is_no_license_is_refused_and_not_told(license_id: str) -> None:
    with pytest.raises(Refused, match="cryosparc_license") as refused:
        host.check_words(license_id, "v5.0.1")
    if license_id:
        assert license_id.strip() not in str(refused.value) + refused.value.next_step


def test_what_can_be() -> None:
    host.check_words(LICENSE, "v5.0.1")
    host.check_words(LICENSE.upper(), "4.7.1")


def _facts(*addresses: str) -> SimpleNamespace:
    return SimpleNamespace(
        addresses_of=lambda name: list(addresses),
        is_loopback=lambda address: address.startswith("127."),
        is_own=lambda address: address in ("192.0.2.1", "2001:db8::1"),
    )


@pytest.mark.parametrize(
    ("addresses", "told"),
    [
        ((), "has no address"),
        (("127.0.1.1",), "nobody else reaches"),
        (("192.0.2.1", "127.0.1.1"), "nobody else reaches"),
        (("192.0.2.9",), "no address of this host"),
        (("192.0.2.1", "2001:db8::1"), ""),
    ],
)
def test_the_host_name(addresses: tuple[str, ...], told: str) -> None:
    if not told:
        host.check_hostname("c.example.org", _facts(*addresses))
        return
    with pytest.raises(Refused, match=told) as refused:
        host.check_hostname("c.example.org", _facts(*addresses))
    assert "getent ahosts c.example.org" in refused.value.next_step


def test_ports_of_others_within_the_ten() -> None:
    ours = Listener(61004, 7, "python3", host.UNIT)
    other = Listener(61009, 8, "squatter", "squatter.service")
    host.check_ports(61000, {61004: ours, 61010: other, 60999: other})
    with pytest.raises(Refused, match=r"port 61009 is taken by squatter"):
        host.check_ports(61000, {61004: ours, 61009: other})


def test_versions_by_number() -> None:
    assert host.number("v5.0.10") > host.number("5.0.9") > host.number("v4.7.1")


def test_processes_of_a_version(tmp_path: Path) -> None:
    for pid, words in {"1": b"/sbin/init\0", "12": b"python3\0/opt/c/v1/x\0", "x": b""}.items():
        (tmp_path / pid).mkdir()
        (tmp_path / pid / "cmdline").write_bytes(words)
        (tmp_path / pid / "environ").write_bytes(b"")
    (tmp_path / "13").mkdir()
    (tmp_path / "13/cmdline").write_bytes(b"mongod\0")
    (tmp_path / "13/environ").write_bytes(b"A=b\0CRYOSPARC_ROOT_DIR=/opt/c/v1/cryosparc_master\0")
    assert host.processes_below("/opt/c/v1", str(tmp_path)) == {12: "python3", 13: "mongod"}
    assert host.processes_below("/opt/c/v", str(tmp_path)) == {}
