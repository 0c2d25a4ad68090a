"""The role ``cryosparc_lane`` in check mode, and its module with small programs for its world."""

from __future__ import annotations

import getpass
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from oldest_python import PYTHON

pytestmark = pytest.mark.slow

Run = Callable[..., Any]
KEY_LINE = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVo="
LANE = {
    "name": "gpu",
    "login": "cs@login.example.org",
    "known_hosts": ["login.example.org ssh-ed25519 AAAA"],
    "worker_bin_path": "/opt/cryosparc_worker/bin/cryosparcw",
    "project_directory": "/srv/projects",
    "options": ["--comment={cryosparc_username}"],
}
DIRECTORY = "/etc/cloudlet-deploy/cryosparc_lane/gpu"


def _role(sets: list[str], tasks: str = "", **settings: Any) -> list[dict[str, Any]]:
    facts = {"os_family": "Debian", "cloudlet_sets": sets, "cacheable": True}
    given = {
        "cryosparc_account": "root",
        **settings,
        **({"cloudlet_tasks": tasks} if tasks else {}),
    }
    role = {"name": "cloudlet.deploy.cryosparc_lane"}
    return [
        {"ansible.builtin.set_fact": facts},
        {"ansible.builtin.include_role": role, "vars": given},
    ]


def _lane(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    path = tmp_path / "lane.key"
    begin, end = (f"-----{word} OPENSSH " + "PRIVATE KEY-----" for word in ("BEGIN", "END"))
    path.write_text(f"{begin}\n{KEY_LINE}\n{end}\n")
    path.chmod(0o600)
    return {**LANE, "key_file": str(path), **changes}


@pytest.mark.one_core
@pytest.mark.parametrize("tasks", ["", "needs"])
def test_without_a_lane_nothing_is_done(run_tasks: Run, tasks: str) -> None:
    results = run_tasks(_role([], tasks), check=True)
    assert results.returncode == 0, results.output
    assert not any("changes" in one for one in results)


@pytest.mark.one_core
def test_lanes_that_were_there_are_undone(run_tasks: Run) -> None:
    results = run_tasks(_role(["cryosparc_lane"]), check=True)
    assert results.returncode == 0, results.output
    assert [one["changes"] for one in results if "changes" in one] == [[], [], []]


def test_the_masters_templates_survive_ours(run_tasks: Run, tmp_path: Path) -> None:
    lane = _lane(tmp_path)
    results = run_tasks(_role([], cryosparc_lane_clusters=[lane]), check=True, diff=True)
    assert results.returncode == 0, results.output
    (files,) = [one for one in results if "generation" in one]
    texts = {one["after_header"]: one["after"] for one in files["diff"]}
    script = next(text for name, text in texts.items() if name.endswith("cluster_script.sh"))
    assert "#SBATCH --mem={{ (ram_gb * 1000) | int }}M\n" in script
    assert "#SBATCH --comment={{ cryosparc_username }}\n" in script
    assert script.endswith("{{ run_cmd }}\n")
    info = json.loads(next(t for name, t in texts.items() if name.endswith("cluster_info.json")))
    assert (
        info["send_cmd_tpl"] == f"ssh -F {DIRECTORY}/ssh_config login.example.org {{{{ command }}}}"
    )
    (planned,) = [c for one in results for c in one.get("changes", []) if c["kind"] == "lane"]
    assert (planned["name"], planned["action"]) == ("gpu", "create")
    assert KEY_LINE not in results.output and not any(KEY_LINE in str(one) for one in results)


def test_a_script_that_bash_refuses_is_not_written(run_tasks: Run, tmp_path: Path) -> None:
    lane = _lane(tmp_path, setup=["if true"])
    results = run_tasks(_role([], cryosparc_lane_clusters=[lane]), check=True)
    assert results.returncode and "syntax error" in results[-1]["msg"]


def test_lanes_that_cannot_work_are_refused(run_tasks: Run, tmp_path: Path) -> None:
    lane = _lane(tmp_path, options=["--comment={user}"])
    results = run_tasks(_role([], cryosparc_lane_clusters=[lane, lane]), check=True)
    assert "user is no variable of CryoSPARC's" in results[-1]["msg"]
    assert "a name that is there before" in results[-1]["msg"]


def test_status_asks_for_each_lane(run_tasks: Run, tmp_path: Path) -> None:
    lane = _lane(tmp_path)
    results = run_tasks(_role([], "needs", cryosparc_lane_clusters=[lane]), check=True)
    (needs,) = [one for one in results if "cloudlet_needs" in one.get("ansible_facts", {})]
    found = needs["ansible_facts"]["cloudlet_needs"]["cryosparc_lane"]
    assert found["packages"] == ["openssh-client"]
    connected, answers = found["probes"]
    assert connected["argv"][-1] == "gpu" and "cluster list" in connected["argv"][-3]
    assert answers["argv"][-1] == f"ssh -F {DIRECTORY}/ssh_config login.example.org sinfo"


# --- the module


_PROGRAMS = {
    "cryosparcm": """cd "$PWD"; lanes=$0.lanes; touch "$lanes"
case $1.$2 in
cluster.list) printf 'name\\n'; cat "$lanes" ;;
cluster.connect) test -f cluster_script.sh && basename "$PWD" >>"$lanes" ;;
cluster.remove) sed -i "/^$3$/d" "$lanes" ;;
*) exit 2 ;;
esac""",
    "sbatch": 'echo "$1" >>"$0.log"; bash "$1" && echo "Submitted batch job 7"',
    "squeue": "echo JOBID",
    "scancel": "true",
    "sinfo": "true",
    "cryosparcw": "true",
}


@pytest.fixture
def world(tmp_path: Path) -> Path:
    for name, text in _PROGRAMS.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)
    for name in ("gpu", "projects"):
        (tmp_path / name).mkdir()
    (tmp_path / "gpu" / "cluster_script.sh").touch()
    return tmp_path


def _call(world: Path, base: int, **changes: Any) -> dict[str, Any]:
    info = {
        "name": "gpu",
        "worker_bin_path": str(world / "bin" / "cryosparcw"),
        "cache_path": "",
        "send_cmd_tpl": "{{ command }}",
        "qsub_cmd_tpl": "sbatch {{ script_path_abs }}",
        "qstat_cmd_tpl": "squeue -j {{ cluster_job_id }}",
        "qdel_cmd_tpl": "scancel {{ cluster_job_id }}",
        "qinfo_cmd_tpl": "sinfo",
    }
    lane = {
        "name": "gpu",
        "directory": str(world / "gpu"),
        "info": json.dumps(info),
        "script": "#!/bin/bash\n{{ run_cmd }}\n",
        "project_directory": str(world / "projects"),
    }
    # From a file: in a playbook the master's templates would be Ansible's.
    path = world / "lanes.json"
    path.write_text(json.dumps([lane]))
    given = {
        "component": "cryosparc_lane",
        "account": getpass.getuser(),
        "uid": os.getuid(),
        "hostname": "localhost",
        "port": base,
        "master": str(world / "bin" / "cryosparcm"),
        "lanes": f"{{{{ lookup('ansible.builtin.file', '{path}') | from_json }}}}",
        "state_dir": str(world / "state"),
        **changes,
    }
    return {"cloudlet.deploy.cryosparc_lane": given, "ignore_errors": True}


@pytest.mark.skipif(os.getuid() != 0, reason="only root becomes another account")
def test_a_lane_comes_and_goes_as_planned(run_tasks: Run, world: Path) -> None:
    with socket.create_server(("", 0)) as first:
        base = first.getsockname()[1] - 1
        with socket.create_server(("", base + 2)), socket.create_server(("", base + 4)):
            calls = [
                {**_call(world, base), "check_mode": True},
                _call(world, base),
                _call(world, base),
                _call(world, base, uid=59999),
                {**_call(world, base, lanes=[]), "check_mode": True},
                _call(world, base, lanes=[]),
                _call(world, base, state="absent"),
            ]
            environment = {"PATH": f"{world / 'bin'}:{os.environ['PATH']}"}
            results = run_tasks(calls, python=PYTHON, environment=environment)
    assert all("changes" in one for one in results), results.output
    told = [[(c["name"], c["action"]) for c in one["changes"]] for one in results]
    created, removed = [("gpu", "create")], [("gpu", "remove")]
    assert told == [created, created, [], [], removed, removed, []], results.output
    assert "it stays connected as it was" in results[3]["msg"]
    assert "uid" in results[3]["msg"] and "cryosparc_uid" in results[3]["next_step"]
    # One job for the connection and one for the other uid: none for a plan, none for no change.
    jobs = (world / "bin" / "sbatch.log").read_text().splitlines()
    assert jobs == [str(world / "projects" / ".cloudlet-probe-gpu" / "script.sh")] * 2
    assert list((world / "projects").iterdir()) == []
    assert (world / "bin" / "cryosparcm.lanes").read_text() == ""
