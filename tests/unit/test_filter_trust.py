"""Trust settings as files and accounts."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.cloudlet.deploy.plugins.filter.trust import (
    ca_files,
    gridmap,
    mapped_accounts,
    voms_directories,
    voms_files,
)


def test_ca_files_are_those_with_hash_names(tmp_path: Path) -> None:
    wanted = ["0a1b2c3d.0", "0a1b2c3d.r0", "0a1b2c3d.signing_policy"]
    for name in [*wanted, "README", "0a1b2c3d.bak", "ca.pem"]:
        (tmp_path / name).write_text("x")
    files = ca_files(str(tmp_path), "/etc/ca", ["x.service"])
    assert [file["path"] for file in files] == [f"/etc/ca/{name}" for name in wanted]
    assert files[0]["src"] == str(tmp_path / wanted[0])
    assert all(file["restart"] == ["x.service"] and file["mode"] == "0644" for file in files)
    assert ca_files("", "/etc/ca") == []


def test_a_ca_directory_that_cannot_work_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AnsibleFilterError, match="no CA certificate named HASH"):
        ca_files(str(tmp_path), "/etc/ca")
    (tmp_path / "0a1b2c3d.0").write_text("x")
    with pytest.raises(AnsibleFilterError, match=r"no 0a1b2c3d\.signing_policy"):
        ca_files(str(tmp_path), "/etc/ca")
    with pytest.raises(AnsibleFilterError, match="cannot be read"):
        ca_files(str(tmp_path / "missing"), "/etc/ca")


def test_voms_servers() -> None:
    server = {"vo": "cms", "host": "v1.example.org", "dn": "/CN=v1", "ca_dn": "/CN=ca"}
    other = dict(server, host="v2.example.org")
    files = voms_files([server, other], "/etc/vomsdir")
    assert [file["path"] for file in files] == [
        "/etc/vomsdir/cms/v1.example.org.lsc",
        "/etc/vomsdir/cms/v2.example.org.lsc",
    ]
    assert files[0]["content"] == "/CN=v1\n/CN=ca\n"
    assert [d["path"] for d in voms_directories([server, other], "/etc/vomsdir")] == [
        "/etc/vomsdir/cms"
    ]


def test_gridmap_lines() -> None:
    alice = {"dn": "/O=Grid/CN=Alice B", "account": "grid"}
    bob = {"dn": "/O=Grid/CN=Bob", "account": "grid"}
    assert gridmap([alice, bob, alice]) == '"/O=Grid/CN=Alice B" grid\n"/O=Grid/CN=Bob" grid\n'
    assert gridmap([]) == ""
    with pytest.raises(AnsibleFilterError, match="mapped to grid and to root"):
        gridmap([alice, dict(alice, account="root")])


@pytest.mark.parametrize("dn", ["CN=Alice,O=Grid", '/CN=A" root #', "/CN=A\n"])
def test_a_name_that_would_break_the_gridmap_is_refused(dn: str) -> None:
    with pytest.raises(AnsibleFilterError, match="slash form"):
        gridmap([{"dn": dn, "account": "grid"}])


def test_accounts_get_their_own_group_and_no_shell() -> None:
    made = mapped_accounts(
        [{"name": "grid", "uid": 5001}, {"name": "cms", "uid": 5002, "group": "vo", "gid": 6000}],
        "cloudlet-health",
        "/usr/sbin/nologin",
    )
    assert made["groups"] == [
        {"name": "grid", "gid": 5001, "system": False},
        {"name": "vo", "gid": 6000, "system": False},
        {"name": "cloudlet-health", "gid": None, "system": True},
    ]
    grid, cms, health = made["accounts"]
    assert (grid["uid"], grid["group"], grid["home"]) == (5001, "grid", "/home/grid")
    assert cms["group"] == "vo"
    assert health["system"] and health["uid"] is None
    assert {account["shell"] for account in made["accounts"]} == {"/usr/sbin/nologin"}
    assert mapped_accounts([], "", "/x") == {"groups": [], "accounts": []}
