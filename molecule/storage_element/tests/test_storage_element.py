"""What the whole storage element shows to real clients and to its admins."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import testinfra
from testinfra.host import Host

SITE = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "site"
NAME, DATA1, DATA2 = "nn.lab.test", "data1.lab.test", "data2.lab.test"
DOOR, CLIENT = "door.lab.test", "client.lab.test"
MOUNT = "/mnt/hadoop"


def on(name: str) -> Host:
    return testinfra.get_host(f"ansible://{name}?ansible_inventory={SITE}", sudo=True)


@pytest.mark.parametrize(
    ("name", "unit"),
    [
        (NAME, "hdfs-namenode"),
        (DATA1, "hdfs-datanode"),
        (DATA2, "hdfs-datanode"),
        (DATA1, "globus-gridftp-server"),
        (DATA2, "globus-gridftp-server"),
        (DOOR, "bestman2"),
    ],
)
def test_service_runs_and_is_enabled(name: str, unit: str) -> None:
    service = on(name).service(unit)
    assert service.is_running
    assert service.is_enabled


@pytest.mark.parametrize("name", [DATA1, DATA2, DOOR])
def test_hdfs_is_mounted(name: str) -> None:
    assert on(name).mount_point(MOUNT).filesystem.startswith("fuse")


@pytest.mark.parametrize("server", [DATA1, DATA2])
def test_what_either_transfer_server_took_is_listed_by_the_door(server: str) -> None:
    client, name = on(CLIENT), f"{MOUNT}/lab/{server}"
    # Globus takes a certificate only from its owner.
    put = client.run(
        "su - alice -c %s", f"globus-url-copy file:///etc/passwd gsiftp://{server}{name}"
    )
    assert put.rc == 0, put.stderr
    surl = f"srm://{DOOR}:8443/srm/v2/server?SFN={name}"
    listing = client.run("su - alice -c %s", f"gfal-ls -l '{surl}'")
    assert listing.rc == 0, listing.stderr
    assert str(client.file("/etc/passwd").size) in listing.stdout.split()
    content = client.file("/etc/passwd").sha256sum
    assert on(DOOR).file(name).sha256sum == content


@pytest.mark.parametrize(
    ("host", "port"), [(NAME, 8020), (NAME, 9870), (DATA1, 9866), (DATA1, 9864)]
)
def test_hdfs_is_closed_to_strangers(host: str, port: int) -> None:
    knock = on(CLIENT).run("bash -c ': </dev/tcp/%s/%s'", host, str(port))
    assert "Connection refused" in knock.stderr
