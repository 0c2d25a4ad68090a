"""What ``host_tuning`` reads of a host: processes, control groups, kernel, files and ledger."""

from __future__ import annotations

import http.server
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import (
    jvm,
    processes,
    sysctls,
    tuning,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import Result
from ansible_collections.cloudlet.deploy.plugins.module_utils.processes import ProcessError
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.config_host import file
from tests.unit.fake_tuned_host import PID, UNIT, FakeHost


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    return FakeHost(tmp_path, monkeypatch)


# --- what the host is ---------------------------------------------------------------------


def test_what_the_host_is(host: FakeHost) -> None:
    found = host.report()
    assert found.pop("settings") == {}
    assert found == {
        "memory_mb": 7812,
        "cores": len(os.sched_getaffinity(0)),
        "kernel": os.uname().release,
        "container": sysctls.container(),
        "nic_mbps": None,
        "nofile_hard": 30000,
        "java_version": None,
        "problems": [],
    }


def test_the_smaller_of_memory_and_the_groups_limit_counts(host: FakeHost) -> None:
    for path in ("sys/fs/cgroup/memory/memory.limit_in_bytes", "sys/fs/cgroup/memory.max"):
        host.write(path, f"{2048 << 20}\n")
        assert host.report()["memory_mb"] == 2048
        host.write(path, "max\n")
        assert host.report()["memory_mb"] == 7812


def test_the_fastest_interface_that_is_up(host: FakeHost) -> None:
    for name, state, speed in [
        ("lo", "up", "100000"),
        ("eth0", "up", "1000"),
        ("eth1", "up", "10000"),
        ("eth2", "down", "40000"),
        ("tun0", "up", "-1"),
        ("wlan0", "up", ""),
    ]:
        host.write(f"sys/class/net/{name}/operstate", f"{state}\n")
        host.write(f"sys/class/net/{name}/speed", f"{speed}\n")
    assert host.report()["nic_mbps"] == 10000


def test_without_a_running_jvm_the_deployed_java_is_asked(host: FakeHost) -> None:
    host.said["/j/java"] = Result(0, "openjdk 21.0.5 2024-10-15\n", "")
    programs = [{"name": "java", "argv": ["/j/java", "--version"]}]
    assert host.report(programs=programs)["java_version"] == 21
    host.said["/j/java"] = Result(1, "openjdk 21.0.5 2024-10-15\n", "")
    assert host.report(programs=programs)["java_version"] is None


def test_what_cannot_be_read_is_told(host: FakeHost) -> None:
    (host.proc / "1" / "limits").unlink()
    host.shown = ""
    found = host.report(host.entry(kind="tasks_max"))
    assert found["nofile_hard"] is None
    assert [words.split(" ")[0].rsplit("/", 1)[-1] for words in found["problems"]] == [
        "systemd",
        "limits",
    ]
    assert "systemd does not tell" in found["settings"]["v"]["cause"]


# --- what a process has -------------------------------------------------------------------


def test_a_limit_is_the_soft_one_of_that_very_name(host: FakeHost) -> None:
    assert host.look(kind="limit", name="Max open files") == (20000, "")
    assert host.look(kind="limit", name="Max open") == (None, "the kernel knows no limit Max open")
    assert processes.limit(PID, "Max stack size", hard=True, proc=str(host.proc)) == "infinity"


def test_of_a_unit_that_is_down_nothing_is_known(host: FakeHost) -> None:
    host.unit(state="inactive")
    for kind in ("limit", "tasks_max", "environment", "jvm", "hadoop", "at_start"):
        entry = host.look(kind=kind, name="Max open files", flag="F", port=1, key="k")
        assert entry == (None, f"{UNIT} is not running")


def test_the_smallest_limit_of_tasks_from_the_unit_upwards_counts(host: FakeHost) -> None:
    unit = host.write(f"cg/system.slice/{UNIT}/pids.max", "max\n")
    assert host.look(kind="tasks_max") == ("infinity", "")
    unit.write_text("1536\n")
    assert host.look(kind="tasks_max") == (1536, "")
    host.write("cg/system.slice/pids.max", "900\n")
    assert host.look(kind="tasks_max") == (900, "")
    host.write("cg/pids.max", "70\n")
    assert host.look(kind="tasks_max") == (70, "")
    host.write("pids.max", "1\n")  # beyond the tree
    assert host.look(kind="tasks_max") == (70, "")


def test_version_1_of_control_groups_and_a_container_in_one(host: FakeHost) -> None:
    host.write(
        "proc/self/mountinfo",
        f"30 20 0:26 /box {host.base}/v2 rw - cgroup2 none rw\n"
        f"31 20 0:27 /box {host.base}/v1 rw - cgroup cgroup rw,pids\n"
        f"32 20 0:28 /box {host.base}/mem rw - cgroup cgroup rw,memory\n",
    )
    host.write(
        f"proc/{PID}/cgroup", f"3:memory:/box/m\n2:cpu,pids:/box/slice/{UNIT}\n0::/box/other\n"
    )
    host.write(f"v1/slice/{UNIT}/pids.max", "123\n")
    host.write("v2/other/pids.max", "7\n")
    assert host.look(kind="tasks_max") == (123, "")


def test_without_a_controller_no_limit_of_tasks_has_an_effect(host: FakeHost) -> None:
    found = host.report(host.entry(kind="tasks_max"))["settings"]["v"]
    assert found["effective"] == "infinity"
    assert not found["settable"]
    assert "no controller 'pids'" in found["cause"]


def test_processes_of_a_unit_without_a_main_one(host: FakeHost) -> None:
    host.unit(f"MainPID=0\nControlGroup=/system.slice/{UNIT}\n")
    words = f"{UNIT} has no process"
    assert host.look(kind="limit", name="Max open files") == (None, words)
    host.write(f"cg/system.slice/{UNIT}/cgroup.procs", f"{PID}\n12\n")
    assert host.look(kind="limit", name="Max open files") == (20000, "")


def test_the_environment_is_that_of_the_process(host: FakeHost) -> None:
    host.write(
        f"proc/{PID}/status",
        f"Uid:\t{os.getuid()}\t{os.geteuid()}\nGid:\t{os.getgid()} {os.getegid()}\n",
    )
    host.write(f"proc/{PID}/environ", "A=b\0N=8\0Q=x=y\0")
    assert host.look(kind="environment", name="N") == (8, "")
    assert host.look(kind="environment", name="M") == (
        None,
        f"{UNIT} runs without M in its environment",
    )
    assert processes.environment(PID, 1, str(host.proc)) == {"A": "b", "N": "8", "Q": "x=y"}


def test_a_look_into_a_process_fails_in_words_and_in_time() -> None:
    def refused() -> None:
        raise ProcessError("not today")

    with pytest.raises(ProcessError, match="not today"):
        processes.as_owner(os.getpid(), refused, 1)
    with pytest.raises(ProcessError, match="ZeroDivisionError"):
        processes.as_owner(os.getpid(), lambda: 1 // 0, 1)
    began = time.monotonic()
    with pytest.raises(ProcessError, match=r"was not looked into within 2\.\d+ s|within 2 s"):
        processes.as_owner(os.getpid(), lambda: time.sleep(60), 0)
    assert time.monotonic() - began < 10
    with pytest.raises(ProcessError, match="status cannot be read"):
        processes.as_owner(2**30, lambda: 1, 1)


def test_the_jvm_of_a_unit_is_looked_for_behind_its_script_and_asked_once(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.write(f"cg/system.slice/{UNIT}/cgroup.procs", f"{PID}\n12\n")
    asked = []

    def look(pid: int, proc: str) -> jvm.Told | None:
        asked.append(pid)
        return jvm.Told({"MaxHeapSize": str(5260 << 20)}, 17) if pid == 12 else None

    monkeypatch.setattr(jvm, "look", look)
    heap = host.entry(kind="jvm", flag="MaxHeapSize", divide=1 << 20)
    other = {**host.entry(kind="jvm", flag="Other"), "variable": "w"}
    found = host.report(heap, other)
    assert found["settings"]["v"]["effective"] == 5260
    assert found["settings"]["w"]["cause"] == "the JVM does not tell its Other"
    assert found["java_version"] == 17
    assert asked == [PID, 12]


def test_a_unit_without_a_jvm_and_one_that_is_silent(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jvm, "look", lambda *_args: None)
    assert host.look(kind="jvm", flag="F") == (None, f"{UNIT} runs no HotSpot JVM")

    def silent(*_args: Any) -> None:
        raise ProcessError("the JVM does not answer")

    monkeypatch.setattr(jvm, "look", silent)
    assert host.look(kind="jvm", flag="F") == (None, "the JVM does not answer")


def test_the_backlog_is_the_smallest_of_the_listening_sockets(host: FakeHost) -> None:
    host.said["ss"] = Result(0, "LISTEN 3 4000 *:8443 *:*\nLISTEN 0 512 [::]:8443 [::]:*\n", "")
    assert host.look(kind="backlog", port=8443) == (512, "")
    host.said["ss"] = Result(0, "\n", "")
    assert host.look(kind="backlog", port=8443) == (None, "nobody listens on port 8443")
    del host.said["ss"]
    assert "ss is not installed" in host.look(kind="backlog", port=8443)[1]


# --- what a daemon of Hadoop tells --------------------------------------------------------


class _Conf(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/jmx?qry=Hadoop:name=Rpc*":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"beans": [{"CallQueueLength": 3}, {"CallQueueLength": 4}]}')
            return
        known = self.path == "/conf?name=dfs.datanode.handler.count"
        self.send_response(200 if known else 404)
        self.end_headers()
        assert self.headers["Accept"] == "application/json"
        if known:
            name = "dfs.datanode.handler.count"
            self.wfile.write(json.dumps({"property": {"key": name, "value": "20"}}).encode())

    def log_message(self, *_args: Any) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def port() -> Iterator[int]:
    with http.server.HTTPServer(("127.0.0.1", 0), _Conf) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_a_daemon_tells_what_it_was_started_with(
    host: FakeHost, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert host.look(kind="hadoop", port=port, key="dfs.datanode.handler.count") == (20, "")
    effective, cause = host.look(kind="hadoop", port=port, key="dfs.other")
    assert effective is None
    assert f"port {port} does not tell dfs.other" in cause
    assert host.look(kind="hadoop", port=1, key="dfs.other")[0] is None


@pytest.mark.parametrize(("attribute", "number"), [("CallQueueLength", 7), ("Other", None)])
def test_a_daemon_tells_how_much_of_it_is_in_use(
    host: FakeHost, port: int, attribute: str, number: int | None
) -> None:
    entry = host.entry(kind="hadoop", port=port, key="dfs.datanode.handler.count")
    entry["use"] = {"kind": "jmx", "bean": "Hadoop:name=Rpc*", "attribute": attribute}
    assert host.report(entry)["settings"]["v"]["in_use"] == number


# --- what only a file tells ---------------------------------------------------------------


def test_the_file_counts_while_the_unit_has_started_with_it(host: FakeHost) -> None:
    conf = file(host.ours.etc / "conf", "v=1\nv=40\nw=2\n", restart=[UNIT])
    host.unit(state="inactive")
    host.ours.apply(conf)
    host.unit()
    assert host.look(kind="at_start") == (40, "")
    # Written again while it runs.
    host.ours.apply({**conf, "content": b"v=80\n"})
    found = host.report(host.entry(kind="at_start"))["settings"]["v"]
    assert (found["configured"], found["effective"]) == (80, None)
    assert found["cause"] == f"{UNIT} has not been restarted since"
    host.units.set(UNIT, "run2")
    assert host.look(kind="at_start") == (80, "")
    # By another hand, of which the manifest knows nothing.
    Path(conf["path"]).write_text("v=90\n")
    effective, cause = host.look(kind="at_start")
    assert effective is None
    assert cause.endswith("/conf was edited by another hand")


def test_a_file_that_is_not_ours_or_says_nothing_tells_nothing(host: FakeHost) -> None:
    assert host.look(kind="at_start")[1].endswith("/conf does not say it")
    (host.ours.etc / "conf").write_text("v=3\n")
    found = host.report(host.entry(kind="at_start"))["settings"]["v"]
    assert (found["configured"], found["effective"]) == (3, None)
    assert "was not written by us" in found["cause"]


@pytest.mark.parametrize(
    ("text", "more", "value"),
    [
        ("12", {}, 12),
        ("-1", {}, -1),
        ("infinity", {}, "infinity"),
        ("unlimited", {}, "infinity"),
        ("twelve", {}, None),
        ("1.5", {}, None),
        ("fq", {"as": "str"}, "fq"),
        ("Yes", {"as": "bool"}, True),
        ("off", {"as": "bool"}, False),
        ("maybe", {"as": "bool"}, None),
        ("true", {"values": {"true": False, "false": True}}, False),
        ("maybe", {"values": {"true": False, "false": True}}, None),
    ],
)
def test_words_become_values_of_the_variable(
    host: FakeHost, text: str, more: dict[str, Any], value: Any
) -> None:
    (host.ours.etc / "conf").write_text(f"v={text}\n")
    host.write(
        f"proc/{PID}/status",
        f"Uid:\t{os.getuid()}\t{os.geteuid()}\nGid:\t{os.getgid()} {os.getegid()}\n",
    )
    host.write(f"proc/{PID}/environ", f"N={text}\0")
    found = host.report(host.entry(kind="environment", name="N", **more))["settings"]["v"]
    assert (found["configured"], found["effective"]) == (value, value)
    assert (found["cause"] == "") == (value is not None)


@given(st.integers())
def test_numbers_stay_what_they_are(number: int) -> None:
    assert tuning._value(f" {number}\n", {}) == number
