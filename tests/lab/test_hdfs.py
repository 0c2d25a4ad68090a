"""The whole storage element over HDFS: files survive what happens to its hosts.

The tests of this module build on each other: bare hosts, an apply, files through both transfer
servers, and then one misfortune after the other.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudlet_deploy import content
from cloudlet_deploy import lab as labs
from tests.lab.conftest import CLI, DOOR, TestLab, set_values

pytestmark = pytest.mark.lab
DEFINITION = "lab-hdfs"

NAMENODE, DATA = "nn.lab.test", ("data1.lab.test", "data2.lab.test")
DIRECTORY = "/mnt/hadoop/lab"
SURL = f"srm://{DOOR}:8443/srm/v2/server?SFN={DIRECTORY}"
SPARE = "data3.lab.test"
NAME = "/var/lib/hadoop-hdfs/name"
LEDGER = "/var/lib/cloudlet-deploy/ledger.json"
BYTES = 1_000_000_000


@pytest.fixture(scope="module")
def begun(lab: TestLab) -> str:
    """The cluster id for which the power went off in the middle of the formatting."""
    staging = f"{Path(NAME).parent}/.{Path(NAME).name}.formatting"
    with subprocess.Popen(
        [CLI, "apply", "-i", str(lab.site), "--yes", "--no-preflight"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as apply:
        while lab.run(NAMENODE, f"test -d {staging}", check=False).returncode != 0:
            assert apply.poll() is None, "the formatting was not seen"
        labs.kill(lab.name, NAMENODE)
    assert apply.returncode == 1  # the data nodes have nothing to register with
    labs.start(lab.name, NAMENODE)
    assert lab.run(NAMENODE, f"test -e {NAME}", check=False).returncode != 0
    (cluster_id,) = set(re.findall(r"CID-[0-9a-f-]+", lab.run(NAMENODE, f"cat {LEDGER}").stdout))
    return cluster_id


@pytest.fixture(scope="module", autouse=True)
def sent(lab: TestLab, begun: str) -> str:
    """The digest of 1 GB that was put through each of the transfer servers."""
    lab.apply()
    lab.as_alice(f"head -c {BYTES} /dev/urandom >/tmp/sent")
    for host in DATA:
        lab.as_alice(f"globus-url-copy file:///tmp/sent gsiftp://{host}{DIRECTORY}/{host}")
    return lab.as_alice("sha256sum /tmp/sent").stdout.split()[0]


def check_all(lab: TestLab, sent: str) -> None:
    """Both files are whole on the door's mount, and the door lists them in their size."""
    found = lab.run(DOOR, f"cd {DIRECTORY} && sha256sum {' '.join(DATA)}").stdout.split()
    assert found[0::2] == [sent, sent]
    check_listed(lab)


#: What is looked at of a large file where nothing should have happened to it.
ENDS = "(head -c 1000000 {0}; tail -c 1000000 {0}) | sha256sum"


def check_ends(lab: TestLab) -> None:
    """The door lists both files in their size and reads both ends of them.

    To read all of both takes as long as a restart; tests after it do it, so that what was lost
    would be seen there.
    """
    check_listed(lab)
    sent = lab.as_alice(ENDS.format("/tmp/sent")).stdout
    for host in DATA:
        assert lab.run(DOOR, ENDS.format(f"{DIRECTORY}/{host}")).stdout == sent


def check_listed(lab: TestLab) -> None:
    listed = [line.split() for line in lab.as_alice(f"gfal-ls -l '{SURL}'").stdout.splitlines()]
    assert {(line[-1], line[4]) for line in listed} >= {(host, str(BYTES)) for host in DATA}


def healthy(lab: TestLab, seconds: float = 120) -> str:
    """What status says once it finds nothing, or at the end of the time."""
    deadline = time.monotonic() + seconds
    while (done := lab.cli("status")).returncode != 0 and time.monotonic() < deadline:
        time.sleep(5)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def formatted(lab: TestLab) -> str:
    return lab.run(NAMENODE, f"grep -h ID= {NAME}/current/VERSION").stdout


def test_a_formatting_that_was_cut_off_is_finished_with_its_own_id(
    lab: TestLab, begun: str
) -> None:
    assert begun in formatted(lab)


def test_what_either_server_took_reads_back_and_is_listed(lab: TestLab, sent: str) -> None:
    check_all(lab, sent)
    assert healthy(lab).count("In Service") == len(DATA)


def test_a_second_apply_changes_nothing(lab: TestLab) -> None:
    before = formatted(lab)
    assert "Nothing to do." in lab.apply().stdout
    assert formatted(lab) == before


def test_restarts_of_all_hosts_lose_nothing(lab: TestLab) -> None:
    for host in (*DATA, NAMENODE, DOOR):
        labs.kill(lab.name, host)
        labs.start(lab.name, host)
    healthy(lab)
    check_ends(lab)


def test_another_setting_restarts_data_nodes_one_at_a_time(lab: TestLab) -> None:
    document = json.loads(lab.apply("-e", "hdfs_datanode_handlers=21", "--output", "json").stdout)
    assert restarts(document["plan"]).count("hdfs-datanode.service") == 2
    one_at_a_time(lab)
    check_ends(lab)


def restarts(outcome: dict[str, Any]) -> list[str]:
    """The units that restart, one entry a host."""
    return [
        change["name"]
        for entry in outcome["hosts"]
        for component in entry["components"]
        for change in component["changes"]
        if change["action"] == "restart"
    ]


def came_up(lab: TestLab, host: str, unit: str) -> int:
    """When the unit came up, in microseconds of a clock that all hosts of a lab share."""
    show = f"systemctl show -P ActiveEnterTimestampMonotonic {unit}"
    return int(lab.run(host, show).stdout)


def one_at_a_time(lab: TestLab) -> None:
    """The name node came up first, and the second data node once the first was back."""
    first, second = sorted(came_up(lab, host, "hdfs-datanode") for host in DATA)
    assert came_up(lab, NAMENODE, "hdfs-namenode") < first
    # Registering again takes a while; two that restart together are closer.
    assert second - first > 3_000_000


def test_a_rollback_restarts_data_nodes_one_at_a_time_too(lab: TestLab) -> None:
    before = [came_up(lab, host, "hdfs-datanode") for host in DATA]
    foretold = json.loads(lab.cli("rollback", "--check", "--output", "json").stdout)
    done = lab.cli("rollback", "--yes", "--output", "json")
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(done.stdout)["result"]
    units = ["hdfs-datanode.service", "hdfs-datanode.service", "hdfs-namenode.service"]
    assert sorted(restarts(foretold["plan"])) == sorted(restarts(result)) == units
    after = [came_up(lab, host, "hdfs-datanode") for host in DATA]
    assert min(after) > max(before)
    one_at_a_time(lab)
    for host in (NAMENODE, *DATA):
        site = lab.run(host, "cat /etc/hadoop/cloudlet/hdfs-site.xml").stdout
        assert "<name>dfs.datanode.handler.count</name><value>20</value>" in site
    check_ends(lab)
    # There is nothing before the first apply, and nothing that still waits for a restart.
    again = lab.cli("rollback", "--yes")
    assert again.returncode == 0 and "Nothing to do." in again.stdout, again.stdout + again.stderr
    assert [came_up(lab, host, "hdfs-datanode") for host in DATA] == after


def test_a_name_directory_that_is_gone_stops_the_apply(lab: TestLab) -> None:
    lab.run(NAMENODE, f"systemctl stop hdfs-namenode && mv {NAME} {NAME}.aside")
    done = lab.cli("apply", "--yes", "--no-preflight")
    told = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 1
    assert NAMENODE in told and f"{NAME} is missing" in told and "docs/how-to/hdfs.md" in told
    assert lab.run(NAMENODE, f"test -e {NAME}", check=False).returncode != 0
    assert lab.run(NAMENODE, "systemctl is-active hdfs-namenode", check=False).returncode != 0
    lab.run(NAMENODE, f"mv {NAME}.aside {NAME}")
    lab.apply("--limit", NAMENODE)  # the mounts cannot be looked into before it is back
    lab.apply()
    healthy(lab)
    check_ends(lab)


def test_a_lost_data_node_costs_no_file(lab: TestLab, sent: str) -> None:
    labs.kill(lab.name, DATA[0])
    try:
        check_all(lab, sent)
    finally:
        labs.start(lab.name, DATA[0])


def restore_commands() -> str:
    """The commands of the how-to, which is what an admin has."""
    text = (content.root() / "docs/how-to/hdfs.md").read_text()
    section = text.split("## Restore the name node")[1].split("\n## ")[0]
    return "\n".join(line for line in section.splitlines() if line.startswith("    "))


def test_a_lost_name_directory_is_restored_as_the_how_to_says(lab: TestLab, sent: str) -> None:
    healthy(lab)
    before = formatted(lab)
    lab.run(NAMENODE, "systemctl start hdfs-backup && systemctl stop hdfs-namenode")
    lab.run(NAMENODE, f"rm -r {NAME}")
    lab.run(NAMENODE, f"set -e\n{restore_commands()}")
    lab.apply("--limit", NAMENODE)
    healthy(lab)
    assert formatted(lab) == before
    check_all(lab, sent)


def applied(lab: TestLab) -> dict[str, set[str]]:
    """The components that an apply planned to change, by host, before it did."""
    document = json.loads(lab.apply("--output", "json").stdout)
    return {
        entry["host"]: {part["component"] for part in entry["components"] if part["changes"]}
        for entry in document["plan"]["hosts"]
        if any(part["changes"] for part in entry["components"])
    }


@pytest.mark.soak
def test_a_new_data_node_comes_and_an_old_one_is_let_go_when_it_is_empty(
    lab: TestLab, sent: str
) -> None:
    hosts = yaml.safe_load((lab.site / "hosts.yml").read_text())
    del hosts["lab_spares"]
    hosts["hdfs_datanode"]["hosts"][SPARE] = None
    (lab.site / "hosts.yml").write_text(yaml.safe_dump(hosts))
    # The others let it in; none of their servers is touched.
    wanted = {host: {"firewall"} for host in (NAMENODE, *DATA)}
    assert applied(lab) == {**wanted, SPARE: {"firewall", "java", "hdfs"}}

    leaving = lab.site / "host_vars" / f"{DATA[0]}.yml"
    set_values(leaving, hdfs_state="absent")
    refused = lab.cli("apply", "--yes", "--limit", DATA[0])
    assert refused.returncode == 1
    assert "In Service" in refused.stdout + refused.stderr

    set_values(leaving, hdfs_state="present", hdfs_decommission=True)
    assert applied(lab) == {NAMENODE: {"hdfs"}}
    deadline = time.monotonic() + 300
    while "Decommissioned" not in lab.cli("status").stdout and time.monotonic() < deadline:
        time.sleep(5)
    set_values(leaving, hdfs_state="absent")
    lab.apply()
    there = lab.run(DATA[0], "systemctl is-active hdfs-datanode", check=False)
    assert there.stdout.strip() != "active"
    check_all(lab, sent)


def test_destroy_keeps_the_data(lab: TestLab) -> None:
    before = formatted(lab)
    done = lab.cli("destroy", "--confirm", lab.site.name)
    assert done.returncode == 0, done.stdout + done.stderr
    assert formatted(lab) == before
    assert lab.run(NAMENODE, "test -e /etc/hadoop", check=False).returncode != 0
