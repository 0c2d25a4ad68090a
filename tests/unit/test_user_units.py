"""Units of an account's own systemd: whose they are, how they are asked for, what is missing."""

from __future__ import annotations

import itertools
import pwd
from pathlib import Path

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import (
    activation,
    host_state,
    status,
    units,
    user_manager,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import Result
from ansible_collections.cloudlet.deploy.plugins.modules import unit_set

from tests.unit.config_host import Host, Units, file

POD, OTHER, DOOR = "~svc/pod.service", "~svc/other.service", "door.service"
NOTHING: dict[str, set[str]] = {"restart": set(), "reload": set()}
RUN = {POD: {"enabled": True, "state": "started"}}


class Accounts:
    """Accounts by name, which may linger, and whose manager may run."""

    def __init__(self, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runtime, self.linger = base / "run", base / "linger"
        self.linger.mkdir()
        self.uids: dict[str, int] = {}
        monkeypatch.setattr(user_manager, "RUNTIME", str(self.runtime))
        monkeypatch.setattr(user_manager, "LINGER", str(self.linger))
        monkeypatch.setattr(user_manager.pwd, "getpwnam", self._entry)

    def add(self, name: str, uid: int, *, lingers: bool = True, runs: bool = True) -> None:
        self.uids[name] = uid
        if lingers:
            (self.linger / name).touch()
        if runs:
            self.awake(name)

    def awake(self, name: str) -> None:
        private = self.runtime / str(self.uids[name]) / "systemd" / "private"
        private.parent.mkdir(parents=True, exist_ok=True)
        private.touch()

    def _entry(self, name: str) -> pwd.struct_passwd:
        uid = self.uids[name]
        return pwd.struct_passwd((name, "x", uid, uid + 1, "", f"/var/lib/{name}", "/bin/sh"))


class Managers:
    """systemctl of the host ("") and of accounts by uid; counts calls for each."""

    def __init__(self, accounts: Accounts) -> None:
        self.accounts = accounts
        self.units: dict[str, dict[str, dict[str, str]]] = {"": {}}
        self.files: dict[str, list[str]] = {}
        self.calls: list[tuple[str, str]] = []
        self.journals: list[list[str]] = []
        self.ids = itertools.count(1)
        self.broken: str = ""

    def __call__(self, argv: list[str], timeout: float | None = None) -> Result:
        who, rest = "", argv
        if argv[0] == "setpriv":
            uid = next(a for a in argv if a.startswith("--reuid=")).partition("=")[2]
            assert f"XDG_RUNTIME_DIR={self.accounts.runtime}/{uid}" in argv
            assert f"--regid={int(uid) + 1}" in argv and "--init-groups" in argv
            who, rest = uid, argv[argv.index("systemctl") :]
            assert rest[1] == "--user"
            rest = [rest[0], *rest[2:]]
        if rest[0] == "journalctl":
            self.journals.append(rest[1:])
            return Result(0, "last words", "")
        verb, names = rest[1], [a for a in rest[2:] if not a.startswith("-")]
        self.calls.append((who, " ".join([verb, *names])))
        if who and self.broken:
            return Result(1, "", self.broken)
        return self._do(who, verb, names)

    def _do(self, who: str, verb: str, names: list[str]) -> Result:
        known = self.units.setdefault(who, {})
        if verb == "show":
            lost = {"LoadState": "not-found", "ActiveState": "inactive"}
            blocks = [known.get(name, lost) for name in names]
            text = "\n\n".join("\n".join(f"{k}={v}" for k, v in b.items()) for b in blocks)
            return Result(0, text + "\n", "")
        if verb == "daemon-reload":
            for name in self.files.get(who, ()):
                known.setdefault(
                    name,
                    {"LoadState": "loaded", "ActiveState": "inactive", "UnitFileState": "disabled"},
                )
            return Result(0, "", "")
        for name in names:
            if name.startswith("user@"):
                account = next(a for a, u in self.accounts.uids.items() if f"user@{u}." in name)
                self.accounts.awake(account)
            elif verb in ("start", "restart"):
                known[name].update(ActiveState="active", InvocationID=str(next(self.ids)))
            elif verb == "enable":
                known[name].update(UnitFileState="enabled")
            elif verb == "disable":
                known[name].update(UnitFileState="disabled")
            elif verb == "stop":
                known[name].update(ActiveState="inactive")
        return Result(0, "", "")


@pytest.fixture
def accounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Accounts:
    return Accounts(tmp_path, monkeypatch)


@pytest.fixture
def managers(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> Managers:
    monkeypatch.setattr(activation, "running_units", lambda names: {})
    return Managers(accounts)


def component(managers: Managers, state: Path, check: bool = False) -> unit_set.UnitSet:
    clock = itertools.count().__next__
    systemd = units.Systemd(managers, sleep=lambda _: None, clock=lambda: float(clock()))
    return unit_set.UnitSet(systemd, "pod", str(state), check)


@pytest.mark.parametrize(
    "name", ["~svc", "~/a.service", "svc/a.service", "~s/b/c.service", "~a b/c"]
)
def test_a_name_that_is_none_is_refused_with_its_form(name: str) -> None:
    with pytest.raises(user_manager.ManagerError, match=r"~ACCOUNT/NAME\.service"):
        user_manager.split(name)


def test_each_manager_is_asked_once(accounts: Accounts, managers: Managers) -> None:
    accounts.add("svc", 989)
    accounts.add("web", 990)
    managers.units["989"] = {"pod.service": {"LoadState": "loaded", "ActiveState": "active"}}
    found = units.Systemd(managers).show([DOOR, POD, "~web/a.service", OTHER])
    assert list(found) == [DOOR, POD, "~web/a.service", OTHER]
    assert [who for who, _ in managers.calls] == ["", "989", "990"]
    assert managers.calls[1][1] == "show pod.service other.service"
    assert found[POD].active and not found[OTHER].exists


@pytest.mark.parametrize("there", ["nobody", "asleep", "ended"])
def test_units_of_a_manager_that_does_not_run_are_not_there(
    accounts: Accounts, managers: Managers, there: str
) -> None:
    if there != "nobody":
        accounts.add("svc", 989, runs=there == "ended")
    managers.broken = "Failed to connect to user scope bus via local transport: refused"
    found = units.Systemd(managers).show([POD])
    assert not found[POD].exists and not found[POD].active


def test_a_manager_that_fails_otherwise_is_an_error(accounts: Accounts, managers: Managers) -> None:
    accounts.add("svc", 989)
    managers.broken = "Access denied"
    with pytest.raises(units.UnitError, match="Access denied"):
        units.Systemd(managers).show([POD])


def test_a_pod_is_enabled_and_started_by_its_own_manager(
    accounts: Accounts, managers: Managers, tmp_path: Path
) -> None:
    accounts.add("svc", 989)
    managers.files["989"] = ["pod.service"]
    state = tmp_path / "state"
    planned = component(managers, state, check=True).present(RUN, NOTHING, 90, 0)
    done = component(managers, state).present(RUN, NOTHING, 90, 0)
    assert planned == done
    assert [(c["name"], c["action"]) for c in done["changes"]] == [(POD, "enable"), (POD, "start")]
    assert {who for who, _ in managers.calls} == {"989"}
    assert ("989", "daemon-reload") in managers.calls
    assert host_state.Ledger(str(state)).owned("unit", "pod") == {
        POD: {"enabled": False, "active": False}
    }
    assert component(managers, state).present(RUN, NOTHING, 90, 0)["changes"] == []
    gone = component(managers, state).absent(90, 0)
    assert [c["action"] for c in gone["changes"]] == ["stop", "disable"]
    assert managers.units["989"]["pod.service"]["ActiveState"] == "inactive"


def test_an_account_that_just_began_to_linger_is_awakened(
    accounts: Accounts, managers: Managers, tmp_path: Path
) -> None:
    accounts.add("svc", 989, runs=False)
    managers.files["989"] = ["pod.service"]
    component(managers, tmp_path / "state").present(RUN, NOTHING, 90, 0)
    assert managers.calls[0] == ("", "start user@989.service")
    assert managers.units["989"]["pod.service"]["ActiveState"] == "active"


@pytest.mark.parametrize(
    ("there", "step"), [(False, "no account svc"), (True, "loginctl enable-linger svc")]
)
def test_what_cannot_be_started_says_what_to_do_and_a_plan_is_made(
    accounts: Accounts, managers: Managers, tmp_path: Path, there: bool, step: str
) -> None:
    if there:
        accounts.add("svc", 989, lingers=False, runs=False)
    planned = component(managers, tmp_path / "state", check=True).present(RUN, NOTHING, 90, 0)
    assert [c["action"] for c in planned["changes"]] == ["enable", "start"]
    with pytest.raises(units.UnitError, match=step):
        component(managers, tmp_path / "state").present(RUN, NOTHING, 90, 0)


def test_the_story_of_a_failure_is_in_the_journal_of_the_account(
    accounts: Accounts, managers: Managers
) -> None:
    accounts.add("svc", 989)
    managers.units["989"] = {"pod.service": {"LoadState": "loaded", "ActiveState": "failed"}}
    with pytest.raises(units.UnitError) as failed:
        units.Systemd(managers).await_up([POD], 1, 0)
    words = ["_UID=989", "_SYSTEMD_USER_UNIT=pod.service", "+", "_UID=989", "USER_UNIT=pod.service"]
    assert managers.journals[0][:5] == words
    assert f"More: 'journalctl {' '.join(words)}'" in str(failed.value)
    assert "last words" in str(failed.value)


def test_the_story_is_that_of_the_unit_that_failed(accounts: Accounts, managers: Managers) -> None:
    """Not of one that is bound to it, and was stopped with it."""
    accounts.add("svc", 989)
    managers.units["989"] = {
        "pod-watch.service": {"ActiveState": "inactive", "Result": "success"},
        "pod.service": {
            "ActiveState": "activating", "SubState": "auto-restart", "Result": "exit-code"
        },
    }  # fmt: skip
    with pytest.raises(units.UnitError, match=r"^~svc/pod\.service did not stay up"):
        units.Systemd(managers).await_up(["~svc/pod-watch.service", POD], 1, 0)


def test_status_tells_where_the_journal_is(accounts: Accounts, managers: Managers) -> None:
    accounts.add("svc", 989)
    needs = {"pod": {"units": [POD, DOOR]}}
    told = {entry["unit"]: entry for entry in status._units(needs, managers, [])}
    assert not told[POD]["exists"] and told[DOOR]["journal"] == "journalctl -u door.service"
    assert "_SYSTEMD_USER_UNIT=pod.service" in told[POD]["journal"]


def test_a_changed_file_makes_the_pod_pending_until_it_restarts(
    accounts: Accounts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through a stand-in for setpriv, so that the whole command is one that can be run."""
    accounts.add("svc", 989)
    host, running = Host(tmp_path / "host"), Units(tmp_path, monkeypatch)
    programs = tmp_path / "bin"
    systemctl = programs / "systemctl"
    systemctl.write_text(systemctl.read_text().replace("[ ", 'test "$1" != --user || shift\n[ ', 1))
    setpriv = programs / "setpriv"
    setpriv.write_text('#!/bin/sh\nwhile [ "$1" != env ]; do shift; done\nexec "$@"\n')
    setpriv.chmod(0o755)
    running.set("pod.service", "one")
    running.set("door.service", "one")
    wanted = file(host.etc / "a", restart=[POD, DOOR])
    for result in (host.plan(wanted), host.apply(wanted), host.apply(wanted)):
        assert result["units_pending"]["restart"] == [DOOR, POD]
    running.set("pod.service", "two")
    assert activation.pending_units(str(host.state))["restart"] == {DOOR: ["demo"]}
    running.set("door.service", "two")
    assert not host.apply(wanted)["changed"]


def test_systemd_is_told_of_units_that_went_by_account(
    accounts: Accounts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts.add("svc", 989)
    told: list[list[str]] = []
    monkeypatch.setattr(activation, "SYSTEMD_RUNNING", str(tmp_path))
    monkeypatch.setattr(activation.shutil, "which", lambda *_, **__: "/bin/systemctl")

    def remember(argv: list[str], timeout: float) -> tuple[str, str]:
        told.append(argv)
        return "", ""

    monkeypatch.setattr(activation, "_output", remember)
    activation.reload_systemd([POD, "~gone/a.service", DOOR])
    assert sorted(argv[0] for argv in told) == ["/bin/systemctl", "setpriv"]
    assert all(argv[-1] == "daemon-reload" for argv in told)
