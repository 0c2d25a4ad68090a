"""The trial of a lane: the job's program on this machine, and what its answers are taken for."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import cryosparc_lane_probe as probe
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import Result

from tests.unit.cryosparc_lanes import planned

#: A queue in which a job runs at once and to its end; what it says of others is Slurm's word.
_SLURM = {
    "sbatch": """case $STOP in
refuse) echo 'sbatch: error: invalid partition specified: gpu' >&2; exit 1 ;;
wait) ;;
lose) ;;
stale) printf 'token\tabc\nnode\tn\naddress\t::1\n' >"${1%/*}/answer" ;;
*) bash "$1" ;;
esac
echo 'Submitted batch job 42'""",
    "squeue": """echo 'JOBID PARTITION STATE REASON'
[ "$STOP" != wait ] || echo '42 gpu PENDING (Resources)'""",
    "scancel": 'echo "$1" >>"$LOG"',
    "sinfo": "true",
    # As ssh hands its words to the login's shell: the command begins after -F FILE HOST.
    "ssh": """refused='cs@login: Permission denied (publickey).'
[ "$STOP" != away ] || { echo "$refused" >&2; exit 255; }
echo "$*" >>"$LOG.ssh"
shift 3
echo "Welcome. 3 of 4 disks are full."
[ "$STOP $*" != 'uid id -u' ] || { echo 4242; exit; }
exec bash -c "$*" """,
}


class Clock:
    """Time passes only by sleeping."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Cluster:
    """Slurm's commands as small programs, and three ports of a master on this machine."""

    def __init__(self, base: Path, ports: list[int]) -> None:
        self.base, self.stop, self.clock = base, "", Clock()
        self.open = ports
        self.programs = base / "bin"
        self.projects = base / "projects"
        self.worker = base / "cryosparcw"
        for path in (self.programs, self.projects):
            path.mkdir()
        for name, text in _SLURM.items():
            program(self.programs / name, text)
        program(self.worker, "exit 2")

    def shell(self, text: str, *arguments: str, timeout: int = 0) -> Result:
        environment = {
            **os.environ,
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "STOP": self.stop,
            "LOG": str(self.base / "cancelled"),
        }
        argv = ["bash", "-c", text, "bash", *arguments]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        return Result(done.returncode, done.stdout, done.stderr)

    def faults(
        self, *, name: str = "localhost", uid: int | None = None, own: bool = True, **lane: Any
    ) -> list[probe.Fault]:
        settings = {
            "worker_bin_path": str(self.worker),
            "project_directory": str(self.projects),
            "timeout": 20,
            **lane,
        }
        plan = planned(**settings)
        tried = probe.lane_of(*(plan[key] for key in probe.Lane._fields))
        who = os.getuid() if uid is None else uid
        master = probe.Master("master", name, self.open[0] - 1, "cs", who)
        trial = probe.Trial(tried, master, self.shell, lambda _: own, self.clock)
        found: list[probe.Fault] = trial.faults()
        assert list(self.projects.iterdir()) == [], "the trial left something"
        return found


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Ports of database, API and cache, of which the test may close one."""
    with ExitStack() as stack:
        yield Cluster(tmp_path, [opened(stack, distance) for distance in (1, 2, 4)])


_BASE = 0


def opened(stack: ExitStack, distance: int) -> int:
    """A listening port at this distance from a free base."""
    global _BASE  # noqa: PLW0603
    while distance == 1 and not _free(_BASE):
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            _BASE = found.getsockname()[1]
    listener = stack.enter_context(socket.create_server(("127.0.0.1", _BASE + distance)))
    return int(listener.getsockname()[1])


def _free(base: int) -> bool:
    try:
        for distance in probe.PORTS:
            socket.create_server(("127.0.0.1", base + distance)).close()
    except OSError:
        return False
    return 0 < base < 65526


def test_a_good_lane_has_no_fault(cluster: Cluster) -> None:
    cache = cluster.base / "cache"
    cache.mkdir()
    assert cluster.faults(cache_path=str(cache), setup=["echo hello"]) == []


def test_each_closed_port_is_told_with_its_way(cluster: Cluster) -> None:
    base = cluster.open[0] - 1
    cluster.open[0] += 10  # a base at which nothing listens
    found = cluster.faults()
    node = os.uname().nodename
    for fault, (distance, what) in zip(found, probe.PORTS.items(), strict=True):
        port = base + 10 + distance
        problem = fault.problem.replace("(::1)", "(127.0.0.1)")
        assert problem == (
            f"{node} cannot reach localhost (127.0.0.1) on port {port} ({what}): Connection refused"
        )
        assert f"Open ports {base + 10} to {base + 19}" in fault.next_step
    assert "correct the cluster's names" in cluster.faults(own=False)[0].next_step


def test_a_name_that_is_not_known_is_told(cluster: Cluster) -> None:
    (fault,) = cluster.faults(name="nobody.invalid")
    assert "does not know nobody.invalid" in fault.problem


def test_another_uid_is_told(cluster: Cluster) -> None:
    (fault,) = cluster.faults(uid=59999)
    assert f"has the uid {os.getuid()}, and cs has 59999 here" in fault.problem
    assert "cryosparc_uid" in fault.next_step


@pytest.mark.parametrize("wrong", ["missing", "no program", "no interpreter"])
def test_a_worker_that_does_not_run_is_told(cluster: Cluster, wrong: str) -> None:
    if wrong == "missing":
        cluster.worker.unlink()
    elif wrong == "no program":
        cluster.worker.chmod(0o644)
    else:
        cluster.worker.write_text("#!/nowhere/bash\n")
    (fault,) = cluster.faults()
    assert f"{cluster.worker} does not run" in fault.problem


def test_a_cache_that_is_missing_is_told(cluster: Cluster) -> None:
    (fault,) = cluster.faults(cache_path="/nowhere/cache")
    assert "cannot write to the cache /nowhere/cache" in fault.problem


def test_all_faults_are_told_at_once(cluster: Cluster) -> None:
    cluster.worker.unlink()
    assert len(cluster.faults(name="nobody.invalid", uid=59999, cache_path="/nowhere")) == 4


def test_a_job_that_is_refused_is_told(cluster: Cluster) -> None:
    cluster.stop = "refuse"
    (fault,) = cluster.faults()
    assert "takes no job: " in fault.problem and "invalid partition" in fault.problem
    assert "sinfo" in fault.next_step


def test_a_job_that_waits_too_long_is_taken_back(cluster: Cluster) -> None:
    cluster.stop = "wait"
    (fault,) = cluster.faults()
    assert "job 42 has not come to its end within 20 s" in fault.problem
    assert "42 gpu PENDING (Resources)" in fault.problem and 20 <= cluster.clock.now < 26
    assert (cluster.base / "cancelled").read_text() == "42\n"


def test_a_job_without_an_answer_tells_of_the_projects(cluster: Cluster) -> None:
    cluster.stop = "lose"
    (fault,) = cluster.faults()
    assert "job 42 has ended and left no answer" in fault.problem
    assert f"Have {cluster.projects} on every node" in fault.next_step


def test_projects_that_cannot_be_written_to_are_told(cluster: Cluster) -> None:
    wrong = cluster.base / "file"
    wrong.touch()
    (fault,) = cluster.faults(project_directory=str(wrong))
    assert f"cs cannot write to {wrong} on master" in fault.problem


def test_a_script_that_bash_refuses_is_told(cluster: Cluster) -> None:
    (fault,) = cluster.faults(setup=["if true"])
    assert "its script is no program of bash" in fault.problem


def remote(cluster: Cluster) -> list[probe.Fault]:
    return cluster.faults(login="cs@login.example.org")


def test_a_cluster_behind_a_login_is_asked_there(cluster: Cluster) -> None:
    assert remote(cluster) == []
    sent = (cluster.base / "cancelled.ssh").read_text().splitlines()
    way = "-F /etc/lanes/gpu/ssh_config login.example.org"
    script = cluster.projects / ".cloudlet-probe-gpu" / "script.sh"
    assert sent == [f"{way} id -u", f"{way} sbatch {script}"]


def test_a_login_that_lets_nobody_in_is_told(cluster: Cluster) -> None:
    cluster.stop = "away"
    (fault,) = remote(cluster)
    assert "its login lets nobody in: cs@login: Permission denied (publickey)." in fault.problem
    assert "ssh_config login.example.org sinfo" in fault.next_step


def test_a_login_with_another_uid_is_told_before_a_job(cluster: Cluster) -> None:
    cluster.stop = "uid"
    (fault,) = remote(cluster)
    assert "has the uid 4242" in fault.problem and os.uname().nodename in fault.problem
    assert "sbatch" not in (cluster.base / "cancelled.ssh").read_text()


def test_what_an_earlier_trial_left_is_no_answer(cluster: Cluster) -> None:
    left = cluster.projects / ".cloudlet-probe-gpu"
    left.mkdir()
    (left / "answer").write_text("token\tabc\n")
    assert cluster.faults() == []


def test_what_an_earlier_job_says_late_is_no_answer(cluster: Cluster) -> None:
    cluster.stop = "stale"
    (fault,) = cluster.faults()
    assert "job 42 has ended and left no answer" in fault.problem


@pytest.mark.parametrize(
    ("state", "ended"),
    [
        (Result(0, "JOBID\n42 gpu R\n", ""), False),
        (Result(0, "JOBID\n", ""), True),
        (Result(0, "JOBID\n142 gpu R\n", ""), True),
        (Result(1, "", "slurm_load_jobs error: Invalid job id specified"), True),
        (Result(255, "", "ssh: connect to host login: Connection refused"), False),
    ],
)
def test_a_job_has_ended_when_the_queue_says_so(state: Result, ended: bool) -> None:
    assert probe.has_ended(state, "42") is ended
