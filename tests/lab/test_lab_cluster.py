"""The lab's cluster: Slurm takes the account's jobs on its node, and hosts share the projects."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator

import pytest

from cloudlet_deploy import content
from cloudlet_deploy import lab as labs
from cloudlet_deploy.lab import cluster
from tests.lab.conftest import TestLab, made

pytestmark = pytest.mark.lab
LOGIN, NODE = "login.lab.test", "node1.lab.test"


@pytest.fixture(scope="module")
def lab() -> Iterator[TestLab]:
    source = content.root() / "inventories" / "lab-cryosparc"
    with made("t-lab-cluster", "--from", str(source), "--hosts", "lab_cluster") as hosts:
        yield hosts


def as_account(lab: TestLab, command: str) -> str:
    """What a shell command of the jobs' account says on the login host."""
    return lab.run(LOGIN, f"su - {cluster.ACCOUNT}", stdin=command).stdout


def test_a_job_runs_on_the_node_as_the_account(lab: TestLab) -> None:
    said = as_account(lab, "srun sh -c 'uname -n; id -u; id -un'")
    assert said.split() == [NODE, str(cluster.ACCOUNT_UID), cluster.ACCOUNT]


def test_a_batch_job_leaves_its_output_in_the_projects(lab: TestLab) -> None:
    output = f"{cluster.PROJECTS}/out"
    script = "#!/bin/sh\nuname -n\necho $CUDA_VISIBLE_DEVICES\n"
    lab.run(LOGIN, "cat >/tmp/job.sh", stdin=script)
    said = as_account(lab, f"sbatch --gres=gpu:2 --output={output} /tmp/job.sh")
    assert said.startswith("Submitted batch job ")
    deadline = time.monotonic() + 20
    while (found := lab.run(NODE, f"cat {output}", check=False).stdout.split()) != [NODE, "0,1"]:
        assert time.monotonic() < deadline, found
        time.sleep(0.2)


def test_it_counts_processors_memory_and_gpus(lab: TestLab) -> None:
    for option in ("--cpus-per-task=5", "--mem=9G", "--gres=gpu:3"):
        asked = f"su {cluster.ACCOUNT} -c 'timeout 20 srun {option} true'"
        done = lab.run(LOGIN, asked, check=False)
        assert done.returncode == 1 and "Unable to allocate" in done.stderr, done.stderr


def test_each_host_runs_its_part_alone(lab: TestLab) -> None:
    for host, active in {LOGIN: "slurmctld", NODE: "slurmd"}.items():
        assert lab.run(host, "systemctl is-system-running").stdout == "running\n"
        said = lab.run(host, "systemctl is-active munge slurmctld slurmd", check=False)
        found = dict(zip(("munge", "slurmctld", "slurmd"), said.stdout.split(), strict=True))
        assert {name for name, state in found.items() if state == "active"} == {"munge", active}


def test_munge_has_the_labs_own_key(lab: TestLab) -> None:
    key = (lab.site / ".lab" / "munge.key").read_bytes()
    digest = hashlib.sha256(key).hexdigest()
    for host in (LOGIN, NODE):
        path = cluster.MUNGE_KEY
        said = lab.run(host, f"sha256sum {path}; stat -c '%a %U' {path}").stdout
        assert said.splitlines() == [f"{digest}  {path}", "400 munge"]


def test_a_killed_node_takes_jobs_again(lab: TestLab) -> None:
    labs.kill(lab.name, NODE)
    labs.start(lab.name, NODE)
    said = lab.run(LOGIN, f"su {cluster.ACCOUNT} -c 'timeout 60 srun uname -n'").stdout
    assert said == f"{NODE}\n"
