"""``unit_set`` against a stand-in for systemctl that keeps units in memory."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import activation, units
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import Result
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import Ledger, write_json
from ansible_collections.cloudlet.deploy.plugins.modules import unit_set

DOOR = "door.service"
NOTHING: dict[str, set[str]] = {"restart": set(), "reload": set()}
RUN = {DOOR: {"enabled": True, "state": "started"}}


class MiniSystemd:
    """systemctl and journalctl; ``units`` is what is loaded, ``files`` what a reload finds."""

    def __init__(self) -> None:
        self.units: dict[str, dict[str, str]] = {}
        self.files: dict[str, dict[str, str]] = {}
        self.calls: list[list[str]] = []
        self.crashes: dict[str, int] = {}
        self.ids = itertools.count(1)
        self.answers = True
        self.now = 0.0

    def add(self, name: str = DOOR, **properties: str) -> None:
        self.units[name] = {
            "LoadState": "loaded", "ActiveState": "inactive", "SubState": "dead",
            "UnitFileState": "disabled", "InvocationID": "", "NeedDaemonReload": "no",
            "CanReload": "yes", "Type": "simple", "Result": "success", "ExecMainStatus": "0",
            **properties,
        }  # fmt: skip

    def did(self) -> list[str]:
        """Verbs that change something, with their units."""
        quiet = ("show", "-u")
        return [
            " ".join(a for a in c[1:] if a != "--quiet") for c in self.calls if c[1] not in quiet
        ]

    def __call__(self, argv: list[str], timeout: float | None = None) -> Result:
        self.calls.append(argv)
        if argv[0] == "journalctl":
            return Result(0, "\n".join(f"line {i}" for i in range(30)), "")
        if not self.answers:
            return Result(1, "", "System has not been booted with systemd as init system")
        verb, names = argv[1], [a for a in argv[2:] if not a.startswith("-")]
        if verb == "show":
            return Result(0, "\n\n".join(self._show(n) for n in names) + "\n", "")
        if verb == "daemon-reload":
            for name, properties in self.files.items():
                self.add(name, **properties)
            for unit in self.units.values():
                unit["NeedDaemonReload"] = "no"
            return Result(0, "", "")
        for name in names:
            getattr(self, "_" + verb.replace("-", "_"))(self.units[name])
        failed = verb in ("start", "restart") and self.units[names[0]]["ActiveState"] == "failed"
        return Result(1 if failed else 0, "", "Job failed" if failed else "")

    def _show(self, name: str) -> str:
        unit = self.units.get(name, {"LoadState": "not-found", "ActiveState": "inactive"})
        if unit.get("ActiveState") == "active" and name in self.crashes:
            self.crashes[name] -= 1
            if self.crashes[name] < 0:
                unit.update(ActiveState="activating", SubState="auto-restart")
        return "\n".join(f"{key}={value}" for key, value in unit.items())

    def _start(self, unit: dict[str, str]) -> None:
        if unit["ActiveState"] == "failed":
            return
        unit.update(ActiveState="active", SubState="running", InvocationID=str(next(self.ids)))

    _restart = _start

    def _stop(self, unit: dict[str, str]) -> None:
        unit.update(ActiveState="inactive", SubState="dead")

    def _reload(self, unit: dict[str, str]) -> None:
        pass

    def _reset_failed(self, unit: dict[str, str]) -> None:
        unit["ActiveState"] = "inactive"

    def _enable(self, unit: dict[str, str]) -> None:
        unit["UnitFileState"] = "enabled"

    def _disable(self, unit: dict[str, str]) -> None:
        unit["UnitFileState"] = "disabled"

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def clock(self) -> float:
        return self.now


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> MiniSystemd:
    systemd = MiniSystemd()
    running = lambda names: {  # noqa: E731
        n: systemd.units[n]["InvocationID"]
        for n in names
        if n in systemd.units and systemd.units[n]["ActiveState"] == "active"
    }
    monkeypatch.setattr(activation, "running_units", running)
    return systemd


def component(
    host: MiniSystemd, state: Path, name: str = "se", check: bool = False
) -> unit_set.UnitSet:
    systemd = units.Systemd(host, sleep=host.sleep, clock=host.clock)
    return unit_set.UnitSet(systemd, name, str(state), check)


def present(
    host: MiniSystemd, state: Path, wanted: Any = RUN, pending: Any = NOTHING, **options: Any
) -> list[tuple[str, str]]:
    """Plan, run, and run again: all three must agree. Returns (unit, action) pairs."""
    full = {n: {"enabled": None, "state": None, **o} for n, o in wanted.items()}
    calls = len(host.calls)
    planned = component(host, state, check=True, **options).present(full, pending, 90, 2)
    assert all(call[1] == "show" for call in host.calls[calls:])
    done = component(host, state, **options).present(full, pending, 90, 2)
    assert planned == done and done["changed"] == bool(done["changes"])
    again = component(host, state, **options).present(full, NOTHING, 90, 2)
    assert again["changes"] == []
    return [(c["name"], c["action"]) for c in done["changes"]]


def absent(host: MiniSystemd, state: Path, name: str = "se") -> list[tuple[str, str]]:
    planned = component(host, state, name, check=True).absent(90, 2)
    done = component(host, state, name).absent(90, 2)
    assert planned == done
    assert component(host, state, name).absent(90, 2)["changes"] == []
    return [(c["name"], c["action"]) for c in done["changes"]]


def test_stopped_unit_is_enabled_then_started(host: MiniSystemd, tmp_path: Path) -> None:
    host.add()
    assert present(host, tmp_path) == [(DOOR, "enable"), (DOOR, "start")]
    assert host.did() == [f"enable {DOOR}", f"start {DOOR}"]


def test_running_unit_costs_one_question(host: MiniSystemd, tmp_path: Path) -> None:
    host.add(ActiveState="active", UnitFileState="enabled", InvocationID="1")
    component(host, tmp_path).present(RUN, NOTHING, 90, 2)
    assert [call[1] for call in host.calls] == ["show"]
    assert list(tmp_path.iterdir()) == []


def test_unit_that_is_not_there_yet_is_planned_as_it_will_run(
    host: MiniSystemd, tmp_path: Path
) -> None:
    planned = component(host, tmp_path, check=True).present(RUN, NOTHING, 90, 2)
    host.files[DOOR] = {}
    done = component(host, tmp_path).present(RUN, NOTHING, 90, 2)
    assert planned == done
    assert [c["action"] for c in done["changes"]] == ["enable", "start"]
    assert host.did()[0] == "daemon-reload"


def test_check_mode_without_systemd_plans_a_bare_host(host: MiniSystemd, tmp_path: Path) -> None:
    host.answers = False
    planned = component(host, tmp_path, check=True).present(RUN, NOTHING, 90, 2)
    assert [c["action"] for c in planned["changes"]] == ["enable", "start"]
    with pytest.raises(units.UnitError, match=r"not been booted with systemd.*init of this host"):
        component(host, tmp_path).present(RUN, NOTHING, 90, 2)


def test_missing_unit_is_an_error_only_for_real(host: MiniSystemd, tmp_path: Path) -> None:
    with pytest.raises(units.UnitError, match=r"no unit file for door\.service"):
        component(host, tmp_path).present(RUN, NOTHING, 90, 2)


def test_missing_unit_that_must_not_run_is_fine(host: MiniSystemd, tmp_path: Path) -> None:
    assert present(host, tmp_path, {DOOR: {"enabled": False, "state": "stopped"}}) == []
    assert host.did() == []


def test_changed_unit_file_is_read_before_anything_else(host: MiniSystemd, tmp_path: Path) -> None:
    host.add(NeedDaemonReload="yes")
    assert present(host, tmp_path)
    assert host.did()[0] == "daemon-reload"
    assert host.did().count("daemon-reload") == 1


@pytest.mark.parametrize(
    ("found", "pending", "actions"),
    [
        ({"ActiveState": "active"}, "restart", ["restart"]),
        ({"ActiveState": "active"}, "reload", ["reload"]),
        ({"ActiveState": "active", "CanReload": "no"}, "reload", ["restart"]),
        ({"ActiveState": "inactive"}, "restart", ["start"]),
        ({"ActiveState": "failed"}, "", ["start"]),
        ({"ActiveState": "activating", "SubState": "auto-restart"}, "", ["start"]),
        # With the file of before, or with that of now.
        (
            {"ActiveState": "activating", "SubState": "start", "NeedDaemonReload": "yes"},
            "",
            ["restart"],
        ),
        ({"ActiveState": "active", "NeedDaemonReload": "yes"}, "", []),
        ({"ActiveState": "reloading"}, "", []),
    ],
)
def test_action_by_state(
    host: MiniSystemd, tmp_path: Path, found: dict[str, str], pending: str, actions: list[str]
) -> None:
    host.add(UnitFileState="enabled", **found)
    ordered = {**NOTHING, pending: {DOOR}} if pending else NOTHING
    assert [action for _, action in present(host, tmp_path, RUN, ordered)] == actions


@pytest.mark.parametrize("state", [("activating", "auto-restart"), ("deactivating", "stop-post")])
def test_unit_that_tries_by_itself_is_begun_anew(
    host: MiniSystemd, tmp_path: Path, state: tuple[str, str]
) -> None:
    """A start would join the try that is under way, or that ends just now, and fail with it."""
    host.add(UnitFileState="enabled", ActiveState=state[0], SubState=state[1])
    assert present(host, tmp_path) == [(DOOR, "start")]
    assert host.did() == [f"restart {DOOR}"]


@pytest.mark.parametrize("state", [("activating", "auto-restart"), ("deactivating", "stop-post")])
def test_unit_that_tries_again_and_again_is_stopped(
    host: MiniSystemd, tmp_path: Path, state: tuple[str, str]
) -> None:
    host.add(UnitFileState="enabled", ActiveState=state[0], SubState=state[1])
    assert present(host, tmp_path, {DOOR: {"state": "stopped"}}) == [(DOOR, "stop")]
    assert host.did() == [f"stop {DOOR}"]


def test_unit_left_alone_is_restarted_only_while_it_runs(host: MiniSystemd, tmp_path: Path) -> None:
    host.add("a.service", ActiveState="active")
    host.add("b.service")
    pending = {"restart": {"a.service", "b.service", "c.service"}, "reload": set()}
    done = present(host, tmp_path, {"a.service": {}, "b.service": {}}, pending)
    assert done == [("a.service", "restart")]


@pytest.mark.parametrize("state", ["static", "indirect", "generated"])
@pytest.mark.parametrize("enabled", [True, False])
def test_enablement_that_cannot_change_is_left(
    host: MiniSystemd, tmp_path: Path, state: str, enabled: bool
) -> None:
    host.add(UnitFileState=state)
    assert present(host, tmp_path, {DOOR: {"enabled": enabled, "state": "started"}}) == [
        (DOOR, "start")
    ]
    assert absent(host, tmp_path) == [(DOOR, "stop")]


@pytest.mark.parametrize("check", [True, False])
def test_masked_unit_is_refused(host: MiniSystemd, tmp_path: Path, check: bool) -> None:
    host.add(LoadState="masked", UnitFileState="masked")
    with pytest.raises(units.UnitError, match=r"systemctl unmask door\.service"):
        component(host, tmp_path, check=check).present(RUN, NOTHING, 90, 2)
    assert host.did() == []


def test_unit_file_with_faults_names_the_tool(host: MiniSystemd, tmp_path: Path) -> None:
    host.add(LoadState="bad-setting")
    with pytest.raises(units.UnitError, match=r"systemd-analyze verify door\.service"):
        component(host, tmp_path).present(RUN, NOTHING, 90, 2)


def test_unit_that_fails_shows_its_last_lines(host: MiniSystemd, tmp_path: Path) -> None:
    host.add(UnitFileState="enabled")
    host._start = lambda unit: unit.update(  # type: ignore[method-assign]
        ActiveState="failed", SubState="failed", Result="exit-code", ExecMainStatus="3"
    )
    with pytest.raises(units.UnitError) as caught:
        component(host, tmp_path).present(RUN, NOTHING, 90, 2)
    text = str(caught.value)
    assert "failed (failed), result exit-code, exit status 3" in text
    assert "line 29" in text and "line 20" in text and "line 19" not in text


def test_unit_that_dies_within_the_settle_time_fails(host: MiniSystemd, tmp_path: Path) -> None:
    host.add(UnitFileState="enabled")
    host.crashes[DOOR] = 5
    with pytest.raises(units.UnitError, match=r"did not stay up: it is activating \(auto-restart"):
        component(host, tmp_path).present(RUN, NOTHING, 90, 2)


def test_unit_that_takes_too_long_fails(host: MiniSystemd, tmp_path: Path) -> None:
    host.add(UnitFileState="enabled", ActiveState="activating", SubState="start")
    with pytest.raises(units.UnitError, match="is not up after 5 s"):
        component(host, tmp_path).present(RUN, NOTHING, 5, 2)
    assert 5 <= host.now < 10


def test_oneshot_that_has_run_is_done(host: MiniSystemd, tmp_path: Path) -> None:
    host.add(Type="oneshot", UnitFileState="enabled")
    host._start = lambda unit: unit.update(InvocationID="7")  # type: ignore[method-assign]
    component(host, tmp_path).present(RUN, NOTHING, 90, 2)


def test_before_values_are_written_first_and_given_back(host: MiniSystemd, tmp_path: Path) -> None:
    host.add()
    seen = []
    start = host._start
    host._start = lambda unit: (  # type: ignore[method-assign]
        seen.append(Ledger(str(tmp_path)).entries),
        start(unit),
    )
    present(host, tmp_path)
    assert seen[0] == {f"unit:{DOOR}": {"before": {"enabled": False, "active": False},
                                        "owners": ["se"]}}  # fmt: skip
    host.calls.clear()
    assert absent(host, tmp_path) == [(DOOR, "stop"), (DOOR, "disable")]
    assert host.did() == [f"stop {DOOR}", f"disable {DOOR}"]


def test_unit_that_ran_before_runs_afterwards(host: MiniSystemd, tmp_path: Path) -> None:
    host.add("ssh.service", ActiveState="active", UnitFileState="enabled")
    present(host, tmp_path, {"ssh.service": {}}, {"restart": {"ssh.service"}, "reload": set()})
    assert absent(host, tmp_path) == []
    present(host, tmp_path, {"ssh.service": {"state": "stopped", "enabled": False}})
    assert absent(host, tmp_path) == [("ssh.service", "enable"), ("ssh.service", "start")]


def test_unit_that_is_gone_needs_nothing(host: MiniSystemd, tmp_path: Path) -> None:
    host.add()
    present(host, tmp_path)
    del host.units[DOOR]
    assert absent(host, tmp_path) == []


def test_unit_of_two_components_stops_with_the_last(host: MiniSystemd, tmp_path: Path) -> None:
    host.add()
    present(host, tmp_path, name="one")
    assert present(host, tmp_path, name="two") == []
    assert absent(host, tmp_path, "one") == []
    assert absent(host, tmp_path, "two") == [(DOOR, "stop"), (DOOR, "disable")]


def write_manifest(state: Path, **kinds: dict[str, str]) -> Path:
    """A config set that names ``DOOR`` for one file, committed when it had these InvocationIDs."""
    path = state / "sets" / "door" / "manifest.json"
    path.parent.mkdir(parents=True)
    entry = {"restart": [], "reload": [], **{kind: list(ids) for kind, ids in kinds.items()}}
    found = {"restart": {}, "reload": {}, **kinds}
    write_json(str(path), {"set": "door", "files": {"/etc/door": entry}, "units": found})
    return path


def test_killed_run_is_finished_from_the_manifest(host: MiniSystemd, tmp_path: Path) -> None:
    host.add(ActiveState="active", UnitFileState="enabled", InvocationID="77")
    write_manifest(tmp_path, restart={DOOR: "77"})
    pending = unit_set.pending_on_host({}, str(tmp_path), check=False)
    assert pending == {"restart": {DOOR}, "reload": set()}
    assert present(host, tmp_path, RUN, pending) == [(DOOR, "restart")]
    assert unit_set.pending_on_host({}, str(tmp_path), check=False) == NOTHING


def test_order_that_the_manifest_knows_as_done_is_void(host: MiniSystemd, tmp_path: Path) -> None:
    host.add(ActiveState="active", InvocationID="78")
    write_manifest(tmp_path, restart={DOOR: "77"})
    order = {"restart": [DOOR], "reload": ["other.service"]}
    for_real = unit_set.pending_on_host(order, str(tmp_path), check=False)
    assert for_real == {"restart": set(), "reload": {"other.service"}}
    predicted = unit_set.pending_on_host(order, str(tmp_path), check=True)
    assert predicted == {"restart": {DOOR}, "reload": {"other.service"}}


def test_reload_is_marked_after_it_worked(host: MiniSystemd, tmp_path: Path) -> None:
    host.add(ActiveState="active", UnitFileState="enabled", InvocationID="77")
    manifest = write_manifest(tmp_path, reload={DOOR: "77"})
    pending = unit_set.pending_on_host({}, str(tmp_path), check=False)
    assert pending["reload"] == {DOOR}
    assert present(host, tmp_path, RUN, pending) == [(DOOR, "reload")]
    assert json.loads(manifest.read_text())["units"]["reload"] == {}
    assert unit_set.pending_on_host({"reload": [DOOR]}, str(tmp_path), check=False) == NOTHING


def test_name_without_suffix_is_refused() -> None:
    with pytest.raises(units.UnitError, match=r"write door\.service"):
        unit_set.wanted_units([{"name": "door"}])
