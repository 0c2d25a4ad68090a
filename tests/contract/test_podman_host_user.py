"""``podman_user``: when it lets an account linger, starts its manager and migrates Podman."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import podman_account
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import Result
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import Ledger
from ansible_collections.cloudlet.deploy.plugins.module_utils.idmaps import (
    Extent,
    Refused,
    podman_map,
    written,
)
from ansible_collections.cloudlet.deploy.plugins.modules import podman_user

pytestmark = pytest.mark.one_core

UID, BASE = 989, (2_000_000, 65536)
ENTRY = ("oodsvc", UID, "/var/lib/oodsvc")


class Entry(NamedTuple):
    pw_name: str
    pw_uid: int
    pw_dir: str


class Host:
    """An account's manager and namespace, as the commands that would change them see it."""

    def __init__(self, base: Path) -> None:
        self.state = base / "state"
        self.exists, self.lingers, self.active = True, False, False
        self.namespaces: dict[int, dict[str, list[Extent]]] = {}
        self.commands: list[str] = []
        self.fails = ""

    def run(self, argv: list[str], timeout: float | None = None) -> Result:
        text = " ".join(argv)
        if "is-active" in argv:
            return Result(0 if self.active else 3, "", "")
        if "show-user" in argv:
            return Result(0, "\n", "")
        self.commands.append(text)
        if self.fails and self.fails in text:
            return Result(1, "", "no")
        if "linger" in text:
            self.lingers = "enable-linger" in argv
        if "systemctl" in argv:
            self.active = "start" in argv
        if "migrate" in argv or "stop" in argv:
            self.namespaces = {}
        return Result(0, "", "")

    def __call__(self, check: bool = False) -> podman_user.PodmanUser:
        return podman_user.PodmanUser("podman_host", str(self.state), self.run, check)

    def entry(self, account: str) -> Entry | None:
        return Entry(*ENTRY) if self.exists and account == "oodsvc" else None


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host(tmp_path)
    monkeypatch.setattr(podman_user, "entry_of", host.entry)
    monkeypatch.setattr(podman_account, "lingers", lambda account: host.lingers)
    monkeypatch.setattr(podman_account, "namespaces", lambda uid: host.namespaces)
    return host


def _maps(*ids: tuple[int, int]) -> dict[str, Any]:
    """As ``subid_set`` returns them, through JSON."""
    extents = [list(extent) for extent in podman_map(UID, [BASE, *ids])]
    return {"uid": extents, "gid": extents}


def _live(*ids: tuple[int, int]) -> dict[str, list[Extent]]:
    extents = podman_map(UID, [BASE, *ids])
    return {"uid": extents, "gid": extents}


def _told(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    assert result["changed"] == bool(result["changes"])
    return [(one["kind"], one["name"], one["action"]) for one in result["changes"]]


def test_an_account_lingers_and_gives_it_up_again(host: Host) -> None:
    planned = host(True).present("oodsvc", _maps())
    assert host.commands == [] and not host.state.exists()
    assert host().present("oodsvc", _maps()) == planned
    assert _told(planned) == [("account", "oodsvc", "change")]
    assert host.commands == ["loginctl enable-linger oodsvc", "systemctl start user@989.service"]
    assert not host().present("oodsvc", _maps())["changed"] and len(host.commands) == 2
    host.active = False
    assert _told(host().present("oodsvc", _maps())) == [("unit", "user@989.service", "start")]
    assert host(True).absent() == host().absent()
    assert not host.lingers and not host.active and Ledger(str(host.state)).entries == {}
    assert not host().absent()["changed"]


def test_an_account_that_lingered_before_goes_on(host: Host) -> None:
    host.lingers = host.active = True
    assert not host().present("oodsvc", _maps())["changed"]
    assert not host().absent()["changed"] and host.lingers and host.active
    assert Ledger(str(host.state)).entries == {}


def test_podman_is_migrated_only_where_its_namespace_is_another_one(host: Host) -> None:
    host.lingers = host.active = True
    # No namespace yet, then the right one.
    assert not host().present("oodsvc", _maps((323456, 1)))["changed"]
    host.namespaces = {7: _live((323456, 1))}
    assert not host().present("oodsvc", _maps((323456, 1)))["changed"]
    planned = host(True).present("oodsvc", _maps((323456, 2)))
    assert _told(planned) == [("podman", "oodsvc", "migrate")] and host.commands == []
    assert host().present("oodsvc", _maps((323456, 2))) == planned
    (command,) = host.commands
    assert command == (
        "runuser -u oodsvc -- env -C /var/lib/oodsvc HOME=/var/lib/oodsvc"
        " XDG_RUNTIME_DIR=/run/user/989 podman system migrate"
    )


def test_a_bare_host_is_planned_and_an_account_must_be_there(host: Host) -> None:
    host.exists = False
    assert _told(host(True).present("oodsvc", _maps())) == [("account", "oodsvc", "change")]
    with pytest.raises(Refused, match="account oodsvc does not exist"):
        host().present("oodsvc", _maps())


def test_what_fails_is_named(host: Host) -> None:
    host.fails = "enable-linger"
    with pytest.raises(Refused, match="'loginctl enable-linger oodsvc' failed: no"):
        host().present("oodsvc", _maps())


def test_only_what_keeps_podmans_namespace_counts(tmp_path: Path) -> None:
    own = os.getuid()

    def process(pid: int, comm: str, extents: list[Extent]) -> None:
        base = tmp_path / str(pid)
        base.mkdir()
        (base / "comm").write_text(f"{comm}\n")
        for name in ("uid_map", "gid_map"):
            (base / name).write_text(written(extents))

    podman = podman_map(own, [BASE])
    process(1, "systemd", [Extent(0, 0, 2**32 - 1)])
    process(10, "catatonit", podman)
    process(11, "conmon", podman)
    process(12, "sleep", podman)
    process(13, "podman", [Extent(0, own + 1, 1)])
    (tmp_path / "14").mkdir()
    (tmp_path / "self").mkdir()
    found = podman_account.namespaces(own, str(tmp_path))
    assert found == {pid: {"uid": podman, "gid": podman} for pid in (10, 11)}
    assert podman_account.namespaces(own + 1, str(tmp_path)) == {}
