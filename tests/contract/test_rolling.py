"""Of servers that share a load one is restarted at a time: the roles themselves, over modules
that only write down that they were called."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudlet_deploy import content
from cloudlet_deploy.lab.ca import Pki

pytestmark = pytest.mark.slow

#: Tells the test which host called what, fails where it is to, and knows what is pending.
_STUB = """#!/usr/bin/python
import json, os, sys  # WANT_JSON
arguments = {k: v for k, v in json.load(open(sys.argv[1])).items() if not k.startswith("_ansible")}
plan = json.loads(os.environ["STUB_PLAN"])
module = "NAME"
step = module + ":" + str(arguments.get("until") or arguments.get("state") or "")
with open(plan["log"], "a") as log:
    log.write(json.dumps([plan["host"], step, arguments]) + "\\n")
result = {"changed": False, "changes": []}
if module in ("config_set", "host_sets"):
    pending = {"restart": plan["pending"].get(plan["host"], []), "reload": []}
    result["ansible_facts"] = {"cloudlet_units_pending": pending}
if module == "hdfs_name":
    result["version"] = "3.4.3"
if step in plan["failing"].get(plan["host"], []):
    result = {"failed": True, "msg": "STUB: " + step}
print(json.dumps(result))
"""
#: Whose calls stop no service and ask none.
_NOISE = ("config_set", "package_set", "account_set", "archive_set", "hdfs_name", "host_sets")
_NOISE += ("sysctl_set",)
_FACTS = {
    "os_family": "Debian",
    "distribution": "Debian",
    "distribution_major_version": "12",
    "architecture": "x86_64",
}
GRIDFTP, DOOR = "globus-gridftp-server.service", "bestman2.service"
NAMENODE, DATANODE = "hdfs-namenode.service", "hdfs-datanode.service"
FAR = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}


@dataclass(frozen=True)
class Rolled:
    """What the hosts did, in order, and what Ansible said of it."""

    calls: list[tuple[str, str, dict[str, Any]]]
    output: str

    def steps(self, *hosts: str) -> list[tuple[str, str]]:
        """Restarts, starts and questions of these hosts."""
        return [(host, step) for host, step, _arguments in self.calls if host in hosts]


Roll = Callable[..., Rolled]


@pytest.fixture
def roll(tmp_path: Path) -> Roll:
    """``roll(role, groups, pending, failing, check=, hosts=, **variables)``: one play.

    ``pending`` are the units of each host that run with older files, ``failing`` the steps
    that fail on it (MODULE:STATE, or MODULE:UNTIL).
    """
    collection = tmp_path / "collections" / "ansible_collections" / "cloudlet" / "deploy"
    (collection / "plugins" / "modules").mkdir(parents=True)
    for part in ("roles", *(f"plugins/{kind}" for kind in ("filter", "module_utils"))):
        (collection / part).symlink_to(content.root() / part)
    (collection / "plugins/plugin_utils").symlink_to(content.root() / "plugins/plugin_utils")
    for module in (content.root() / "plugins/modules").glob("[a-z]*.py"):
        stub = _STUB.replace("NAME", module.stem)
        (collection / "plugins/modules" / module.name).write_text(stub)
    numbers = itertools.count()

    def run(
        role: str,
        groups: Mapping[str, list[str]],
        pending: Mapping[str, list[str]],
        failing: Mapping[str, list[str]] | None = None,
        *,
        check: bool = False,
        hosts: Mapping[str, Mapping[str, Any]] | None = None,
        **variables: Any,
    ) -> Rolled:
        where = tmp_path / str(next(numbers))
        where.mkdir()
        log = where / "log"
        log.touch()
        told = {"log": str(log), "pending": pending, "failing": failing or {}}
        inventory = {
            group: {"hosts": {name: dict((hosts or {}).get(name, {})) for name in names}}
            for group, names in groups.items()
        }
        inventory["all"] = {
            "vars": {
                "ansible_connection": "local",
                "ansible_python_interpreter": sys.executable,
                "stub_plan": told,
                "storage_path": "/srv/storage",
                **variables,
            }
        }
        play = {
            "hosts": "all",
            "gather_facts": False,
            "environment": {
                "STUB_PLAN": "{{ stub_plan | combine({'host': inventory_hostname}) | to_json }}"
            },
            "pre_tasks": [
                {"ansible.builtin.command": "true", "check_mode": False},  # who is away goes here
                {"ansible.builtin.set_fact": {**_FACTS, "cacheable": True}},
            ],
            "roles": [f"cloudlet.deploy.{role}"],
        }
        (where / "inventory.yml").write_text(yaml.safe_dump(inventory))
        (where / "play.yml").write_text(yaml.safe_dump([play], sort_keys=False))
        env = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
        done = subprocess.run(
            [
                str(Path(sys.executable).parent / "ansible-playbook"),
                *("-i", "inventory.yml", "play.yml", *(["--check"] if check else [])),
            ],
            env=env
            | {
                "ANSIBLE_COLLECTIONS_PATH": str(tmp_path / "collections"),
                "ANSIBLE_HOME": str(tmp_path / "home"),
                "ANSIBLE_INJECT_FACT_VARS": "false",
                "ANSIBLE_NOCOLOR": "true",
                "COLUMNS": "1000",
            },
            cwd=where,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        print(done.stdout, done.stderr)
        calls = [json.loads(line) for line in log.read_text().splitlines()]
        kept = [(h, s, a) for h, s, a in calls if s.partition(":")[0] not in _NOISE]
        return Rolled(kept, done.stdout + done.stderr)

    return run


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, dict[str, Any]]:
    """What each role needs, by role."""
    pki = Pki(tmp_path / "pki")
    pki.ensure(("one", "two", "three"))
    own = f"{pki.host('one').parent}/{{{{ inventory_hostname }}}}"
    return {
        "gridftp": {},
        "bestman": {
            "bestman_certificate": f"{own}/hostcert.pem",
            "bestman_key": f"{own}/hostkey.pem",
            "bestman_transfer_servers": ["gsiftp://data1.example.org"],
            "bestman_paths_allowed": ["/srv/storage"],
            "grid_trust_host_certificate": f"{own}/hostcert.pem",
            "grid_trust_host_key": f"{own}/hostkey.pem",
        },
    }


UP, WELL = "unit_set:", "grid_health:"
UNITS = pytest.mark.parametrize(
    ("role", "unit"),
    [("gridftp", GRIDFTP), pytest.param("bestman", DOOR, marks=pytest.mark.one_core)],
)


@UNITS
def test_one_is_well_again_before_the_next_is_restarted(
    roll: Roll, settings: dict[str, Any], role: str, unit: str
) -> None:
    groups = {role: ["one", "two", "three", "far"]}
    pending = {"two": [unit], "three": [unit, "other.service"], "one": ["other.service"]}
    done = roll(role, groups, pending, hosts={"far": FAR}, **settings[role])
    assert "far" in done.output and "unreachable=1" in done.output
    steps = done.steps("one", "two", "three")
    assert steps[:2] == [("one", UP), ("one", WELL)], done.output
    first, second = steps[2][0], steps[4][0]
    assert {first, second} == {"two", "three"}
    assert steps[2:] == [(first, UP), (first, WELL), (second, UP), (second, WELL)]


@UNITS
def test_one_that_is_not_well_again_keeps_the_next_from_its_restart(
    roll: Roll, settings: dict[str, Any], role: str, unit: str
) -> None:
    groups = {role: ["one", "two", "three"]}
    pending = {"two": [unit], "three": [unit]}
    failing = {"two": [WELL], "three": [WELL]}
    done = roll(role, groups, pending, failing, **settings[role])
    (first, _), *rest = done.steps("two", "three")
    assert rest == [(first, WELL)], done.output
    assert f"former configuration: {first} failed when it was its turn" in done.output
    assert done.steps("one") == [("one", UP), ("one", WELL)]
    for line in done.output.splitlines():
        if line.startswith("one "):
            assert "failed=0" in line


def test_a_plan_that_fails_on_one_host_is_that_of_the_others_still(roll: Roll) -> None:
    pending = {"two": [GRIDFTP], "three": [GRIDFTP]}
    failing = {"two": [UP], "three": [UP]}
    done = roll("gridftp", {"gridftp": ["two", "three"]}, pending, failing, check=True)
    assert sorted(done.steps("two", "three")) == [("three", UP), ("two", UP)]


# ---- HDFS ------------------------------------------------------------------------------------

HDFS = {"hdfs_namenode": ["nn"], "hdfs_datanode": ["one", "two"]}
OLD = {"nn": [NAMENODE], "one": [DATANODE], "two": [DATANODE]}
SAFE, BACK = "hdfs_cluster:safe", "hdfs_cluster:back"


def test_a_data_node_is_back_before_the_next_is_stopped(roll: Roll) -> None:
    done = roll("hdfs", HDFS, OLD, hosts={"two": {"hdfs_hostname": "two.example.org"}})
    steps = [step for step in done.steps("nn", "one", "two") if step[1] != "hdfs_cluster:answers"]
    assert steps[0] == ("nn", UP)
    first, second = steps[1][0], steps[4][0]
    assert {first, second} == {"one", "two"}
    turn = (SAFE, UP, BACK)
    assert steps[1:] == [(host, step) for host in (first, second) for step in turn]
    asked = {h: a for h, step, a in done.calls if step == BACK}
    assert asked["two"]["node"] == "two.example.org"
    assert asked["one"]["expected"] == ["one", "two.example.org"]


def test_a_data_node_that_is_lost_stops_the_rolling(roll: Roll) -> None:
    done = roll("hdfs", HDFS, OLD, {"one": [BACK], "two": [BACK]})
    steps = [one for one in done.steps("one", "two") if one[1] != "hdfs_cluster:answers"]
    assert {host for host, _step in steps} == {steps[0][0]}
    assert [step for _host, step in steps] == [SAFE, UP, BACK]
    assert f"{steps[0][0]} failed when it was its turn" in done.output


# ---- rollback --------------------------------------------------------------------------------

SITE = {**HDFS, "gridftp": ["one", "two"], "bestman": ["door"]}
RESTART = "unit_set:activated"


def test_a_rollback_restarts_the_name_node_and_then_one_host_at_a_time(roll: Roll) -> None:
    pending = {**OLD, "one": [DATANODE, GRIDFTP], "door": ["hdfs-fuse.service"]}
    done = roll("rollback", {**SITE, "other": ["idle"]}, pending)
    steps = done.steps("nn", "one", "two", "door", "idle")
    assert steps[0] == ("nn", UP)
    at_once = steps[1:4]
    assert sorted(at_once) == [(host, RESTART) for host in ("door", "idle", "nn")]
    first, second = steps[4][0], steps[7][0]
    assert {first, second} == {"one", "two"}
    turn = (SAFE, RESTART, BACK)
    assert steps[4:] == [(host, step) for host in (first, second) for step in turn]
    restarts = {h: a["pending"]["restart"] for h, step, a in done.calls if step == RESTART}
    assert restarts["nn"] == [] and restarts["one"] == [DATANODE, GRIDFTP]
    assert all(a["config"] == "/etc/hadoop/cloudlet" for _h, s, a in done.calls if s == SAFE)


@pytest.mark.one_core
def test_a_rollback_stops_no_data_node_when_no_name_node_answers(roll: Roll) -> None:
    pending = {"one": [DATANODE], "two": [DATANODE]}
    done = roll("rollback", SITE, pending, {"one": [SAFE], "two": [SAFE]})
    ((first, step),) = done.steps("one", "two")
    assert step == SAFE
    assert f"services were not restarted: {first} failed when it was its turn" in done.output


@pytest.mark.one_core
def test_a_rollback_asks_no_name_node_where_no_data_node_restarts(roll: Roll) -> None:
    done = roll("rollback", SITE, {"one": [GRIDFTP], "two": [GRIDFTP]})
    hosts = ("nn", "one", "two", "door")
    assert sorted(done.steps(*hosts)) == [(host, RESTART) for host in sorted(hosts)]
    assert {host for host, _step in done.steps(*hosts)[2:]} == {"one", "two"}
