"""The tether: exit codes, and nothing left when it or its parent ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cloudlet_deploy.run import tether

#: A parent that starts the tether as the launcher does, and then waits.
_PARENT = """
import os, subprocess, sys, time
subprocess.Popen([sys.executable, sys.argv[1], f"--parent={os.getpid()}", *sys.argv[2:]])
time.sleep(60)
"""

#: Leaves an orphan in a session of its own that ignores polite signals, as Ansible's workers may.
_STUBBORN = (
    "trap '' INT TERM HUP; (setsid sh -c 'trap \"\" INT TERM HUP; sleep 61; sleep 61' &); sleep 62"
)


def _argv(scratch: Path, *command: str) -> list[str]:
    return [
        *(sys.executable, str(tether.__file__), f"--parent={os.getpid()}"),
        *(f"--scratch={scratch}", "--", *command),
    ]


def _alive(pids: list[int]) -> list[int]:
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            found += [pid] if state not in "ZX" else []
    return found


def _wait_for(pid: int, number: int) -> list[int]:
    deadline = time.monotonic() + 10
    while len(pids := tether.offspring(pid)) < number:
        assert time.monotonic() < deadline, pids
        time.sleep(0.02)
    return pids


@pytest.mark.parametrize(
    ("command", "code"), [("exit 0", 0), ("exit 4", 4), ("kill -KILL $$", 128 + 9)]
)
def test_exit_code_is_that_of_the_command(tmp_path: Path, command: str, code: int) -> None:
    done = subprocess.run(_argv(tmp_path, "sh", "-c", command), check=False, timeout=10)
    assert done.returncode == code
    assert tmp_path.exists()


def test_command_that_is_not_there(tmp_path: Path) -> None:
    done = subprocess.run(
        _argv(tmp_path, "/nosuch"), check=False, capture_output=True, text=True, timeout=10
    )
    assert done.returncode == 127
    assert "/nosuch cannot be started" in done.stderr


def test_command_has_its_own_session_and_nothing_to_read(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; print(os.getsid(0) == os.getpid(), repr(sys.stdin.read()),"
        " signal.pthread_sigmask(signal.SIG_BLOCK, []))"
    )
    done = subprocess.run(
        _argv(tmp_path, sys.executable, "-c", script),
        check=True,
        capture_output=True,
        text=True,
        timeout=10,
        input="typed",
    )
    assert done.stdout == "True '' set()\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_ends_all_offspring(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(_argv(tmp_path, "sh", "-c", _STUBBORN)) as process:
        pids = _wait_for(process.pid, 4)
        process.send_signal(number)
        assert process.wait(timeout=3) == 130
        assert _alive(pids) == []


def test_death_of_the_parent_ends_all_and_removes_the_scratch(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (scratch / "secret").write_text("x")
    rest = [f"--scratch={scratch}", "--", "sh", "-c", _STUBBORN]
    with subprocess.Popen([sys.executable, "-c", _PARENT, str(tether.__file__), *rest]) as parent:
        pids = _wait_for(parent.pid, 5)
        parent.kill()
        parent.wait(timeout=5)
        deadline = time.monotonic() + 3
        while (left := _alive(pids)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert left == []
    assert not scratch.exists()


def test_death_of_the_tether_ends_the_command(tmp_path: Path) -> None:
    with subprocess.Popen(_argv(tmp_path, "sleep", "63")) as process:
        pids = _wait_for(process.pid, 1)
        process.kill()
        process.wait(timeout=5)
        deadline = time.monotonic() + 2
        while (left := _alive(pids)) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert left == []


def test_parent_that_died_before_the_start(tmp_path: Path) -> None:
    argv = [arg if not arg.startswith("--parent") else "--parent=1" for arg in _argv(tmp_path)]
    marker = tmp_path.parent / f"{tmp_path.name}-ran"
    done = subprocess.run([*argv, "touch", str(marker)], check=False, timeout=10)
    assert done.returncode == 130
    assert not marker.exists()
    assert not tmp_path.exists()
