"""The plan says exactly what an apply does, and a second apply does nothing at all.

The tests of this module build on each other: bare hosts, a plan, an apply, and so on.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.lab.conftest import DOOR, SERVERS, TRANSFER, TestLab
from tests.lab.snapshot import LEFT_OUT, Snapshot, difference

pytestmark = pytest.mark.lab


def planned(document: dict[str, Any], host: str) -> dict[str, set[str]]:
    """Names of what the plan lists for ``host``, by kind; an entry of Ansible's own is a bug."""
    found: dict[str, set[str]] = {}
    (one,) = [entry for entry in document["plan"]["hosts"] if entry["host"] == host]
    for change in changes_of(one):
        found.setdefault(change["kind"], set()).add(change["name"])
    assert "task" not in found, f"not exact: {found['task']}"
    return found


def changes_of(entry: dict[str, Any]) -> list[dict[str, str]]:
    """All changes that a plan or a result lists for one of its hosts."""
    return [change for component in entry["components"] for change in component["changes"]]


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
    files = {
        path
        for path in found.get("file", set()) | found.get("directory", set())
        if path not in made.with_packages and not path.startswith(LEFT_OUT)
    }
    assert sorted(made.files ^ files) == []
    assert made.packages >= found.get("package", set())
    assert made.accounts == found.get("account", set())
    assert made.groups == found.get("group", set())
    assert {unit for unit in made.units if unit in of_units(found, story["first"][host])} == (
        of_units(found, story["first"][host])
    )


@pytest.mark.parametrize("host", SERVERS)
def test_a_second_apply_changes_nothing(story: dict[str, Any], host: str) -> None:
    assert not difference(story["first"][host], story["second"][host])


#: Runs on a host: the files of all sets.
_MANAGED_FILES = """
import glob, json
for name in glob.glob("/var/lib/cloudlet-deploy/sets/*/manifest.json"):
    print(*json.load(open(name))["files"], sep="\\n")
"""
DOOR_KEY = "/etc/grid-security/bestman/bestmankey.pem"
GRIDFTP_CONF = "/etc/gridftp.d/cloudlet.conf"
GRIDFTP_UNIT = "globus-gridftp-server.service"
JETTY = "/etc/bestman2/conf/WEB-INF/jetty.xml"

#: Per host: how another hand changes it, and the kind and name that the plan must then list.
Alteration = dict[str, tuple[str, str, str]]
ROUNDS: list[Alteration] = [
    {
        TRANSFER: (f"echo '# by hand' >>{GRIDFTP_CONF}", "file", GRIDFTP_CONF),
        DOOR: ("systemctl stop bestman2", "unit", "bestman2.service"),
    },
    {
        TRANSFER: (f"systemctl stop {GRIDFTP_UNIT}", "unit", GRIDFTP_UNIT),
        DOOR: (f"chown root {DOOR_KEY}", "file", DOOR_KEY),
    },
    {
        TRANSFER: (f"systemctl disable {GRIDFTP_UNIT}", "unit", GRIDFTP_UNIT),
        DOOR: ("usermod -s /bin/bash bestman", "account", "bestman"),
    },
    {
        TRANSFER: (
            "rm /etc/grid-security/grid-mapfile",
            "file",
            "/etc/grid-security/grid-mapfile",
        ),
        DOOR: ("chmod 0777 /etc/bestman2/conf", "directory", "/etc/bestman2/conf"),
    },
    {
        TRANSFER: (f"chmod 600 {GRIDFTP_CONF}", "file", GRIDFTP_CONF),
        DOOR: (f"rm {JETTY}", "file", JETTY),
    },
]


def alter_and_repair(lab: TestLab, applied: dict[str, Snapshot], alteration: Alteration) -> None:
    """One apply: its plan names exactly what was altered, and the hosts are as before."""
    for host, (how, _, _) in alteration.items():
        lab.run(host, how)
        assert difference(applied[host], lab.snapshot(host)), f"{how} altered nothing"
    document = json.loads(lab.apply("--output", "json").stdout)
    for host, (_, kind, name) in alteration.items():
        found = planned(document, host)
        assert found.pop(kind) == {name}
        # A file that a service reads is put back with that service's restart.
        assert set(found) <= ({"unit"} if kind == "file" else set()), found
        repaired = difference(applied[host], lab.snapshot(host), times=False)
        assert not repaired.files | repaired.accounts | repaired.groups | repaired.packages
    assert {entry["host"] for entry in document["plan"]["hosts"] if changes_of(entry)} == set(
        alteration
    )


@pytest.mark.parametrize("alteration", ROUNDS, ids=lambda a: "; ".join(v[0] for v in a.values()))
def test_what_another_hand_changed_is_named_and_repaired(
    lab: TestLab, story: dict[str, Any], alteration: Alteration
) -> None:
    alter_and_repair(lab, story["second"], alteration)


@pytest.mark.soak
def test_every_managed_file_is_named_and_repaired(lab: TestLab, story: dict[str, Any]) -> None:
    managed = {
        host: [
            path
            for path in lab.run(host, "python3 -", stdin=_MANAGED_FILES).stdout.split()
            # sudo refuses to work at all with a broken file of its own.
            if not path.startswith("/etc/sudoers.d/")
        ]
        for host in SERVERS
    }
    assert all(len(paths) > 5 for paths in managed.values())
    for index in range(max(map(len, managed.values()))):
        alter_and_repair(
            lab,
            story["second"],
            {
                host: (f"echo >>{paths[index]}", "file", paths[index])
                for host, paths in managed.items()
                if index < len(paths)
            },
        )
