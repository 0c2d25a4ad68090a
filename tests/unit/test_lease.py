"""The lease on a host: who gets it, who is refused, and that giving it back leaves nothing."""

from __future__ import annotations

import errno
import multiprocessing
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import host_state, lease

from cloudlet_deploy.errors import ExitCode, LockedError
from cloudlet_deploy.run.events import Change, Status, TaskEnded, Totals
from cloudlet_deploy.run.lease import LeaseEvent, Taken
from cloudlet_deploy.run.outcome import Collector, RunOutcome
from cloudlet_deploy.run.record import Journal, read_record
from cloudlet_deploy.run.secrets import Redactor


def _of(run: str) -> dict[str, Any]:
    return {"run": run, "command": "apply", "user": "ann", "controller": "ctl", "since": "then"}


def test_one_run_at_a_time(tmp_path: Path) -> None:
    where = str(tmp_path / "state")
    assert lease.take(where, _of("A")) == (True, None)
    taken, before = lease.take(where, _of("B"))
    assert not taken
    assert lease.describe(before) == "run A (apply) of ann on ctl, since then"
    # The same host under a second name.
    assert lease.take(where, _of("A")) == (True, None)
    assert not lease.give_back(where, "B")
    assert lease.read(where)["run"] == "A"
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "state" / lease.NAME).stat().st_mode & 0o777 == 0o600


def test_only_the_lease_that_was_judged_is_replaced(tmp_path: Path) -> None:
    where = str(tmp_path)
    lease.take(where, _of("A"))
    # Between the judgement of A and this, B was quicker.
    lease.take(where, _of("B"), instead_of="A")
    taken, before = lease.take(where, _of("C"), instead_of="A")
    assert (taken, before["run"]) == (False, "B")
    taken, before = lease.take(where, _of("C"), force=True)
    assert (taken, before["run"]) == (True, "B")


@pytest.mark.parametrize("text", ["", "{}", '{"schema": 1}', '{"schema": 99, "run": "A"}'])
def test_what_cannot_be_read_bars_until_it_is_broken(tmp_path: Path, text: str) -> None:
    (tmp_path / lease.NAME).write_text(text)
    for request in ({}, {"run": "A", "leased": True}):
        with pytest.raises(host_state.StateError, match=r"lease\.json"):
            lease.check(str(tmp_path), request)
    with pytest.raises(host_state.StateError, match=r"lease\.json"):
        lease.take(str(tmp_path), _of("A"))
    assert lease.other(str(tmp_path), None) is None
    assert lease.take(str(tmp_path), _of("A"), force=True) == (True, None)


def test_giving_back_leaves_a_bare_host_bare(tmp_path: Path) -> None:
    where = tmp_path / "state"
    lease.take(str(where), _of("A"))
    assert lease.give_back(str(where), "A")
    assert not where.exists()
    assert not lease.give_back(str(where), "A")
    assert not where.exists()
    lease.take(str(where), _of("A"))
    (where / "ledger.json").write_text("{}")
    assert lease.give_back(str(where), "A")
    assert sorted(path.name for path in where.iterdir()) == ["ledger.json", "lock"]


class _Room:
    """Counts who is in it at once, over processes."""

    def __init__(self) -> None:
        self.inside, self.most = multiprocessing.Value("i", 0), multiprocessing.Value("i", 0)

    def __enter__(self) -> None:
        with self.inside.get_lock():
            self.inside.value += 1
            self.most.value = max(self.most.value, self.inside.value)

    def __exit__(self, *_: object) -> None:
        with self.inside.get_lock():
            self.inside.value -= 1


def _compete(where: str, name: str, locked: _Room, held: _Room) -> None:
    for number in range(150):
        with host_state.locked(where), locked:
            time.sleep(0)
        run = f"{name}{number}"
        if lease.take(where, _of(run))[0]:
            with held:
                time.sleep(0)
            lease.give_back(where, run)


def test_of_many_at_once_one_has_the_lock_and_one_the_lease(tmp_path: Path) -> None:
    """Also when the lock's file goes away with the directory while others wait for it."""
    locked, held = _Room(), _Room()
    workers = [
        multiprocessing.Process(target=_compete, args=(str(tmp_path / "state"), n, locked, held))
        for n in "abcd"
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0, 0, 0]
    assert (locked.most.value, held.most.value) == (1, 1)


def test_a_directory_that_goes_while_it_is_made_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other's directory stops our mkdir, and is gone when makedirs looks what it was."""
    mkdir, refusals = os.mkdir, iter([True, True])

    def mkdir_after_others(path: str, mode: int = 0o777) -> None:
        if next(refusals, False):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        mkdir(path, mode)

    monkeypatch.setattr(os, "mkdir", mkdir_after_others)
    with host_state.locked(str(tmp_path / "state")):
        assert (tmp_path / "state" / "lock").exists()


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_what_is_no_directory_is_named(tmp_path: Path, kind: str) -> None:
    where = tmp_path / "state"
    if kind == "file":
        where.write_text("mine")
    else:
        where.symlink_to(tmp_path / "nowhere")
    with pytest.raises(host_state.StateError, match=f"{where} can be neither made nor used"):
        host_state.locked(str(where)).__enter__()
    assert where.is_symlink() or where.read_text() == "mine"


@pytest.mark.parametrize(
    ("held", "request_", "refused"),
    [
        (None, {}, ""),
        (None, {"run": "A"}, ""),
        (None, {"run": "A", "leased": True}, "another run broke its lease"),
        ("A", {"run": "A", "leased": True}, ""),
        ("B", {"run": "A", "leased": True}, "held by run B (apply) of ann on ctl, since then, whi"),
        ("B", {}, "held by run B"),
        ("B", {"disregard": "A"}, "held by run B"),
        ("B", {"disregard": "B"}, ""),
    ],
)
def test_who_may_change_a_host(
    tmp_path: Path, held: str | None, request_: dict[str, Any], refused: str
) -> None:
    if held:
        lease.take(str(tmp_path), _of(held))
    if not refused:
        lease.check(str(tmp_path), request_)
        return
    with pytest.raises(lease.LeaseError) as caught:
        lease.check(str(tmp_path), request_)
    assert refused in str(caught.value)
    assert caught.value.told["next_step"]
    assert [entry["action"] for entry in caught.value.told["changes"]] == ["refuse"]


def test_the_wait_for_a_lock_is_not_needed_to_be_refused(tmp_path: Path) -> None:
    where = str(tmp_path)
    lease.take(where, _of("A"))
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with host_state.locked(where):
            entered.set()
            leave.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert entered.wait(10)
        # Were the lock wanted, this would be an error after a minute.
        assert not lease.take(where, _of("B"))[0]
    finally:
        leave.set()
        holder.join()


def test_a_refusal_names_every_host_and_its_holder() -> None:
    held = "run R (apply) of ann on ctl, since then"
    events = (LeaseEvent("one", "take"), LeaseEvent("two", "refuse", held))
    refusal = Taken(("one",), events, RunOutcome()).refusal
    assert refusal is not None
    assert refusal.exit_code == ExitCode.LOCKED == 75
    assert f"two is held by {held}." in refusal.message
    assert "--break-lock" in refusal.next_step
    assert Taken(("one",), events[:1], RunOutcome()).refusal is None


def test_the_exit_code_of_a_run_that_lost_its_lease() -> None:
    lost = Change("lease", "R", "refuse", "held by run R")
    collector = Collector()
    collector.add(TaskEnded("one", "c", "T", Status.FAILED, (lost,), message="held"))
    collector.add(TaskEnded("two", "c", "T", Status.FAILED, message="broken"))
    collector.add(TaskEnded("three", "c", "T", Status.UNREACHABLE, message="away"))
    collector.add(Totals(frozenset({"one", "two"}), frozenset({"three"})))
    outcome = collector.outcome()
    assert [failure.exit_code for failure in outcome.failures] == [75, 1, 3]
    assert outcome.exit_code == 75
    assert collector.outcome(interrupted=True).exit_code == 130
    # It is not a change of the host.
    assert [part.changes for part in outcome.components] == [(), (), ()]


def test_a_refused_run_is_recorded_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with (
        pytest.raises(LockedError),
        Journal("apply", "/site", {}, Redactor([]), hosts=["one"]) as journal,
    ):
        raise LockedError("one is held by run R")
    found = read_record(journal.record.run_id)
    assert (found.state, found.exit_code, found.phase) == ("finished", 75, "plan")
    assert (found.hosts, found.done) == (("one",), ())
