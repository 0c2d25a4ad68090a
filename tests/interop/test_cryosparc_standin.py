"""CryoSPARC's stand-in by itself: its installers, its commands, its ports, and a live session."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudlet_deploy.lab import cryosparc
from cloudlet_deploy.lab.standin.cryosparc.program import templates

from .door import free_ports

OLD, NEW, SERIES_4 = cryosparc.VERSIONS
LICENSE = cryosparc.LICENSE
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another account needs root")


class Account:
    """Installations of the stand-in in a directory of the account nobody."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.base = free_ports(10)
        entry = pwd.getpwnam("nobody")
        self.as_account = ["setpriv", f"--reuid={entry.pw_uid}", f"--regid={entry.pw_gid}",
                           "--clear-groups", "env", f"HOME={home}"]  # fmt: skip
        os.chown(home, entry.pw_uid, entry.pw_gid)

    def run(
        self, *words: str | Path, check: bool = True, directory: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*self.as_account, *words],
            cwd=directory or self.home,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=120,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def unpack(self, version: str, part: str) -> Path:
        target = self.home / version
        self.run("mkdir", "-p", target)
        archive = self.home / f"{part}-{version}.tar.gz"
        archive.write_bytes(cryosparc.archive(part, version))
        self.run("tar", "-xzf", archive, "-C", target)
        return target / f"cryosparc_{part}"

    def install(self, version: str) -> Path:
        """Master and worker; returns the master's program."""
        master, worker = (self.unpack(version, part) for part in cryosparc.PARTS)
        self.run(master / "install.sh", "--license", LICENSE, "--hostname", "localhost",
                 "--port", str(self.base), "--dbpath", self.home / "database", "--yes")  # fmt: skip
        self.run(worker / "install.sh", "--license", LICENSE, "--yes", "--nogpu")
        return master / "bin" / "cryosparcm"

    def crash(self) -> None:
        """Its supervisor is killed, and then what that leaves behind."""
        for name in ("cryosparc_standin.supervisor", "cryosparc_standin.services"):
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    words = (process / "cmdline").read_bytes()
                    ours = str(self.home).encode() in (process / "environ").read_bytes()
                except OSError:
                    continue
                if ours and name.encode() in words:
                    os.kill(int(process.name), signal.SIGKILL)


@pytest.fixture
def account() -> Iterator[Account]:
    # A path that nobody can get to, and that is short enough for CryoSPARC.
    home = Path(f"/tmp/cs-{os.getpid()}")
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    own = Account(home)
    try:
        yield own
    finally:
        own.crash()
        shutil.rmtree(home)


def _await(what: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.2)


def test_equal_sources_give_equal_archives() -> None:
    assert cryosparc.archive("master", OLD) == cryosparc.archive("master", OLD)
    assert cryosparc.checksum("master", OLD) != cryosparc.checksum("master", NEW)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--license", "none"], "license"),
        (["--license", LICENSE], "no GPU"),
        (["--license", LICENSE, "--gpus"], "unknown argument"),
    ],
)
def test_an_installer_that_refuses(account: Account, words: list[str], told: str) -> None:
    worker = account.unpack(OLD, "worker")
    done = account.run(worker / "install.sh", "--yes", *words, check=False)
    assert done.returncode == 1
    assert told in done.stderr


def test_a_master_runs_and_is_upgraded(account: Account) -> None:
    old = account.install(OLD)
    account.run(old, "start")
    for port in range(account.base, account.base + 10):
        socket.create_connection(("localhost", port), 5).close()
    for port in (account.base, account.base + 2):
        assert urllib.request.urlopen(f"http://localhost:{port}/", timeout=5).status == 200
    account.run(old, "user", "create", "--email", "a@b.c", "--username", "a", "--firstname", "A",
                "--lastname", "B", "--password", "quiet")  # fmt: skip
    assert account.run(old, "createuser", check=False).returncode != 0
    account.run(old, "backup", "--dir", account.home, "--file", "one")
    account.run(old, "stop")
    new = account.install(NEW)
    account.run(new, "start")
    assert "a@b.c" in account.run(new, "user", "list").stdout
    account.run(new, "restore", "--file", account.home / "one")
    account.run(new, "stop")
    # What the newer one has opened the older one cannot.
    refused = account.run(old, "start", check=False)
    assert refused.returncode == 1
    assert NEW in refused.stderr


def test_version_4_has_its_own_words(account: Account) -> None:
    manager = account.install(SERIES_4)
    account.run(manager, "start")
    account.run(manager, "createuser", "--email", "a@b.c", "--username", "a", "--firstname", "A",
                "--lastname", "B", "--password", "quiet")  # fmt: skip
    assert "a@b.c" in account.run(manager, "listusers").stdout
    assert account.run(manager, "user", "list", check=False).returncode != 0
    account.run(manager, "stop")


def test_a_crash_leaves_a_socket_that_bars_the_next_start(account: Account) -> None:
    manager = account.install(OLD)
    account.run(manager, "start")
    account.crash()
    refused = account.run(manager, "start", check=False)
    assert refused.returncode == 1
    assert "stale socket" in refused.stderr
    path = Path(refused.stderr.partition("unix://")[2].split()[0])
    path.unlink()
    account.run(manager, "start")
    account.run(manager, "stop")
    assert not path.exists()


def test_a_session_sends_what_is_new_through_a_lane(account: Account) -> None:
    """Movies that failed, and jobs that went without a word, are sent again."""
    manager = account.install(OLD)
    account.run(manager, "start")
    lane, raw, project = (account.home / name for name in ("lane", "raw", "project"))
    account.run("mkdir", lane, raw, project)
    worker = manager.parents[2] / "cryosparc_worker" / "bin" / "cryosparcw"
    # A queue of one shell: it loses its first job.
    queue = account.home / "qsub"
    queue.write_text(
        "#!/bin/sh\necho Submitted batch job $$\n"
        f"if mkdir {account.home}/first 2>/dev/null; then exit; fi\n"
        "setsid sh $1 >/dev/null 2>&1 </dev/null &\n"
    )
    queue.chmod(0o755)
    (lane / "cluster_info.json").write_text(
        json.dumps(
            {
                "name": "toy",
                "worker_bin_path": str(worker),
                "cache_path": "",
                "send_cmd_tpl": "env A=b {{ command }}",
                "qsub_cmd_tpl": f"{queue} {{{{ script_path_abs }}}}",
                "qstat_cmd_tpl": "ps -o pid= {{ cluster_job_id }}",
                "qdel_cmd_tpl": "kill {{ cluster_job_id }}",
                "qinfo_cmd_tpl": "true",
            }
        )
    )
    script = "#!/bin/sh\n#SBATCH --mem={{ (ram_gb * 1000) | int }}M\n{{ run_cmd }}\n"
    (lane / "cluster_script.sh").write_text(script)
    account.run(manager, "cluster", "connect", directory=lane)
    assert "toy" in account.run(manager, "cluster", "list").stdout
    movies = [f"m{number}" for number in range(3)]
    for name in movies:
        (raw / f"{name}.mrc").write_bytes(os.urandom(200000))
    account.run(manager, "standin-session", "start", "--raw", raw, "--project", project,
                "--lane", "toy")  # fmt: skip
    outputs = [project / "S1" / f"{name}_patch_aligned.mrc" for name in movies]
    _await(lambda: all(output.exists() for output in outputs))
    _await(lambda: "\t3\t" in account.run(manager, "standin-session", "list").stdout)
    assert "#SBATCH --mem=1000M" in (project / "J1" / "queue_sub_script.sh").read_text()
    account.run(manager, "standin-session", "stop")
    account.run(manager, "cluster", "remove", "toy")
    account.run(manager, "stop")


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{{ a }} {{a}}", "4 4"),
        ("{{ (a * 1.5 * 1000) | int }}M", "6000M"),
        ("{{ a // 3 + 1 }}", "2"),
        ("no place", "no place"),
    ],
)
def test_templates_that_scripts_use(text: str, filled: str) -> None:
    assert templates.fill(text, {"a": 4}) == filled


@pytest.mark.parametrize(
    "text", ["{{ b }}", "{{ a | upper }}", "{{ __import__('os') }}", "{{ a( }}"]
)
def test_templates_that_are_refused(text: str) -> None:
    with pytest.raises(templates.TemplateError):
        templates.fill(text, {"a": 4})
