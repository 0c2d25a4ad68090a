"""What the kernel tells of a host: who listens, its addresses, its memory."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import host_facts

UID = 4_000_000_000
OWN = f"user.slice/user-{UID}.slice/user@{UID}.service"
Process = Callable[..., None]


def test_who_listens_on_this_machine_is_known() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert host_facts.listeners()[port].pid == os.getpid()
    assert port not in host_facts.listeners()


@pytest.fixture
def process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Process:
    """Adds a process that hides what it holds open, beside a listener of ``UID`` on port 8443.

    Root of a container without CAP_SYS_PTRACE does not see what others hold open.
    """
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text(
        "  sl  local_address rem_address st tx rx tr tm->when retrnsmt uid timeout inode\n"
        f"   0: 00000000:20FB 00000000:0000 0A 0:0 00:0 0 {UID} 0 4711 1 0 100 0 0 10 0\n"
    )

    def hidden(path: str) -> list[str]:
        raise PermissionError(path)

    def add(pid: int, *groups: str, uid: int = UID) -> None:
        base = tmp_path / str(pid)
        base.mkdir()
        (base / "status").write_text(f"Name: java\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\n")
        (base / "cgroup").write_text("".join(f"0::/{group}\n" for group in groups))
        (base / "comm").write_text("java\n")

    monkeypatch.setattr(host_facts, "_sockets", hidden)
    return add


def test_who_listens_is_guessed_only_where_there_is_no_doubt(
    tmp_path: Path, process: Process
) -> None:
    process(10, "system.slice/bestman2.service")
    process(11, "system.slice/other.service", uid=0)
    assert str(host_facts.listeners(str(tmp_path))[8443]) == "java (pid 10) of bestman2.service"
    process(12, "system.slice/bestman2.service")
    assert host_facts.listeners(str(tmp_path))[8443].unit == "bestman2.service"
    process(13, "system.slice/user.service")
    assert str(host_facts.listeners(str(tmp_path))[8443]) == "an unknown process"


@pytest.mark.parametrize(
    ("group", "unit"),
    [
        ("app.slice/p.service/runtime", "p.service"),
        ("app.slice/p.service/libpod-payload-7e/system.slice/q.service", "p.service"),
        ("user.slice/podman-15.scope/runtime", ""),
    ],
)
def test_units_of_an_accounts_own_systemd(
    tmp_path: Path, process: Process, monkeypatch: pytest.MonkeyPatch, group: str, unit: str
) -> None:
    # A machine with the old groups beside the new one has a line for each.
    process(10, "", f"{OWN}/{group}")
    assert host_facts.listeners(str(tmp_path))[8443].unit == f"~{UID}/{unit}"

    def svc(uid: int) -> pwd.struct_passwd:
        assert uid == UID
        return pwd.struct_passwd(("svc", "*", UID, UID, "", "/", "/bin/sh"))

    monkeypatch.setattr(pwd, "getpwuid", svc)
    assert host_facts.listeners(str(tmp_path))[8443].unit == f"~svc/{unit}"


def test_of_several_units_of_an_account_it_may_be_each(tmp_path: Path, process: Process) -> None:
    process(10, f"{OWN}/init.scope")
    process(11, f"{OWN}/app.slice/p.service")
    found = host_facts.listeners(str(tmp_path))[8443]
    assert str(found) == f"an unknown process of ~{UID}"
    assert found.may_be(f"~{UID}/p.service")
    for other in ("~other/p.service", "p.service", "~", ""):
        assert not found.may_be(other)
    process(12, "user.slice/session-3.scope")
    unsure = host_facts.listeners(str(tmp_path))[8443]
    assert str(unsure) == "an unknown process" and not unsure.may_be("")


def test_own_addresses() -> None:
    assert host_facts.is_own("127.0.0.1")
    assert not host_facts.is_own("192.0.2.1")
    assert host_facts.addresses_of("no-such-name.invalid") == []


def test_memory_is_that_of_the_control_group(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\n")
    assert host_facts.memory_mb(str(tmp_path), str(tmp_path)) == (8192, 4096)
    (tmp_path / "memory.max").write_text("max\n")
    assert host_facts.memory_mb(str(tmp_path), str(tmp_path)) == (8192, 4096)
    (tmp_path / "memory.max").write_text(f"{2048 * 1024 * 1024}\n")
    assert host_facts.memory_mb(str(tmp_path), str(tmp_path)) == (2048, 2048)
