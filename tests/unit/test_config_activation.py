"""Which units are pending: derived from InvocationIDs, not remembered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import activation, host_state
from config_host import Host, Units, file

NOTHING = {"restart": [], "reload": []}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "host")


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Units:
    return Units(tmp_path, monkeypatch)


def pending(host: Host) -> dict[str, Any]:
    found = activation.pending_units(str(host.state))
    assert isinstance(found, dict)
    return found


def both(host: Host, *files: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The result for real, after check mode has told the same of the units."""
    predicted = host.plan(*files, **more)
    result = host.apply(*files, **more)
    for key in ("units_pending", "all_units_pending", "changed", "changes"):
        assert predicted[key] == result[key], key
    return result


def test_active_unit_is_pending_until_somebody_restarts_it(host: Host, units: Units) -> None:
    wanted = file(host.etc / "a", restart=["door.service", "off.service"])
    units.set("door.service", "one")
    units.set("off.service", "", "inactive")
    assert both(host, wanted)["units_pending"] == {"restart": ["door.service"], "reload": []}
    # Killed here: the next call, with nothing left to write, still tells.
    again = both(host, wanted)
    assert again["changed"] and again["changes"] == []
    assert again["units_pending"]["restart"] == ["door.service"]
    assert pending(host) == {"restart": {"door.service": ["demo"]}, "reload": {}}
    units.set("door.service", "two")
    assert pending(host) == {"restart": {}, "reload": {}}
    done = both(host, wanted)
    assert not done["changed"] and done["units_pending"] == NOTHING


@pytest.mark.parametrize("state", ["inactive", "failed"])
def test_stopped_unit_runs_no_old_configuration(host: Host, units: Units, state: str) -> None:
    units.set("door.service", "one")
    host.apply(file(host.etc / "a", restart=["door.service"]))
    units.set("door.service", "one", state)
    assert pending(host)["restart"] == {}


@pytest.mark.parametrize("state", ["activating", "reloading", "deactivating"])
def test_unit_on_its_way_has_read_the_old_one(host: Host, units: Units, state: str) -> None:
    units.set("door.service", "one", state)
    result = both(host, file(host.etc / "a", restart=["door.service"]))
    assert result["units_pending"]["restart"] == ["door.service"]


def test_reload_is_pending_until_marked_or_restarted(host: Host, units: Units) -> None:
    wanted = file(host.etc / "a", reload=["web.service"])
    units.set("web.service", "one")
    assert both(host, wanted)["units_pending"] == {"restart": [], "reload": ["web.service"]}
    with host_state.locked(str(host.state)):
        activation.mark_reloaded(str(host.state), "web.service")
    assert not both(host, wanted)["changed"]
    both(host, {**wanted, "content": b"2"})
    assert pending(host)["reload"] == {"web.service": ["demo"]}
    units.set("web.service", "two")
    assert pending(host)["reload"] == {}


def test_marking_leaves_other_units_and_restarts(host: Host, units: Units) -> None:
    for unit in ("a.service", "b.service"):
        units.set(unit, "one")
    host.apply(
        file(host.etc / "a", reload=["a.service", "b.service"]), file(host.etc / "b"), name="x"
    )
    host.apply(file(host.etc / "c", reload=["a.service"]), name="y")
    host.apply(file(host.etc / "d", restart=["b.service"]), name="z")
    assert pending(host) == {
        "restart": {"b.service": ["z"]},
        "reload": {"a.service": ["x", "y"]},
    }
    activation.mark_reloaded(str(host.state), "a.service")
    activation.mark_reloaded(str(host.state), "b.service")
    assert pending(host) == {"restart": {"b.service": ["z"]}, "reload": {}}


def test_only_units_of_changed_files_are_pending(host: Host, units: Units) -> None:
    for unit in ("a.service", "b.service"):
        units.set(unit, "one")
    a, b = (file(host.etc / n, restart=[f"{n}.service"]) for n in "ab")
    both(host, a, b)
    for unit in ("a.service", "b.service"):
        units.set(unit, "two")
    result = both(host, a, {**b, "content": b"changed"})
    assert result["units_pending"]["restart"] == ["b.service"]


def test_pending_of_an_earlier_generation_is_carried_on(host: Host, units: Units) -> None:
    for unit in ("a.service", "b.service"):
        units.set(unit, "one")
    a, b = (file(host.etc / n, restart=[f"{n}.service"]) for n in "ab")
    both(host, a)
    result = both(host, a, b)
    assert result["units_pending"]["restart"] == ["a.service", "b.service"]
    units.set("a.service", "two")
    assert both(host, a, b)["units_pending"]["restart"] == ["b.service"]


def test_dropped_and_drifted_files_concern_their_units(host: Host, units: Units) -> None:
    units.set("a.service", "one")
    units.set("b.service", "one")
    a, b = (file(host.etc / n, restart=[f"{n}.service"]) for n in "ab")
    both(host, a, b)
    units.set("a.service", "two")
    units.set("b.service", "two")
    (host.etc / "b").write_text("by hand")
    assert both(host, b)["units_pending"]["restart"] == ["a.service", "b.service"]


def test_units_of_an_absent_set_are_told_until_they_restarted(host: Host, units: Units) -> None:
    units.set("a.service", "one")
    host.apply(file(host.etc / "a", restart=["a.service"]))
    units.set("a.service", "two")
    result = both(host, state="absent")
    assert result["units_pending"]["restart"] == ["a.service"]
    assert both(host, state="absent")["units_pending"]["restart"] == ["a.service"]
    assert pending(host)["restart"] == {"a.service": ["demo"]}
    units.set("a.service", "three")
    assert both(host, state="absent")["units_pending"] == NOTHING
    assert not host.set_dir.exists()


def test_all_pending_covers_other_sets(host: Host, units: Units) -> None:
    units.set("door.service", "one")
    host.apply(file(host.etc / "cert", restart=["door.service"]), name="trust")
    result = both(host, file(host.etc / "rc"))
    assert result["units_pending"] == NOTHING
    assert result["all_units_pending"] == {"restart": ["door.service"], "reload": []}
    assert result["changed"] and not both(host, file(host.etc / "rc"))["changed"]


def test_restart_between_record_and_the_kill_is_not_forgotten(
    host: Host, units: Units, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest is written, the journal not yet gone, the process dies, the unit restarts."""
    from ansible_collections.cloudlet.deploy.plugins.module_utils import config_store

    def die(_self: Any) -> None:
        raise KeyboardInterrupt

    units.set("door.service", "one")
    wanted = file(host.etc / "a", restart=["door.service"])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(config_store.SetStore, "end_journal", die)
        host.apply(wanted)
    assert (host.set_dir / "journal.json").exists()
    units.set("door.service", "two")
    assert not host.apply(wanted)["changed"]


def test_kill_between_the_renames_is_pending_afterwards(
    host: Host, units: Units, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ansible_collections.cloudlet.deploy.plugins.module_utils import config_store

    def die(_self: Any, _manifest: Any) -> None:
        raise KeyboardInterrupt

    units.set("door.service", "one")
    wanted = file(host.etc / "a", restart=["door.service"])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(config_store.SetStore, "write_manifest", die)
        host.apply(wanted)
    assert both(host, wanted)["units_pending"]["restart"] == ["door.service"]


def test_one_systemctl_call_for_all_units_and_none_without_units(
    host: Host, units: Units, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    run = activation.subprocess.run

    def counted(argv: list[str], **more: Any) -> Any:
        calls.append(argv)
        return run(argv, **more)

    names = [f"u{n}.service" for n in range(5)]
    for unit in names:
        units.set(unit, "one")
    host.apply(file(host.etc / "a", restart=names[:3], reload=names[3:]))
    host.apply(file(host.etc / "b"), name="other")
    monkeypatch.setattr(activation.subprocess, "run", counted)
    host.apply(file(host.etc / "a", restart=names[:3], reload=names[3:]))
    assert len(calls) == 1 and calls[0][-5:] == names
    host.absent()
    for unit in names:
        units.set(unit, "two")
    host.absent()
    calls.clear()
    host.apply(file(host.etc / "b"), name="other")
    assert calls == []


@pytest.mark.parametrize("script", ["exit 1", "echo ActiveState=active", "sleep 0"])
def test_systemd_that_does_not_answer_is_an_error_where_it_runs(
    host: Host, units: Units, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    (tmp_path / "bin" / "systemctl").write_text(f"#!/bin/sh\n{script}\n")
    names = ["a.service", "b.service"]
    monkeypatch.setattr(activation, "SYSTEMD_RUNNING", str(tmp_path / "no"))
    assert activation.running_units(names) == {}
    monkeypatch.setattr(activation, "SYSTEMD_RUNNING", str(tmp_path))
    with pytest.raises(host_state.StateError, match=r"a\.service, b\.service"):
        activation.running_units(names)


def test_without_systemctl_nothing_is_pending(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activation.shutil, "which", lambda *_args, **_more: None)
    result = host.apply(file(host.etc / "a", restart=["a.service"]))
    assert result["units_pending"] == NOTHING
    assert json.loads((host.set_dir / "manifest.json").read_text())["units"]["restart"] == {}
