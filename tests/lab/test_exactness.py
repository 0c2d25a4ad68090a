"""The plan says exactly what an apply does, and a second apply does nothing at all.

The tests of this module build on each other: bare hosts, a plan, an apply, and so on.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab.conftest import DOOR, SERVERS, TRANSFER, TestLab
from tests.lab.snapshot import Snapshot, difference

pytestmark = pytest.mark.lab


def planned(document: dict[str, Any], host: str) -> dict[str, set[str]]:
    """Names of what the plan lists for ``host``, by kind; an entry of Ansible's own is a bug."""
    found: dict[str, set[str]] = {}
    (one,) = [entry for entry in document["plan"]["hosts"] if entry["host"] == host]
    for component in one["components"]:
        for change in component["changes"]:
            found.setdefault(change["kind"], set()).add(change["name"])
    assert "task" not in found, f"not exact: {found['task']}"
    return found


def of_units(found: dict[str, set[str]], snapshot: Snapshot) -> set[str]:
    """Unit names, as systemd calls them."""
    return {name if "." in name else f"{name}.service" for name in found.get("unit", set())}


@pytest.fixture(scope="module")
def story(lab: TestLab) -> dict[str, Any]:
    """Bare, planned, applied, applied again."""
    bare = {host: lab.snapshot(host) for host in SERVERS}
    plan = lab.plan()
    still_bare = {host: lab.snapshot(host) for host in SERVERS}
    lab.apply()
    first = {host: lab.snapshot(host) for host in SERVERS}
    lab.apply()
    second = {host: lab.snapshot(host) for host in SERVERS}
    return {
        "bare": bare,
        "plan": plan,
        "planned_only": still_bare,
        "first": first,
        "second": second,
    }


@pytest.mark.parametrize("host", SERVERS)
def test_a_plan_changes_nothing(story: dict[str, Any], host: str) -> None:
    assert not difference(story["bare"][host], story["planned_only"][host])


@pytest.mark.parametrize("host", SERVERS)
def test_an_apply_on_a_bare_host_does_what_the_plan_listed(
    story: dict[str, Any], host: str
) -> None:
    found = planned(story["plan"], host)
    made = difference(story["bare"][host], story["first"][host], times=False)
    assert made.files == found.get("file", set()) | found.get("directory", set())
    assert made.packages >= found.get("package", set())
    assert made.accounts == found.get("account", set())
    assert made.groups == found.get("group", set())
    assert {unit for unit in made.units if unit in of_units(found, story["first"][host])} == (
        of_units(found, story["first"][host])
    )


@pytest.mark.parametrize("host", SERVERS)
def test_a_second_apply_changes_nothing(story: dict[str, Any], host: str) -> None:
    assert not difference(story["first"][host], story["second"][host])


DOOR_KEY = "/etc/grid-security/bestman/bestmankey.pem"

#: host, how to alter, kind and name that the plan must then list, and nothing else.
ALTERATIONS = [
    (TRANSFER, "echo '# by hand' >>/etc/gridftp.d/cloudlet.conf", "file", "/etc/gridftp.d/cloudlet.conf"),
    (TRANSFER, "chmod 600 /etc/gridftp.d/cloudlet.conf", "file", "/etc/gridftp.d/cloudlet.conf"),
    (TRANSFER, "rm /etc/grid-security/grid-mapfile", "file", "/etc/grid-security/grid-mapfile"),
    (
        TRANSFER,
        "systemctl stop globus-gridftp-server",
        "unit",
        "globus-gridftp-server.service",
    ),
    (
        TRANSFER,
        "systemctl disable globus-gridftp-server",
        "unit",
        "globus-gridftp-server.service",
    ),
    (DOOR, "systemctl stop bestman2", "unit", "bestman2.service"),
    (
        DOOR,
        "chown root /etc/grid-security/bestman/bestmankey.pem",
        "file",
        "/etc/grid-security/bestman/bestmankey.pem",
    ),
    (DOOR, "usermod -s /bin/bash bestman", "account", "bestman"),
]


@pytest.mark.parametrize("alteration", ALTERATIONS, ids=lambda a: f"{a[0]}: {a[1]}")
def test_what_another_hand_changed_is_named_and_repaired(
    lab: TestLab, story: dict[str, Any], alteration: tuple[str, str, str, str]
) -> None:
    host, how, kind, name = alteration
    lab.run(host, how)
    altered = lab.snapshot(host)
    assert difference(story["second"][host], altered), "the alteration altered nothing"
    found = planned(lab.plan("--limit", host), host)
    assert found.pop(kind) == {name}
    # A file that a service reads is put back with that service's restart, which is no surprise.
    assert set(found) <= ({"unit"} if kind == "file" else set()), found
    lab.apply("--limit", host)
    repaired = difference(story["second"][host], lab.snapshot(host), times=False)
    assert not repaired.files | repaired.accounts | repaired.groups | repaired.packages
    assert planned(lab.plan("--limit", host), host) == {}
