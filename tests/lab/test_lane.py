"""A lane from CryoSPARC's stand-in to real Slurm: tried from a node, refused or connected, used."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from cloudlet_deploy.lab import cluster
from tests.lab.conftest import TestLab, needs_devices, set_values
from tests.lab.conftest import lab as _lab

pytestmark = [pytest.mark.lab, needs_devices]
DEFINITION = "lab-cryosparc"
MASTER, LOGIN, NODE = "cryosparc.lab.test", "login.lab.test", "node1.lab.test"
MANAGER = "/opt/cryosparc/cryosparc_master/bin/cryosparcm"
FILES = "/etc/cloudlet-deploy/cryosparc_lane"
ONLY = ("--component", "cryosparc_lane")
lab = _lab


@pytest.fixture(scope="module", autouse=True)
def cryosparc(lab: TestLab) -> None:
    """CryoSPARC without a lane."""
    lab.apply("--component", "cryosparc")


def as_account(lab: TestLab, command: str, *, host: str = MASTER) -> str:
    return lab.run(host, f"su {cluster.ACCOUNT} -c 'cd / && exec sh -e'", stdin=command).stdout


def set_lanes(lab: TestLab, *lanes: Any) -> None:
    set_values(lab.site / "group_vars" / "cryosparc.yml", cryosparc_lane_clusters=list(lanes))


def connected(lab: TestLab) -> list[str]:
    lines = as_account(lab, f"{MANAGER} cluster list").splitlines()
    return [line.split("\t")[0] for line in lines[1:]]


def jobs_so_far(lab: TestLab) -> int:
    found = re.search(r"NEXT_JOB_ID\s*=\s*(\d+)", lab.run(LOGIN, "scontrol show config").stdout)
    assert found
    return int(found[1])


def refused(lab: TestLab) -> str:
    """What an apply says that a lane keeps from its end, on one line."""
    done = lab.cli("apply", "--yes", "--no-preflight", *ONLY)
    assert done.returncode == 1, done.stdout + done.stderr
    assert ".cloudlet-probe" not in lab.run(MASTER, f"ls -A {cluster.PROJECTS}").stdout
    return " ".join((done.stdout + done.stderr).split())


def address(lab: TestLab, host: str) -> str:
    return lab.run(LOGIN, f"getent hosts {host}").stdout.split()[0]


@contextmanager
def port_cut(lab: TestLab, port: int) -> Iterator[None]:
    """The node's way to a port of the master leads nowhere."""
    rules = (
        "add table inet cut; add chain inet cut out { type filter hook output priority 0; }; "
        f"add rule inet cut out tcp dport {port} drop"
    )
    lab.run(NODE, "nft -f -", stdin=rules)
    try:
        yield
    finally:
        lab.run(NODE, "nft delete table inet cut")


@contextmanager
def astray(lab: TestLab) -> Iterator[str]:
    """On the node the master's name leads to another host, whose address is told."""
    wrong = address(lab, LOGIN)
    lab.run(NODE, f"cp /etc/hosts /root/hosts; echo '{wrong} {MASTER}' >>/etc/hosts")
    try:
        yield wrong
    finally:
        lab.run(NODE, "cat /root/hosts >/etc/hosts")


@contextmanager
def another_uid(lab: TestLab, uid: int) -> Iterator[None]:
    lab.run(NODE, f"usermod --uid {uid} {cluster.ACCOUNT}")
    try:
        yield
    finally:
        lab.run(NODE, f"usermod --uid {cluster.ACCOUNT_UID} {cluster.ACCOUNT}")


def test_a_node_without_a_way_to_the_database_or_with_another_uid_is_refused(lab: TestLab) -> None:
    set_lanes(lab, "{{ lab_lane | combine({'cache_path': '/nowhere'}) }}")
    with port_cut(lab, 61001), another_uid(lab, 123999):
        said = refused(lab)
    own = address(lab, MASTER)
    assert "The lane cluster would not work, so it is not connected" in said
    cut = f"{MASTER} ({own}) on port 61001 (database): no answer within 5 s"
    assert f"{NODE} cannot reach {cut}" in said
    assert f"Open ports 61000 to 61009 of {own}" in said
    assert "61002" not in said and "61004" not in said
    assert f"on {NODE} {cluster.ACCOUNT} has the uid 123999" in said
    assert f"Give {cluster.ACCOUNT} the uid {cluster.ACCOUNT_UID}" in said
    assert f"on {NODE} {cluster.ACCOUNT} cannot write to the cache /nowhere" in said
    assert connected(lab) == []


def test_a_lane_that_works_is_connected_once(lab: TestLab) -> None:
    set_lanes(lab, "{{ lab_lane }}")
    before = jobs_so_far(lab)
    lab.apply(*ONLY)
    assert connected(lab) == ["cluster"]
    assert jobs_so_far(lab) == before + 1
    again = lab.apply(*ONLY)
    assert "Nothing to do" in again.stdout
    assert jobs_so_far(lab) == before + 1
    shown = lab.run(MASTER, f"stat -c '%a %U' {FILES}/cluster/key").stdout
    assert shown == f"600 {cluster.ACCOUNT}\n"


def test_movies_go_through_slurm_and_come_back(lab: TestLab) -> None:
    raw, project = f"{cluster.PROJECTS}/raw", f"{cluster.PROJECTS}/P1"
    movies = " ".join(f"{raw}/m{number}.tif" for number in range(3))
    as_account(lab, f"mkdir {raw} {project}; for m in {movies}; do echo movie >$m; done")
    before = jobs_so_far(lab)
    session = f"{MANAGER} standin-session"
    as_account(lab, f"{session} start --raw {raw} --project {project} --lane cluster")
    deadline = time.monotonic() + 60
    listing = f"ls {project}/S1"
    while (made := lab.run(LOGIN, listing, check=False).stdout.split()) != [
        f"m{number}_patch_aligned.mrc" for number in range(3)
    ]:
        assert time.monotonic() < deadline, (made, as_account(lab, f"{session} list"))
        time.sleep(0.5)
    as_account(lab, f"{session} stop")
    assert jobs_so_far(lab) > before
    job = lab.run(LOGIN, f"scontrol show job {before}").stdout
    assert "JobName=cryosparc_" in job and "NodeList=node1" in job
    assert f"UserId={cluster.ACCOUNT}({cluster.ACCOUNT_UID})" in job


def test_a_connected_lane_that_fails_stays_as_it_was(lab: TestLab) -> None:
    set_lanes(lab, "{{ lab_lane | combine({'options': ['--time=1:00:00']}) }}")
    with astray(lab) as wrong:
        said = refused(lab)
    assert "so it stays connected as it was" in said
    for port, what in {61001: "database", 61002: "API", 61004: "cache (Redis)"}.items():
        assert f"{NODE} cannot reach {MASTER} ({wrong}) on port {port} ({what})" in said
    assert f"That is no address of {MASTER}: correct the cluster's names." in said
    assert connected(lab) == ["cluster"]


def test_status_asks_the_lane_and_its_cluster(lab: TestLab) -> None:
    lab.run(LOGIN, "systemctl stop slurmctld")
    try:
        done = lab.cli("status")
    finally:
        lab.run(LOGIN, "systemctl start slurmctld")
    assert done.returncode != 0
    assert "the cluster of the lane cluster does not answer" in " ".join(done.stdout.split())


def test_rollback_brings_the_lanes_files_back(lab: TestLab) -> None:
    """CryoSPARC keeps its own copy, until the next apply brings the change again."""
    set_lanes(lab, "{{ lab_lane }}")
    lab.apply(*ONLY)
    before = lab.run(MASTER, f"cat {FILES}/cluster/*").stdout
    set_lanes(lab, "{{ lab_lane | combine({'setup': ['export OMP_NUM_THREADS=1']}) }}")
    lab.apply(*ONLY)
    assert lab.run(MASTER, f"cat {FILES}/cluster/*").stdout != before
    done = lab.cli("rollback", "--yes")
    assert done.returncode == 0, done.stderr
    assert lab.run(MASTER, f"cat {FILES}/cluster/*").stdout == before
    assert "cluster_script.sh" in lab.cli("plan").stdout


def test_no_lane_no_file_and_no_key(lab: TestLab) -> None:
    set_lanes(lab)
    lab.apply(*ONLY)
    assert connected(lab) == []
    assert lab.run(MASTER, f"ls {FILES}", check=False).returncode != 0
