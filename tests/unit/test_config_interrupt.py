"""config_set killed before every single system call that changes something."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import config_engine
from config_host import Host, file, walk

#: Whatever changes the disk; each is one step that a kill can come before.
STEPS = ["open", "write", "fsync", "fchmod", "fchown", "utime", "replace", "rename", "link"]
STEPS += ["unlink", "remove", "mkdir", "rmdir", "chmod"]
KILLED = 9


class Counter:
    """Counts steps, and ends the process before step number ``limit``."""

    def __init__(self, limit: int | None) -> None:
        self.limit = limit
        self.count = 0

    def install(self) -> None:
        for name in STEPS:
            setattr(os, name, self._wrapped(name, getattr(os, name)))

    def _wrapped(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **more: Any) -> Any:
            if name != "open" or (args[1] if len(args) > 1 else more["flags"]) & os.O_CREAT:
                self.count += 1
                if self.count == self.limit:
                    os._exit(KILLED)
            return function(*args, **more)

        return step


def run_killed(host: Host, request: dict[str, Any], limit: int | None) -> int | None:
    """Apply in a child that dies before step ``limit``. Returns the steps taken if it did not."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            counter, write = Counter(limit), os.write
            counter.install()
            config_engine.apply(request, str(host.state))
            write(writer, str(counter.count).encode())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as stream:
        said = stream.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, KILLED), "the child failed by itself"
    return int(said) if code == 0 else None


def final(host: Host) -> dict[str, Any]:
    """All that must be equal in the end: managed files, state, kept contents."""
    told: dict[str, Any] = {}
    for path in walk(host.base):
        status = path.lstat()
        told[str(path.relative_to(host.base))] = [
            oct(status.st_mode),
            status.st_uid,
            status.st_gid,
            _normalized(path) if stat.S_ISREG(status.st_mode) else None,
        ]
    return told


def _normalized(path: Path) -> Any:
    if path.suffix != ".json":
        return path.read_bytes()
    document = json.loads(path.read_text())
    # Another time and another commit, and what was found (with its mtime) is copied by the test.
    return {key: value for key, value in document.items() if key not in ("commit", "time")}


def setup_first(host: Host) -> dict[str, Any]:
    (host.etc / "package").write_text("from the package\n")
    (host.etc / "package").chmod(0o640)
    os.utime(host.etc / "package", (1000, 1000))
    (host.etc / "attributes").write_text("same\n")
    return host.request(
        file(host.etc / "package", "ours\n", restart=["a.service"]),
        file(host.etc / "attributes", "same\n", mode="0600"),
        file(host.etc / "made" / "deep" / "key", "key\n", secret=True, mode="0600"),
        directories=[
            {"path": str(host.etc / "made"), "mode": "0750"},
            {"path": str(host.etc / "made" / "deep"), "mode": "0700"},
        ],
    )


def setup_second(host: Host) -> dict[str, Any]:
    host.run(setup_first(host))
    host.apply(
        file(host.etc / "package", "ours\n"),
        file(host.etc / "attributes", "same\n", mode="0600"),
        file(host.etc / "made" / "deep" / "key", "key\n", secret=True, mode="0600"),
        file(host.etc / "dropped", "x\n"),
        file(host.etc / "drifted", "x\n"),
        directories=[
            {"path": str(host.etc / "made"), "mode": "0750"},
            {"path": str(host.etc / "made" / "deep"), "mode": "0700"},
        ],
    )
    (host.etc / "drifted").write_text("by hand\n")
    return host.request(
        file(host.etc / "drifted", "y\n"),
        file(host.etc / "attributes", "same\n", mode="0644"),
        file(host.etc / "made" / "added", "z\n"),
        file(host.etc / "late", "z\n", secret=True),
        directories=[
            {"path": str(host.etc / "made"), "mode": "0755"},
            {"path": str(host.etc / "made" / "fresh"), "mode": "0755"},
        ],
    )


def setup_absent(host: Host) -> dict[str, Any]:
    host.run(setup_second(host))
    (host.etc / "late").write_text("by hand\n")
    return host.request(state="absent")


SETUPS = [setup_first, setup_second, setup_absent]


class Case:
    """One setup, with the states before and after its request."""

    def __init__(self, host: Host, setup: Callable[[Host], dict[str, Any]]) -> None:
        self.host = host
        self.request = setup(host)
        host.state.mkdir(mode=0o700, exist_ok=True)
        host.save()
        self.old = host.snapshot()
        self.drift = host.run(self.request, check=True)["drift"]
        steps = run_killed(host, self.request, None)
        assert steps is not None and steps > 20
        self.steps = steps
        self.new = host.snapshot()
        self.end = final(host)
        assert self.old != self.new

    def kill(self, limit: int) -> None:
        """Back to the beginning, then killed before step ``limit``."""
        self.host.restore()
        assert run_killed(self.host, self.request, limit) is None

    def assert_whole(self) -> None:
        """Each managed file is the old or the new one, never anything between."""
        now = {p: s for p, s in self.host.snapshot().items() if "/.cloudlet-" not in p}
        for path in {*now, *self.old, *self.new}:
            told = now.get(path)
            if told and len(told) == 4:
                contents = [s[path][3] for s in (self.old, self.new) if path in s]
                assert told[3] in contents, path
                self._assert_not_wider(path, told)
            elif told is None:
                assert path not in self.old or path not in self.new, path

    def _assert_not_wider(self, path: str, told: tuple[Any, ...]) -> None:
        """Content is never open to more than its own generation lets."""
        modes = [
            int(s[path][0], 8) for s in (self.old, self.new) if path in s and s[path][3] == told[3]
        ]
        assert any(int(told[0], 8) & ~mode == 0 for mode in modes), (path, told[0])


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory if there is one: thousands of fsyncs are slow on a disk."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory, prefix="config-set-") as where:
        yield Path(where)


@pytest.fixture(params=SETUPS, ids=lambda setup: setup.__name__.removeprefix("setup_"))
def case(request: pytest.FixtureRequest, base: Path) -> Case:
    return Case(Host(base / "host"), request.param)


def test_killed_before_each_step_the_next_call_completes(case: Case) -> None:
    for limit in range(1, case.steps + 1):
        case.kill(limit)
        case.assert_whole()
        predicted = case.host.run(case.request, check=True)
        before = case.host.snapshot()
        result = case.host.run(case.request)
        assert predicted["changes"] == result["changes"], limit
        assert predicted["generation"] == result["generation"], limit
        assert set(result["drift"]) <= set(case.drift), limit
        assert final(case.host) == case.end, limit
        assert not case.host.leftovers(), limit
        _assert_told(case.host, before, result)
        assert not case.host.run(case.request)["changed"], limit


def _assert_told(host: Host, before: dict[str, Any], result: dict[str, Any]) -> None:
    """The difference on disk is what ``changes`` tells, no more and no less."""
    after = host.snapshot()
    differs = {p for p in {*before, *after} if before.get(p) != after.get(p)}
    differs = {str(host.base / path) for path in differs if "/.cloudlet-" not in path}
    assert differs == {change["name"] for change in result["changes"]}


def test_killed_again_while_recovering(case: Case) -> None:
    for first in range(3, case.steps, 7):
        second = 1
        while True:
            case.kill(first)
            if run_killed(case.host, case.request, second) is not None:
                break
            case.assert_whole()
            case.host.run(case.request)
            assert final(case.host) == case.end, (first, second)
            second += 11


def test_killed_and_then_destroyed_gives_back_what_was_found(base: Path) -> None:
    host = Host(base / "host")
    setup_first(host)
    found = host.snapshot()
    shutil.rmtree(host.base)
    case = Case(Host(base / "host"), setup_first)
    for limit in range(1, case.steps + 1):
        case.kill(limit)
        predicted, result = case.host.plan(state="absent"), case.host.absent()
        assert predicted["changes"] == result["changes"], limit
        assert case.host.snapshot() == found, limit
        assert list((case.host.state / "sets").glob("*")) == [], limit
        assert (case.host.etc / "package").stat().st_mtime == 1000


def test_killed_and_then_another_request(base: Path) -> None:
    case = Case(Host(base / "host"), setup_second)
    host = case.host
    other = host.request(file(host.etc / "late", "other\n"), file(host.etc / "package", "last\n"))
    host.restore()
    host.run(other)
    wanted = host.snapshot()
    for limit in range(1, case.steps + 1):
        case.kill(limit)
        before = host.snapshot()
        predicted, result = host.run(other, check=True), host.run(other)
        assert predicted["changes"] == result["changes"], limit
        assert host.snapshot() == wanted, limit
        _assert_told(host, before, result)
        host.absent()
        assert host.snapshot()["etc/package"][3] == b"from the package\n"
