"""A signal in every phase of an apply: exit code 130, a last word, no process, what to do next.

The phases in which Ansible works on the site itself are in ``test_run_apply``.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cloudlet_deploy.run.tether import offspring
from tests.contract.toy import Toy

# The command line's own doing; that Ansible itself can be stopped is in ``test_run_apply``.
pytestmark = [pytest.mark.slow, pytest.mark.one_core]


def until(true: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def asking_for_hosts(process: subprocess.Popen[str]) -> bool:
    """Whether the lease's playbook is at work."""
    for pid in offspring(process.pid):
        with contextlib.suppress(OSError):
            if b"playbooks/lease.yml" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return True
    return False


@contextlib.contextmanager
def lock_held(toy: Toy, host: str) -> Iterator[None]:
    """Have every module wait for the lock of ``host``."""
    directory = toy.leases / host
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def state_of(toy: Toy) -> tuple[str, int, str]:
    record = toy.record()
    return record["state"], record["exit_code"], record["phase"]


def interrupt(process: subprocess.Popen[str], number: signal.Signals) -> str:
    """Send the signal; returns what was said on standard error. Nothing must be left."""
    pids = offspring(process.pid)
    os.kill(process.pid, number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130, err
    deadline = time.monotonic() + 3
    while (left := [pid for pid in pids if Path(f"/proc/{pid}").exists()]) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.05)
    assert left == []
    return " ".join(err.split())


@pytest.mark.parametrize("how", ["Ctrl-C", "TERM", "hangup"])
def test_at_the_question(toy: Toy, how: str) -> None:
    master, terminal = pty.openpty()
    process = subprocess.Popen(
        toy.argv("apply"),
        env=toy.environment(),
        cwd=toy.base,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
        # Only with a terminal of its own is there a hangup; this process has no threads.
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509
    )
    os.close(terminal)
    said = b""
    deadline = time.monotonic() + 90
    while b"Apply?" not in said:
        assert time.monotonic() < deadline, said
        if select.select([master], [], [], 0.2)[0]:
            said += os.read(master, 65536)
    if how == "hangup":
        os.close(master)
        assert process.wait(20) == 130
    else:
        # Python may lose a signal of the moment before it reads: like a user, say it again.
        while process.poll() is None:
            assert time.monotonic() < deadline + 20, said
            if how == "Ctrl-C":
                os.write(master, b"\x03")
            else:
                process.terminate()
            with contextlib.suppress(OSError):  # the terminal's end
                while select.select([master], [], [], 5)[0]:
                    said += os.read(master, 65536)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
        assert process.returncode == 130, said
        assert b"Nothing was changed." in said
        os.close(master)
    assert state_of(toy) == ("interrupted", 130, "plan")
    assert not toy.files()
    assert not toy.leftovers()


def test_while_the_hosts_are_asked_for(toy: Toy) -> None:
    with lock_held(toy, "two"), toy.start("apply", "--yes") as process:
        # The first host is taken, the second lets us wait.
        until((toy.leases / "one" / "lease.json").exists, process)
        err = interrupt(process, signal.SIGINT)
    assert "Interrupted" in err
    assert "Nothing was changed." in err
    assert state_of(toy) == ("interrupted", 130, "plan")
    assert not toy.files()
    assert not (toy.leases / "one").exists(), "the first host was not given back as it was"


def test_while_the_hosts_are_given_back(toy: Toy) -> None:
    toy.set(beta_nap=2)
    with toy.start("apply", "--yes") as process:
        until((toy.leases / "two" / "lease.json").exists, process)
        with lock_held(toy, "two"):
            until(lambda: not asking_for_hosts(process), process)
            until(lambda: asking_for_hosts(process), process)
            until(lambda: not (toy.leases / "one").exists(), process)
            err = interrupt(process, signal.SIGTERM)
    assert "two: lease not given back: interrupted." in err
    assert "Interrupted while the hosts were given back." in err
    assert state_of(toy) == ("interrupted", 130, "change")
    assert set(toy.files()) == {"one.conf", "two.conf"}
    # All was made before; the lease of a process that is gone bars nobody.
    assert "left nothing undone" in toy.run("apply", "--resume").stdout
    toy.set(alpha_word="bye", beta_nap=0)
    done = toy.run("apply", "--yes")
    assert done.returncode == 0, done.stderr
    assert "two: lease taken over from run" in " ".join(done.stderr.split())
    assert not any(toy.leases.iterdir())


def test_an_interrupted_change_says_how_to_go_on(toy: Toy) -> None:
    toy.set(beta_nap=60)
    with toy.start("apply", "--yes") as process:
        until(lambda: len(toy.files()) == 2, process)
        err = interrupt(process, signal.SIGHUP)
    assert f"'cloudlet-deploy apply -i {toy.inventory} --resume' does the rest." in err
    assert state_of(toy) == ("interrupted", 130, "change")
    assert not any(toy.leases.iterdir())
    toy.set(beta_nap=0)
    done = toy.run("apply", "--yes", "--resume")
    assert done.returncode == 0, done.stderr
    assert "left 2 of 2 hosts undone" in done.stdout
    assert "one: the run was interrupted before it ended there" in done.stdout
