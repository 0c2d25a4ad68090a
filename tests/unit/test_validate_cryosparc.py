"""What ``validate`` knows of CryoSPARC: its place, its ports, its users and its archives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cloudlet_deploy import site
from cloudlet_deploy.site.faults import Fault, Severity
from cloudlet_deploy.site.validation import validate

HOST = "c.example.org"
BOTH = f"cloudlet: {{hosts: {{{HOST}: }}}}\ncryosparc: {{hosts: {{{HOST}: }}}}\n"
ANN = {"email": "ann@example.org", "username": "ann", "first_name": "Ann", "last_name": "A",
       "password": "{{ vault_ann }}"}  # fmt: skip
GOOD = {
    "cryosparc_version": "v5.0.1",
    "cryosparc_license": "{{ vault_license }}",
    "cryosparc_master_archive": "https://example.org/master-{version}/{license}",
    "cryosparc_master_checksum": "sha256:" + 64 * "0",
    "cryosparc_worker_archive": "/srv/cryosparc_worker.tar.gz",
    "cryosparc_worker_checksum": "sha256:" + 64 * "1",
    "cryosparc_users": [ANN],
}


def _faults(home: Path, hosts: str = BOTH, /, **changes: object) -> list[Fault]:
    (home / "group_vars").mkdir()
    (home / "hosts.yml").write_text(hosts)
    lines = [f"{name}: {json.dumps(value)}\n" for name, value in (GOOD | changes).items()]
    (home / "group_vars/all.yml").write_text("".join(lines))
    return validate(site.load(home))


def test_a_good_master(tmp_path: Path) -> None:
    assert _faults(tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "variable", "told"),
    [
        ({"cryosparc_version": ""}, "cryosparc_version", "is empty"),
        ({"cryosparc_license": ""}, "cryosparc_license", "is empty"),
        ({"cryosparc_master_archive": ""}, "cryosparc_master_archive", "is empty"),
        ({"cryosparc_worker_archive": ""}, "cryosparc_worker_archive", "is empty"),
        ({"cryosparc_master_checksum": "md5:1"}, "cryosparc_master_checksum", "sha256:"),
        ({"cryosparc_port": 65530}, "cryosparc_port", "65526"),
        ({"cryosparc_uid": 0}, "cryosparc_uid", "100"),
        (
            {"cryosparc_users": [ANN, {**ANN, "username": "other", "email": "Ann@example.org"}]},
            "cryosparc_users[1].email",
            "is Ann@example.org, as another",
        ),
        (
            {"cryosparc_users": [ANN, {**ANN, "email": "b@example.org"}]},
            "cryosparc_users[1].username",
            "is ann, as another",
        ),
        (
            {"cryosparc_database_directory": "/opt/cryosparc/database"},
            "cryosparc_database_directory",
            "is /opt/cryosparc/database",
        ),
    ],
)
def test_settings_that_cannot_work(
    tmp_path: Path, changes: dict[str, object], variable: str, told: str
) -> None:
    faults = _faults(tmp_path, **changes)
    assert [fault.variable for fault in faults] == [variable]
    assert told in f"{faults[0].message} {faults[0].next_step}"
    assert faults[0].severity is Severity.ERROR


def test_without_a_worker_it_needs_no_archive_of_one(tmp_path: Path) -> None:
    assert _faults(tmp_path, cryosparc_worker=False, cryosparc_worker_archive="") == []


def test_outside_of_the_cloudlet(tmp_path: Path) -> None:
    (fault,) = _faults(tmp_path, f"cryosparc: {{hosts: {{{HOST}: }}}}\n")
    assert "not in cloudlet" in fault.message


@pytest.mark.parametrize("port", [39000, 32760, 60995])
def test_ports_that_outgoing_connections_take(tmp_path: Path, port: int) -> None:
    (fault,) = _faults(tmp_path, cryosparc_port=port)
    assert fault.severity is Severity.WARNING
    assert "connections of this host" in fault.message


@pytest.mark.parametrize("port", [32758, 61000])
def test_ports_beside_those(tmp_path: Path, port: int) -> None:
    assert _faults(tmp_path, cryosparc_port=port) == []


@pytest.mark.parametrize(
    ("group", "base", "message"),
    [
        ("hdfs_namenode", 8011, "holds hdfs_namenode_port (8020) on the same host"),
        ("gridftp", 2802, "holds gridftp_port (2811) on the same host"),
        ("gridftp", 49991, "shares ports with gridftp_port_range (50000,51000)"),
    ],
)
def test_another_service_among_the_ten_ports(
    tmp_path: Path, group: str, base: int, message: str
) -> None:
    hosts = BOTH + f"{group}: {{hosts: {{{HOST}: }}}}\n"

    def errors(base: int) -> list[str]:
        site = tmp_path / str(base)
        site.mkdir()
        faults = _faults(site, hosts, cryosparc_port=base)
        return [one.message for one in faults if one.severity is Severity.ERROR]

    assert set(errors(base)) - set(errors(base - 1)) == {message}
