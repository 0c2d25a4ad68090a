"""Real grid clients against the two doors: Debian's gfal2 and globus-url-copy."""

from __future__ import annotations

import pytest

from tests.lab.conftest import DOOR, TRANSFER, TestLab

pytestmark = pytest.mark.lab
DIRECTORY = "/srv/storage/lab"
SURL = f"srm://{DOOR}:8443/srm/v2/server?SFN={DIRECTORY}"
GSIFTP = f"gsiftp://{TRANSFER}{DIRECTORY}"


@pytest.fixture(scope="module", autouse=True)
def applied(lab: TestLab) -> None:
    lab.apply()


def test_what_gridftp_took_the_door_lists(lab: TestLab) -> None:
    lab.as_alice("head -c 100000000 /dev/urandom >/tmp/sent")
    lab.as_alice(f"globus-url-copy file:///tmp/sent {GSIFTP}/hundred")
    listing = lab.as_alice(f"gfal-ls -l '{SURL}'").stdout
    assert [line.split()[4] for line in listing.splitlines() if line.split()[-1] == "hundred"] == [
        "100000000"
    ]
    lab.as_alice(f"globus-url-copy {GSIFTP}/hundred file:///tmp/received")
    sums = lab.as_alice("sha256sum /tmp/sent /tmp/received").stdout.split()
    assert sums[0] == sums[2]
    on_disk = lab.run(TRANSFER, f"sha256sum {DIRECTORY}/hundred").stdout.split()
    assert on_disk[0] == sums[0]


def test_proxy_lists_as_well_as_certificate(lab: TestLab) -> None:
    lab.as_alice("grid-proxy-init -rfc -bits 2048")
    try:
        assert lab.as_alice(f"gfal-ls '{SURL}'").returncode == 0
    finally:
        lab.as_alice("grid-proxy-destroy")


def test_dn_outside_the_gridmap_is_refused_at_the_srm_door(lab: TestLab) -> None:
    refused = lab.as_alice(f"gfal-ls '{SURL}'", user="mallory", check=False)
    assert refused.returncode != 0
    assert "gridmap" in refused.stderr.lower() or "not authorized" in refused.stderr.lower()


def test_dn_outside_the_gridmap_is_refused_at_gridftp(lab: TestLab) -> None:
    refused = lab.as_alice(
        f"globus-url-copy {GSIFTP}/hundred file:///tmp/stolen", user="mallory", check=False
    )
    assert refused.returncode != 0
    assert "Gridmap lookup failure" in refused.stderr
