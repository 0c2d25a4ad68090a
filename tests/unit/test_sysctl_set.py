"""``sysctl_set`` over a directory of ordinary files that stands for /proc/sys."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import (
    config_engine,
    config_history,
    sysctls,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import Ledger, StateError
from ansible_collections.cloudlet.deploy.plugins.modules.sysctl_set import SysctlSet
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SOMAXCONN, SYN, RMEM = "net.core.somaxconn", "net.ipv4.tcp_max_syn_backlog", "net.ipv4.tcp_rmem"
MAPS = "vm.max_map_count"
BEFORE = {SOMAXCONN: "4096", SYN: "2048", RMEM: "4096 131072 6291456", MAPS: "65530"}


class Host:
    """A kernel with few settings, of which some may be refused or clamped."""

    def __init__(self, base: Path) -> None:
        self.tree = base / "sys"
        self.state = base / "state"
        self.refuses: dict[str, int] = {}
        self.clamps: dict[str, str] = {}
        self.writes: list[str] = []
        for name, value in BEFORE.items():
            path = self.tree.joinpath(*name.split("."))
            path.parent.mkdir(parents=True, exist_ok=True)
            # As the kernel writes it.
            path.write_text(value.replace(" ", "\t") + "\n")

    def __call__(self, check: bool = False, component: str | None = "kernel") -> SysctlSet:
        return SysctlSet(component, str(self.state), str(self.tree), check)

    def set(self, check: bool = False, /, **values: Any) -> dict[str, Any]:
        names = {"somaxconn": SOMAXCONN, "syn": SYN, "maps": MAPS}
        return self(check).present({names[key]: value for key, value in values.items()})

    @property
    def values(self) -> dict[str, str | None]:
        return {name: sysctls.read(name, str(self.tree)) for name in BEFORE}

    def name_of(self, path: object) -> str:
        text = os.fspath(path) if isinstance(path, str | Path) else ""
        inside = text.startswith(f"{self.tree}/")
        return text.removeprefix(f"{self.tree}/").replace("/", ".") if inside else ""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host(tmp_path)
    really_open, really_write = os.open, os.write
    opened: dict[int, str] = {}

    def open_(path: Any, flags: int, *rest: Any, **named: Any) -> int:
        name = host.name_of(path)
        if name in host.refuses and flags & os.O_WRONLY:
            raise OSError(host.refuses[name], os.strerror(host.refuses[name]))
        fd = really_open(path, flags, *rest, **named)
        opened[fd] = name
        return fd

    def write(fd: int, data: bytes) -> int:
        name = opened.get(fd, "")
        if name:
            host.writes.append(name)
            clamped = data != BEFORE[name].encode() + b"\n" and host.clamps.get(name)
            if clamped == "refused":
                raise OSError(errno.EINVAL, "Invalid argument")
            data = clamped.encode() if clamped else data
        return really_write(fd, data)

    monkeypatch.setattr(os, "open", open_)
    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr(sysctls, "_CONTAINER", str(tmp_path / "container"))
    return host


def told(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    assert {change["kind"] for change in result["changes"]} <= {"sysctl"}
    return [(c["name"], c["action"], c["detail"]) for c in result["changes"]]


def test_values_are_set_once_and_given_back(host: Host) -> None:
    planned = host.set(True, somaxconn=8192, syn=8192)
    assert host.values == BEFORE and not host.state.exists()
    made = host.set(False, somaxconn=8192, syn=8192)
    assert made == planned
    assert told(made) == [(SOMAXCONN, "set", "4096 -> 8192"), (SYN, "set", "2048 -> 8192")]
    assert host.values == {**BEFORE, SOMAXCONN: "8192", SYN: "8192"}
    ledger, written = (host.state / "ledger.json").read_bytes(), len(host.writes)
    assert host.set(False, somaxconn=" 8192\n", syn="8192")["changed"] is False
    assert (host.state / "ledger.json").read_bytes() == ledger and len(host.writes) == written

    assert told(host.set(False, somaxconn=16384)) == [
        (SOMAXCONN, "set", "8192 -> 16384"),
        (SYN, "restore", "8192 -> 2048"),
    ]
    assert Ledger(str(host.state)).owned("sysctl", "kernel") == {SOMAXCONN: "4096"}
    everything = host(component=None)
    assert told(host(True, None).absent()) == [(SOMAXCONN, "restore", "16384 -> 4096")]
    assert told(everything.absent()) == [(SOMAXCONN, "restore", "16384 -> 4096")]
    assert host.values == BEFORE and Ledger(str(host.state)).entries == {}
    assert everything.absent()["changed"] is False


def test_only_the_last_of_three_numbers_is_ours(host: Host) -> None:
    kernel = host()
    assert told(kernel.present({}, {RMEM: 16777216})) == [
        (RMEM, "set", "4096 131072 6291456 -> 4096 131072 16777216")
    ]
    assert kernel.present({}, {RMEM: 16777216})["wanted"] == {RMEM: "4096 131072 16777216"}
    assert not kernel.present({}, {RMEM: 16777216})["changed"]
    with pytest.raises(sysctls.Refused, match="1000 is below the default of a new socket, 131072"):
        kernel.present({}, {RMEM: 1000})
    with pytest.raises(sysctls.Refused, match="not three numbers"):
        kernel.present({}, {SOMAXCONN: 1000})
    kernel.absent()
    assert host.values == BEFORE


@pytest.mark.parametrize(
    ("code", "inside", "words"),
    [
        (errno.EROFS, "podman", "read-only here, as the host is a container (podman)"),
        (errno.EACCES, "podman", "does not let this host change it, as it is a container"),
        (errno.EPERM, "", "does not let this host change it"),
        (errno.ENOENT, "podman", "does not exist in a container"),
        (errno.ENOENT, "", "this kernel has no such setting"),
    ],
)
def test_what_cannot_be_set_is_refused_before_anything_is(
    host: Host, tmp_path: Path, code: int, inside: str, words: str
) -> None:
    if inside:
        (tmp_path / "container").write_text(f"{inside}\n")
    host.refuses[SYN] = code
    for check in (True, False):
        with pytest.raises(sysctls.Refused) as caught:
            host.set(check, somaxconn=8192, syn=8192)
        message = str(caught.value)
        assert message.startswith(f"{SYN}: wanted 8192, found 2048: ") and words in message
        assert "machine that it runs on" in caught.value.next_step
        assert host.values == BEFORE and not host.writes and not host.state.exists()
    # What is as wanted needs no permission.
    assert told(host.set(False, somaxconn=8192, syn=2048)) == [(SOMAXCONN, "set", "4096 -> 8192")]


def test_all_that_cannot_be_is_named_at_once(host: Host) -> None:
    host.refuses = {SOMAXCONN: errno.EROFS, SYN: errno.EROFS}
    with pytest.raises(sysctls.Refused) as caught:
        host.set(True, somaxconn=1, syn=2)
    assert SOMAXCONN in str(caught.value) and SYN in str(caught.value)


def test_settings_of_absent_modules_are_told(host: Host) -> None:
    conntrack = "net.netfilter.nf_conntrack_max"
    with pytest.raises(sysctls.Refused, match="until the kernel module nf_conntrack is loaded"):
        host(True).present({conntrack: 5})
    with pytest.raises(sysctls.Refused, match="no such setting"):
        host(True).present({}, {"net.ipv4.tcp_mem": 5})


def test_a_container_changes_nothing_of_its_machine(host: Host, tmp_path: Path) -> None:
    (tmp_path / "container").write_text("lxc")
    with pytest.raises(sysctls.Refused, match="it is the machine's, and the host is a container"):
        host.set(False, maps=100000)
    assert host.values == BEFORE
    host.set(False, somaxconn=8192)
    assert host.values[SOMAXCONN] == "8192"


@pytest.mark.parametrize(
    ("clamp", "words"),
    [
        ("5000", "the kernel took it and made 5000 of it"),
        ("refused", "the kernel does not take this value"),
    ],
)
def test_what_the_kernel_clamps_is_not_set(host: Host, clamp: str, words: str) -> None:
    host.clamps[SYN] = clamp
    with pytest.raises(sysctls.Refused) as caught:
        host.set(False, somaxconn=8192, syn=99999)
    assert words in str(caught.value) and f"{SYN}: wanted 99999, found 2048" in str(caught.value)
    assert told({"changes": caught.value.changes}) == [(SOMAXCONN, "set", "4096 -> 8192")]
    assert host.values == {**BEFORE, SOMAXCONN: "8192"}
    host.clamps.clear()
    assert told(host.set(False, somaxconn=8192, syn=99999)) == [(SYN, "set", "2048 -> 99999")]
    host().absent()
    assert host.values == BEFORE


def test_a_value_that_went_with_its_module_is_let_go(host: Host) -> None:
    host.set(False, somaxconn=8192)
    host.tree.joinpath(*SOMAXCONN.split(".")).unlink()
    assert host().absent()["changes"] == []
    assert Ledger(str(host.state)).entries == {}


def test_what_cannot_be_given_back_stays_in_the_ledger(host: Host) -> None:
    host.set(False, somaxconn=8192)
    host.refuses[SOMAXCONN] = errno.EROFS
    for check in (True, False):
        with pytest.raises(sysctls.Refused) as caught:
            host(check, None).absent()
        assert "by hand" in caught.value.next_step
    host.tree.joinpath(*SOMAXCONN.split(".")).write_text("4096\n")  # a restart did it
    host(component=None).absent()
    assert Ledger(str(host.state)).entries == {}


def test_what_failed_is_neither_noted_nor_let_go(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.set(False, somaxconn=8192, syn=8192)
    monkeypatch.setattr(sysctls, "write", lambda *_: "no")
    for wanted in ({"somaxconn": 9999, "syn": 8192}, {"somaxconn": 8192}):
        with pytest.raises(sysctls.Refused):
            host.set(False, **wanted)
        ledger = Ledger(str(host.state))
        assert ledger.owned("sysctl", "kernel") == {SOMAXCONN: "4096", SYN: "2048"}
        assert ledger.notes("sysctl") == {SOMAXCONN: "8192", SYN: "8192"}


def test_two_components_share_a_before_value(host: Host) -> None:
    host.set(False, somaxconn=8192)
    host(component="other").present({SOMAXCONN: 8192})
    assert host().absent()["changes"] == []
    assert host.values[SOMAXCONN] == "8192"
    assert told(host(component="other").absent()) == [(SOMAXCONN, "restore", "8192 -> 4096")]


def test_a_kill_before_the_first_write_loses_no_before_value(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(sysctls, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            host.set(False, somaxconn=8192)
    host.tree.joinpath(*SOMAXCONN.split(".")).write_text("8192\n")  # written, and then killed
    assert host.set(False, somaxconn=8192)["changed"] is False
    host().absent()
    assert host.values == BEFORE


ENTRY = {"before": "4096", "owners": ["kernel"]}


@pytest.mark.parametrize(
    "text",
    [
        '{"schema": 1, "entries": {"sysctl:net.core.somaxconn": {"bef',
        "",
        json.dumps({"schema": 1}),
        *(
            json.dumps({"schema": 1, "entries": {key: entry}})
            for key, entry in [
                ("sysctl:net.core.somaxconn", "4096"),
                ("sysctl:net.core.somaxconn", {"before": "4096"}),
                ("sysctl:net.core.somaxconn", {**ENTRY, "before": None}),
                ("sysctl:net.core.somaxconn", {**ENTRY, "before": 4096}),
                ("sysctl:net.core.somaxconn", {**ENTRY, "before": ""}),
                ("sysctl:net.core.somaxconn", {**ENTRY, "note": ["8192"]}),
                ("sysctl:net.core.somaxconn", {**ENTRY, "owners": []}),
                ("sysctl:../../etc/passwd", ENTRY),
                ("sysctl:net/../x.y", ENTRY),
            ]
        ),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_a_ledger_that_was_damaged_is_refused(host: Host, text: str, check: bool) -> None:
    host.state.mkdir()
    (host.state / "ledger.json").write_text(text)
    for act in (lambda: host.set(check, somaxconn=9), host(check).absent, host(check, None).absent):
        with pytest.raises(StateError, match=r"ledger\.json"):
            act()
    assert host.values == BEFORE and not host.writes


def test_a_before_value_of_another_kind_is_refused(host: Host) -> None:
    host.set(False, somaxconn=8192)
    path = host.state / "ledger.json"
    for edit in ('"lots"', '"4096 1"'):
        path.write_text(path.read_text().replace('"4096"', edit))
        with pytest.raises(sysctls.Refused, match="of another kind"):
            host(True).absent()
        path.write_text(path.read_text().replace(edit, '"4096"'))


@pytest.mark.parametrize("name", ["somaxconn", "../x.y", "net.core.", "net/core.x", "Net.x", ""])
def test_names_that_are_none_are_refused(host: Host, name: str) -> None:
    with pytest.raises(sysctls.Refused, match="no name of a setting"):
        host(True).present({name: 1})


NUMBERS = st.dictionaries(
    st.sampled_from([SOMAXCONN, SYN, MAPS]), st.integers(0, 2**31 - 1), max_size=3
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(NUMBERS, max_size=6))
def test_whatever_was_wanted_in_between_the_originals_come_back(
    host: Host, wishes: list[dict[str, int]]
) -> None:
    for wanted in wishes:
        planned = host(True).present(wanted)
        assert host().present(wanted) == planned
        assert host.values == {**BEFORE, **{name: str(value) for name, value in wanted.items()}}
        assert host().present(wanted)["changed"] is False
    host().absent()
    assert host.values == BEFORE


# ---- after a rollback of files --------------------------------------------------------------


@pytest.fixture
def commit(host: Host, tmp_path: Path) -> Callable[..., int]:
    """Write the set ``kernel`` as the role does; ``run_`` undoes nothing but names who did."""
    sysctls_path = tmp_path / "90-cloudlet.conf"

    def do(request: dict[str, Any]) -> int:
        result = config_engine.apply(request, str(host.state))
        number: int = result["generation"]
        return number

    def make(**values: int) -> int:
        wanted = host.set(False, **values)["wanted"]
        text = "".join(f"{name} = {value}\n" for name, value in wanted.items())
        file = {
            "path": str(sysctls_path), "content": f"# Written\n{text}".encode(), "owner": "root",
            "group": "root", "mode": "0644", "secret": False, "restart": [], "reload": [],
        }  # fmt: skip
        return do({
            "name": "kernel", "state": "present", "files": [file], "directories": [],
            "validate": [], "run": "one",
        })  # fmt: skip

    def back(number: int) -> int:
        store = config_history.config_store.SetStore(str(host.state), "kernel")
        return do(config_history.request_for(store, number, run="two", undoes="one"))

    make.back = back  # type: ignore[attr-defined]
    return make


@pytest.mark.skipif(os.geteuid() != 0, reason="files get owners")
def test_runtime_values_follow_the_file_that_comes_back(
    host: Host, commit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysctls, "PATH", str(tmp_path / "90-cloudlet.conf"))
    first = commit(somaxconn=8192, syn=1000)
    second = commit(somaxconn=16384, maps=70000)
    going = {"kernel": {"from": second, "to": first}}
    planned = host(True).followed(going)
    assert sorted(told(planned)) == [
        (SOMAXCONN, "set", "16384 -> 8192"),
        (SYN, "set", "2048 -> 1000"),
        (MAPS, "restore", "70000 -> 65530"),
    ]
    commit.back(first)

    def unfinished() -> bool:
        (one,) = config_history.histories(str(host.state))
        return bool(one["unfinished"])

    # A run that is cut off here is finished by the next rollback, which need not name the set.
    assert unfinished()
    assert host(True).followed({}) == planned
    assert host().followed(going) == planned
    assert host.values == {**BEFORE, SOMAXCONN: "8192", SYN: "1000"}
    assert not unfinished()
    # What another hand has set meanwhile is none of a rollback's business.
    host.tree.joinpath(*SYN.split(".")).write_text("1\n")
    assert not unfinished() and host().followed({})["changes"] == []


def test_a_host_without_the_set_is_left_alone(host: Host) -> None:
    assert host().followed({})["changed"] is False
    assert not host.state.exists()
