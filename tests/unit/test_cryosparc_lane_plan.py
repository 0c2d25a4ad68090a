"""What a lane becomes: CryoSPARC's two files, and ssh's."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.filter import cryosparc_lane_plan
from ansible_collections.cloudlet.deploy.plugins.module_utils.cryosparc_lane_template import fill

from tests.unit.cryosparc_lanes import LANE, REMOTE, planned

#: All keys that CryoSPARC asks for.
KEYS = {
    "name",
    "worker_bin_path",
    "cache_path",
    *(f"{what}_tpl" for what in ("send_cmd", "qsub_cmd", "qstat_cmd", "qdel_cmd", "qinfo_cmd")),
    "transfer_cmd_tpl",
}


def options(lane: dict[str, Any]) -> list[str]:
    """What sbatch reads of a lane's script: the lines before the first command."""
    lines = lane["script"].splitlines()
    assert lines[0].startswith("#!") and lines[-1] == "{{ run_cmd }}"
    return [line[8:] for line in lines if line.startswith("#SBATCH ")]


def test_a_local_lane_has_all_that_cryosparc_asks_for() -> None:
    lane = planned()
    info = json.loads(lane["info"])
    assert set(info) == KEYS and info["name"] == "gpu"
    assert fill(info["send_cmd_tpl"], {"command": "squeue -j 7"}) == "squeue -j 7"
    assert not lane["remote"] and lane["ssh_config"] == ""
    assert options(lane) == [
        "--job-name=cryosparc_{{ project_uid }}_{{ job_uid }}",
        "--nodes=1",
        "--ntasks=1",
        "--cpus-per-task={{ num_cpu }}",
        "--mem={{ (ram_gb * 1000) | int }}M",
        "--gres=gpu:{{ num_gpu }}",
        "--output={{ job_dir_abs }}/slurm.out",
    ]


def test_a_lane_may_ask_for_more() -> None:
    lane = planned(
        partition="p1",
        account="em",
        qos="high",
        gres="gpu:a100",
        cpu_factor=2,
        memory_factor=1.5,
        options=["--time=12:00:00", "--comment={job_creator}"],
        setup=["module load ${CUDA}"],
    )
    found = options(lane)
    assert {"--partition=p1", "--account=em", "--qos=high", "--time=12:00:00"} < set(found)
    assert "--comment={{ job_creator }}" in found
    values = {"num_cpu": 3, "ram_gb": 8, "num_gpu": 2}
    filled = [fill(option, values) for option in found if "num_" in option or "ram" in option]
    assert filled == ["--cpus-per-task=6", "--mem=12000M", "--gres=gpu:a100:2"]
    assert lane["script"].endswith("module load ${CUDA}\n{{ run_cmd }}\n")
    assert not any("gres" in option for option in options(planned(gres="")))


def test_ssh_reads_the_way_to_a_login(tmp_path: Path) -> None:
    lane = planned(**{**REMOTE, "port": 2222})
    info = json.loads(lane["info"])
    assert info["send_cmd_tpl"].endswith("/gpu/ssh_config login.example.org {{ command }}")
    path = tmp_path / "ssh_config"
    path.write_text(lane["ssh_config"])
    command = ["ssh", "-G", "-F", str(path), "login.example.org"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert {
        "user cs",
        "port 2222",
        "identityfile /etc/lanes/gpu/key",
        "userknownhostsfile /etc/lanes/gpu/known_hosts",
        "globalknownhostsfile /dev/null",
        "stricthostkeychecking true",
        "identitiesonly yes",
        "batchmode yes",
    } < set(said)


@pytest.mark.parametrize("lane", [LANE, REMOTE])
def test_a_good_lane_has_no_fault(lane: dict[str, Any]) -> None:
    more = {
        "options": ["--time=1:00:00", "--comment={cryosparc_username}"],
        "setup": ["export N={num_gpu} T=${TMPDIR}", "awk '{ print }' /dev/null"],
        "cache_path": "/scratch",
        "cpu_factor": 1.5,
    }
    assert cryosparc_lane_plan.lane_faults([{**lane, **more}]) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": "a b"}, "a name that cannot be one"),
        ({"name": "default"}, "a name of CryoSPARC's own"),
        ({"worker_bin_path": "cryosparcw"}, "the worker_bin_path cryosparcw"),
        ({"project_directory": "/a b"}, "the project_directory '/a b'"),
        ({"project_directory": "/"}, "the project_directory /"),
        ({"cache_path": "$HOME"}, "the cache_path '$HOME'"),
        ({"partition": "a;b"}, "the partition 'a;b'"),
        ({"cpu_factor": 0.0}, "the cpu_factor 0.0"),
        ({"memory_factor": 101}, "the memory_factor 101"),
        ({"options": ["-p gpu"]}, "the option '-p gpu'"),
        ({"options": ["--mem=4G"]}, "the option --mem"),
        ({"options": ["--a=1\nrm"]}, "a line break in options"),
        ({"options": ["--comment={user}"]}, "user is no variable of CryoSPARC's"),
        ({"setup": ["{% if a %}"]}, "in setup {%"),
        ({"login": "login.example.org"}, "the login login.example.org"),
        ({"login": "a@b -o x"}, "the login 'a@b -o x'"),
        ({"login": "a@b", "known_hosts": ["b k"]}, "a login and not one key"),
        ({**REMOTE, "key": "x"}, "a login and not one key"),
        ({**REMOTE, "known_hosts": []}, "no key of login.example.org in known_hosts"),
        ({**REMOTE, "port": 23}, "no key of [login.example.org]:23 in known_hosts"),
    ],
)
def test_a_lane_that_cannot_work_is_told(change: dict[str, Any], told: str) -> None:
    (found,) = cryosparc_lane_plan.lane_faults([{**LANE, **change}])
    assert found.startswith("cryosparc_lane_clusters has in ") and told in found


def test_a_name_is_there_once() -> None:
    (found,) = cryosparc_lane_plan.lane_faults([LANE, LANE])
    assert "a name that is there before" in found
