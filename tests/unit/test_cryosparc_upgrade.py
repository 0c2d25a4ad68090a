"""From one version to another, with everything that may fail or be cut off on the way."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import cryosparc_upgrade
from ansible_collections.cloudlet.deploy.plugins.module_utils.cryosparc_layout import Layout
from ansible_collections.cloudlet.deploy.plugins.module_utils.cryosparc_upgrade import Upgrade
from ansible_collections.cloudlet.deploy.plugins.module_utils.idmaps import Refused
from ansible_collections.cloudlet.deploy.plugins.module_utils.units import UnitError

OLD, NEW = "v5.0.1", "v5.0.2"


class Killed(BaseException):
    """The module's process is no more."""


class Host:
    """A host with a master: systemd, the vendor's program and a database that versions convert.

    ``fails`` names the step that does not work, ``killed_at`` the number of the one during which
    the module is killed.
    """

    def __init__(self, home: Path) -> None:
        self.layout = Layout(str(home / "opt"))
        self.database = home / "database"
        for version in (OLD, NEW):
            for part in ("master", "worker"):
                Path(self.layout.part(version, part)).mkdir(parents=True)
        self.layout.use(OLD)
        self.database.mkdir()
        (self.database / "data").write_text(OLD)
        self.running = OLD
        self.maintenance = False
        self.backups: dict[str, str] = {}
        self.steps: list[str] = []
        self.fails = ""
        self.killed_at = -1
        self.entry = SimpleNamespace(pw_uid=os.getuid(), pw_gid=os.getgid())
        self.options = {
            "version": NEW,
            "database": str(self.database),
            "backup_directory": str(home / "backups"),
            "wait": 10,
            "state_dir": str(home / "state"),
        }

    def _step(self, name: str) -> None:
        self.steps.append(name)
        if len(self.steps) - 1 == self.killed_at:
            raise Killed

    # What Upgrade takes for systemd.
    def show(self, names: list[str]) -> dict[str, Any]:
        return {name: SimpleNamespace(name=name, active=bool(self.running)) for name in names}

    def act(self, verb: str, unit: Any, timeout: int) -> None:
        version = self.layout.current()
        self._step(f"{verb} {version}")
        if verb == "stop":
            self.running = ""
            return
        found = self.database / "data"
        if found.exists() and found.read_text() > version:
            raise UnitError("the database is of a newer version")
        found.write_text(version)
        if self.fails == f"start {version}":
            raise UnitError("it did not start.")
        self.running = version

    # What it takes for the vendor's program.
    def checked(self, what: str, program: str, *words: str, **_: Any) -> None:
        self._step(" ".join(words[:2]))
        if self.fails == words[0]:
            raise Refused(f"{what} failed: asked to", "Do something.")
        assert self.running, f"{words} without a master"
        if words[0] == "maintenancemode":
            self.maintenance = words[1] == "on"
        elif words[0] == "backup":
            self.backups[words[-1]] = (self.database / "data").read_text()
        elif words[0] == "restore":
            (self.database / "data").write_text(self.backups[Path(words[-1]).name])

    def upgrade(self) -> Upgrade:
        return Upgrade(self.options, self.layout, self, self, sleep=lambda _: None)

    def is_at(self, version: str) -> bool:
        """Whether all of it is of that version, and nothing is under way."""
        found = (self.database / "data").read_text()
        still = not self.maintenance and self.upgrade().note() is None
        return self.running == self.layout.current() == found == version and still


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(cryosparc_upgrade.cryosparc_host, "processes_below", lambda _: {})
    return Host(tmp_path)


def test_the_way_there(host: Host) -> None:
    host.upgrade().go(OLD)
    assert host.is_at(NEW)
    assert list(host.backups.values()) == [OLD]
    assert host.steps == [
        "maintenancemode on",
        "backup --dir",
        f"stop {OLD}",
        f"start {NEW}",
        "maintenancemode off",
    ]


def test_a_master_that_was_stopped_is_started_for_its_backup(host: Host) -> None:
    host.running = ""
    host.upgrade().go(OLD)
    assert host.is_at(NEW)
    assert host.steps[0] == f"start {OLD}"


def test_without_the_old_version_there_is_no_backup(host: Host) -> None:
    host.running, host.fails = "", f"start {OLD}"
    with pytest.raises(Refused, match="only it can back up"):
        host.upgrade().go(OLD)
    assert host.layout.current() == OLD
    assert host.upgrade().note() is None


@pytest.mark.parametrize("fails", ["backup", f"start {NEW}"])
def test_what_fails_gives_the_old_version_and_its_database_back(host: Host, fails: str) -> None:
    host.fails = fails
    with pytest.raises(Refused, match=f"{OLD} runs again, with its database"):
        host.upgrade().go(OLD)
    assert host.is_at(OLD)
    aside = [path.name for path in host.database.parent.glob("database.of-*")]
    assert bool(aside) == (fails != "backup")


def test_processes_that_do_not_end_keep_the_database(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = {4711: "mongod"}
    monkeypatch.setattr(cryosparc_upgrade.cryosparc_host, "processes_below", lambda _: left)
    with pytest.raises(Refused, match=r"mongod \(pid 4711\)"):
        host.upgrade().go(OLD)
    assert host.is_at(OLD)


def _moments() -> Iterator[tuple[str, int]]:
    """Every step of the way there, and of a way that fails and leads back."""
    yield from (("", number) for number in range(5))
    yield from ((f"start {NEW}", number) for number in range(9))


@pytest.mark.parametrize(("fails", "killed_at"), list(_moments()))
def test_a_kill_at_any_step_is_made_up_for(host: Host, fails: str, killed_at: int) -> None:
    """The old version is brought back, wherever it was, and gets to the new one again."""
    host.fails, host.killed_at = fails, killed_at
    with pytest.raises(Killed):
        host.upgrade().go(OLD)
    host.fails, host.killed_at = "", -1
    host.upgrade().back(host.upgrade().note())
    assert host.is_at(OLD)
    host.upgrade().go(OLD)
    assert host.is_at(NEW)
    assert OLD in host.backups.values()


def test_a_switch_that_was_cut_off_is_finished(host: Host) -> None:
    """After a reboot people may have worked with the new version: it is not taken from them."""
    host.killed_at = 4
    with pytest.raises(Killed):
        host.upgrade().go(OLD)
    host.killed_at = -1
    host.upgrade().finish(host.upgrade().note())
    assert host.is_at(NEW)
    assert not list(host.database.parent.glob("database.of-*"))


def test_a_way_back_that_fails_too_is_told_with_the_backup(host: Host) -> None:
    host.fails = "restore"
    found = host.act

    def act(verb: str, unit: Any, timeout: int) -> None:
        found(verb, unit, timeout)
        if (verb, host.layout.current()) == ("start", NEW):
            host.running = ""
            raise UnitError("it did not start")

    host.act = act  # type: ignore[method-assign]
    with pytest.raises(Refused, match="could not be brought back") as refused:
        host.upgrade().go(OLD)
    assert "/backups/before-" in refused.value.next_step
    host.fails, host.act = "", found  # type: ignore[method-assign]
    host.upgrade().back(host.upgrade().note())
    assert host.is_at(OLD)


def test_a_kill_on_the_way_back_is_made_up_for_too(host: Host) -> None:
    host.fails = f"start {NEW}"
    for killed_at in (5, 7, 8):
        host.killed_at, host.steps = killed_at, []
        with pytest.raises(Killed):
            if host.upgrade().note():
                host.upgrade().back(host.upgrade().note())
                host.upgrade().go(OLD)
            host.upgrade().go(OLD)
    host.fails, host.killed_at = "", -1
    host.upgrade().back(host.upgrade().note())
    assert host.is_at(OLD)
