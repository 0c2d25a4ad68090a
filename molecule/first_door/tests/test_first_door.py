"""What the converged hosts show to real clients and to their admins."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import testinfra
from testinfra.host import Host

SITE = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "site"
DOOR, TRANSFER, CLIENT = "door.lab.test", "data1.lab.test", "client.lab.test"
SURL = f"srm://{DOOR}:8443/srm/v2/server?SFN=/srv/storage/lab"


def on(name: str) -> Host:
    return testinfra.get_host(f"ansible://{name}?ansible_inventory={SITE}", sudo=True)


@pytest.mark.parametrize(
    ("name", "unit", "port"),
    [(DOOR, "bestman2", 8443), (TRANSFER, "globus-gridftp-server", 2811)],
)
def test_service_runs_is_enabled_and_listens(name: str, unit: str, port: int) -> None:
    host = on(name)
    service = host.service(unit)
    assert service.is_running
    assert service.is_enabled
    # GridFTP listens on its own address only, for which testinfra's socket has no pattern.
    assert host.run(f"ss -Hltn 'sport = :{port}'").stdout.startswith("LISTEN")


@pytest.mark.parametrize("name", [DOOR, TRANSFER])
def test_keys_are_private(name: str) -> None:
    key = on(name).file("/etc/grid-security/hostkey.pem")
    assert (key.user, key.mode) == ("root", 0o400)


def test_door_key_is_its_own_and_readable_by_old_java() -> None:
    key = on(DOOR).file("/etc/grid-security/bestman/bestmankey.pem")
    assert (key.user, key.mode) == ("bestman", 0o400)
    assert key.content_string.startswith("-----BEGIN RSA PRIVATE KEY-----")


def test_real_client_lists_through_the_door() -> None:
    listing = on(CLIENT).run(
        "X509_USER_CERT=/home/alice/.globus/usercert.pem "
        "X509_USER_KEY=/home/alice/.globus/userkey.pem gfal-ls -ld '%s'",
        SURL,
    )
    assert listing.rc == 0, listing.stderr
    assert "/srv/storage/lab" in listing.stdout
