"""What ``host_tuning`` reads of the kernel, of what was there before, and of what is in use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import (
    sysctls,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import Ledger, StateError

from tests.unit.config_host import file
from tests.unit.fake_tuned_host import PID, FakeHost


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    return FakeHost(tmp_path, monkeypatch)


def kernel(name: str, pattern: str = "", **more: Any) -> dict[str, Any]:
    where = {"file": "/nowhere", "pattern": pattern, "unit": ""}
    return {"variable": "v", "read": {"kind": "sysctl", "name": name}, **where, **more}


def test_a_sysctl_with_what_was_there_before(host: FakeHost) -> None:
    path = host.write("proc/sys/net/core/somaxconn", "8192\n")
    ledger = Ledger(str(host.ours.state))
    ledger.record("sysctl", "net.core.somaxconn", "4096", "kernel")
    ledger.record("sysctl", "net.ipv4.tcp_rmem", "4096 131072 6291456", "kernel")
    host.ours.state.mkdir()
    ledger.save()
    found = host.report(kernel("net.core.somaxconn"))["settings"]["v"]
    assert found == {
        "configured": None, "effective": 8192, "before": 4096, "settable": True, "cause": "",
        "in_use": None,
    }  # fmt: skip
    assert path.read_text() == "8192\n"
    # Of the three numbers it is the last that is tuned.
    host.write("proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t16777216\n")
    found = host.report(kernel("net.ipv4.tcp_rmem"))["settings"]["v"]
    assert (found["effective"], found["before"]) == (16777216, 6291456)


def test_a_sysctl_that_is_absent_or_barred(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    found = host.report(kernel("net.core.default_qdisc", **{"as": "str"}))["settings"]["v"]
    assert (found["effective"], found["settable"]) == (None, False)
    assert "exist" in found["cause"] or "no such setting" in found["cause"]
    host.write("proc/sys/vm/max_map_count", "65530\n")
    monkeypatch.setattr(sysctls, "container", lambda: "podman")
    found = host.report(kernel("vm.max_map_count"))["settings"]["v"]
    assert (found["effective"], found["settable"]) == (65530, False)
    assert "the machine's" in found["cause"]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"schema": 1, "entries": []}',
        '{"schema": 1, "entries": {"sysctl:net.core.somaxconn": {"owners": ["kernel"]}}}',
        '{"schema": 1, "entries": {"sysctl:net.core.somaxconn": 4096}}',
        '{"schema": 99, "entries": {}}',
    ],
)
def test_a_damaged_ledger_is_not_taken_for_an_empty_one(host: FakeHost, text: str) -> None:
    host.ours.state.mkdir()
    (host.ours.state / "ledger.json").write_text(text)
    with pytest.raises(StateError, match=r"ledger\.json"):
        host.report()


def test_a_damaged_manifest_is_told(host: FakeHost) -> None:
    host.ours.apply(file(host.ours.etc / "conf"))
    (host.ours.set_dir / "manifest.json").write_text("{")
    with pytest.raises(StateError, match=r"manifest\.json"):
        host.report()


def in_use(host: FakeHost, kind: str, **entry: Any) -> Any:
    wanted = {**host.entry(kind="limit", name="Max open files"), **entry, "use": {"kind": kind}}
    return host.report(host.entry(kind="limit", name="x", variable="w"), wanted)["settings"]["v"][
        "in_use"
    ]


def test_how_much_is_in_use(host: FakeHost) -> None:
    host.write(f"proc/{PID}/maps", "00-01 r-xp\n01-02 rw-p\n02-03 rw-p\n")
    for number in range(5):
        host.write(f"proc/{PID}/task/{number}/comm", "java")
    for number in range(2):
        host.write(f"proc/{PID}/fd/{number}", "")
    assert [in_use(host, kind) for kind in ("threads", "files", "maps")] == [5, 2, 3]
    # A setting of no unit counts the process that has most, among those of all units.
    assert in_use(host, "maps", unit="") == 3


def test_what_is_not_to_be_told_of_use_is_no_fault(host: FakeHost) -> None:
    assert in_use(host, "threads") is None
    host.unit(state="inactive")
    assert in_use(host, "maps", unit="") is None
