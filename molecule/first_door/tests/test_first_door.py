"""What the converged hosts show to real clients and to their admins."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import testinfra
from testinfra.backend.base import CommandResult
from testinfra.host import Host

SITE = Path(os.environ["MOLECULE_EPHEMERAL_DIRECTORY"]) / "site"
DOOR, TRANSFER, CLIENT = "door.lab.test", "data1.lab.test", "client.lab.test"
DIRECTORY = "/srv/storage/lab"
SURL = f"srm://{DOOR}:8443/srm/v2/server?SFN={DIRECTORY}"
GSIFTP = f"gsiftp://{TRANSFER}{DIRECTORY}"


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


def as_user(name: str, command: str) -> CommandResult:
    """What a grid user with a certificate gets on the client's host."""
    return on(CLIENT).run("su - %s -c %s", name, command)


def alice(command: str) -> str:
    done = as_user("alice", command)
    assert done.rc == 0, done.stderr
    return str(done.stdout)


def test_real_client_lists_through_the_door() -> None:
    assert DIRECTORY in alice(f"gfal-ls -ld '{SURL}'")


def test_what_gridftp_took_the_door_lists() -> None:
    alice("head -c 100000000 /dev/urandom >/tmp/sent")
    alice(f"globus-url-copy file:///tmp/sent {GSIFTP}/hundred")
    (listed,) = (line.split() for line in alice(f"gfal-ls -l '{SURL}'").splitlines())
    assert (listed[-1], listed[4]) == ("hundred", "100000000")
    alice(f"globus-url-copy {GSIFTP}/hundred file:///tmp/received")
    sums = alice("sha256sum /tmp/sent /tmp/received").split()
    assert sums[0] == sums[2] == on(TRANSFER).file(f"{DIRECTORY}/hundred").sha256sum


def test_proxy_lists_as_well_as_certificate() -> None:
    alice("grid-proxy-init -rfc -bits 2048")
    try:
        assert "hundred" in alice(f"gfal-ls '{SURL}'")
    finally:
        alice("grid-proxy-destroy")


def test_dn_outside_the_gridmap_is_refused_at_the_srm_door() -> None:
    refused = as_user("mallory", f"gfal-ls '{SURL}'")
    assert refused.rc != 0
    assert "gridmap" in refused.stderr.lower() or "not authorized" in refused.stderr.lower()


def test_dn_outside_the_gridmap_is_refused_at_gridftp() -> None:
    refused = as_user("mallory", f"globus-url-copy {GSIFTP}/hundred file:///tmp/stolen")
    assert refused.rc != 0
    assert "Gridmap lookup failure" in refused.stderr
