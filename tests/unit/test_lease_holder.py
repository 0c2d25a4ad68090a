"""Whether the process behind a lease is gone: with real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from ansible_collections.cloudlet.deploy.plugins.plugin_utils import lease_holder


@pytest.fixture
def process() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as started:
        yield started
        started.kill()


def test_a_process_that_lives_is_not_dead(process: subprocess.Popen[bytes]) -> None:
    holder = lease_holder.identity(process.pid)
    assert holder["pid"] == process.pid
    assert holder["started"] > 0
    assert holder["machine"] and holder["boot"] and holder["namespace"]
    assert not lease_holder.is_dead(holder)
    # Of another user, for whom a signal is not permitted.
    assert not lease_holder.is_dead(lease_holder.identity(1))


def test_one_that_was_killed_is_dead_before_and_after_it_is_collected(
    process: subprocess.Popen[bytes],
) -> None:
    holder = lease_holder.identity(process.pid)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
    assert lease_holder.is_dead(holder)
    process.wait()
    assert lease_holder.is_dead(holder)


def test_another_process_with_its_number_is_not_it(process: subprocess.Popen[bytes]) -> None:
    holder = lease_holder.identity(process.pid)
    assert lease_holder.is_dead({**holder, "started": holder["started"] - 1})


@pytest.mark.parametrize(
    ("other", "dead"),
    [
        ({"boot": "before"}, True),
        ({"machine": "elsewhere"}, False),
        # A clone of this machine's image.
        ({"host": "elsewhere", "boot": "other"}, False),
        # A container of this machine: its process numbers are not ours.
        ({"namespace": "pid:[1]"}, False),
        ({}, True),
    ],
)
def test_where_it_ran_decides_whether_it_can_be_judged(other: dict[str, str], dead: bool) -> None:
    with subprocess.Popen(["true"]) as process:
        holder = lease_holder.identity(process.pid)
    assert lease_holder.is_dead({**holder, **other}) == dead


def test_a_lease_that_says_nothing_of_its_process_stands() -> None:
    assert not lease_holder.is_dead({"run": "R"})


def test_without_an_identity_of_the_machine_nothing_is_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lease_holder, "_MACHINE_ID", ())
    with subprocess.Popen(["true"]) as process:
        holder = lease_holder.identity(process.pid)
    assert holder["machine"] == ""
    assert not lease_holder.is_dead(holder)
