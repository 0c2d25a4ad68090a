"""Earlier generations of a config set: what is told of them, and how they come back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import (
    config_data,
    config_engine,
    config_history,
    config_store,
)
from config_host import Host, Units, file


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "host")


def store(host: Host, name: str = "demo") -> config_store.SetStore:
    return config_store.SetStore(str(host.state), name)


def request(host: Host, number: int, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = config_history.request_for(store(host), number, **more)
    return made


def go_back(host: Host, number: int, **more: Any) -> dict[str, Any]:
    """For real, after check mode has told the same."""
    wanted = request(host, number, **more)
    foretold = host.run(wanted, check=True)
    done = host.run(wanted)
    for key in ("changes", "generation", "drift"):
        assert foretold[key] == done[key], key
    return done


def told(host: Host) -> dict[str, Any]:
    (one,) = config_history.histories(str(host.state))
    assert isinstance(one, dict)
    return one


def three(host: Host) -> list[dict[str, Any]]:
    """Three generations; returns what was there with each."""
    states = []
    for number, more in enumerate(({}, {"mode": "0600"}, {}), start=1):
        files = [file(host.etc / "a", f"{number}\n", **more)]
        files += [file(host.etc / "d" / "b", "b\n")] if number == 2 else []
        where = [{"path": str(host.etc / "d"), "mode": "0750"}] if number == 2 else []
        host.apply(*files, directories=where, run=f"run{number}")
        states.append(host.snapshot())
    return states


def test_everything_of_a_generation_comes_back_as_a_new_one(host: Host) -> None:
    states = three(host)
    for number, becomes in ((2, 4), (1, 5), (3, 6)):
        done = go_back(host, number, run="back", undoes="run3")
        assert done["generation"] == becomes
        assert host.snapshot() == states[number - 1]
    one = told(host)
    assert (one["generation"], one["position"]) == (6, 3)
    assert not go_back(host, 3)["changed"]


def test_going_back_takes_no_generation_away(host: Host) -> None:
    states = three(host)
    for _ in range(4):
        go_back(host, 1)
        go_back(host, 2)
    assert [one["generation"] for one in told(host)["generations"]] == [1, 2, 3, 11]
    go_back(host, 3)
    assert host.snapshot() == states[2]


def test_what_was_made_of_an_old_one_leads_on_from_there(host: Host) -> None:
    three(host)
    go_back(host, 1, run="back", undoes="run3")
    host.apply(file(host.etc / "a", "4\n"), run="run4")
    record = told(host)["generations"][-1]
    assert (record["generation"], record["before"], record["run"]) == (5, 1, "run4")
    assert record["changed"] == [str(host.etc / "a")]


def test_pruned_and_unknown_generations_are_refused(host: Host) -> None:
    for number in range(7):
        host.apply(file(host.etc / "a", f"{number}\n"))
    for wanted in (2, 99):
        with pytest.raises(config_history.HistoryError, match="kept are 3, 4, 5, 6, 7") as error:
            request(host, wanted)
        assert "rollback --list" in error.value.next_step
    with pytest.raises(config_history.HistoryError, match="generation 0"):
        request(host, 0)


def test_another_secret_is_refused_and_the_same_comes_back(host: Host) -> None:
    key, conf = host.etc / "key", host.etc / "conf"
    host.apply(file(key, "old", secret=True), file(conf, "1\n"))
    host.apply(file(key, "old", secret=True), file(conf, "2\n"))
    go_back(host, 1)
    assert (key.read_text(), conf.read_text()) == ("old", "1\n")
    host.apply(file(key, "new", secret=True), file(conf, "1\n"))
    before = host.snapshot(times=True)
    with pytest.raises(config_history.HistoryError, match="key held another secret") as error:
        request(host, 2)
    assert "Put the former secret into the site" in error.value.next_step
    assert host.snapshot(times=True) == before
    key.write_text("by hand")
    with pytest.raises(config_history.HistoryError, match="key held another secret"):
        request(host, 4)


def test_a_secret_is_in_no_diff(host: Host) -> None:
    host.apply(file(host.etc / "key", "canary", secret=True), file(host.etc / "conf", "1\n"))
    host.apply(file(host.etc / "key", "canary", secret=True), file(host.etc / "conf", "2\n"))
    (host.etc / "key").chmod(0o600)
    done = host.run(request(host, 1), check=True, want_diff=True)
    shown = {entry["path"]: entry for entry in done["raw_diff"]}
    assert "target_content" not in shown[str(host.etc / "key")]
    assert shown[str(host.etc / "conf")]["target_content"]


def test_files_of_an_account_that_is_gone_are_refused(host: Host) -> None:
    host.apply(file(host.etc / "a", "1\n", owner="54321"))
    host.apply(file(host.etc / "a", "2\n", owner="54321"))
    go_back(host, 1)  # a number that it always had is fine
    host.apply(file(host.etc / "a", "2\n", owner="0"))
    with pytest.raises(config_history.HistoryError, match="a belongs to the owner 54321"):
        request(host, 1)


def test_what_changed_meanwhile_is_refused(host: Host) -> None:
    three(host)
    config_history.refuse_changed(store(host), 3)
    with pytest.raises(config_history.HistoryError, match="generation 3, not at 2"):
        config_history.refuse_changed(store(host), 2)


def test_a_rollback_that_did_not_end_is_told(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    units = Units(tmp_path, monkeypatch)
    units.set("door.service", "one")
    for number in (1, 2):
        host.apply(file(host.etc / "a", f"{number}\n", restart=["door.service"]), run=f"r{number}")
        units.set("door.service", f"after {number}")
    assert not told(host)["unfinished"]
    go_back(host, 1, run="back", undoes="r2")
    assert told(host)["unfinished"] and not told(host)["journal"]
    assert told(host)["generations"][-1]["undoes"] == "r2"
    units.set("door.service", "restarted")
    assert not told(host)["unfinished"]


def test_a_commit_that_was_interrupted_counts_as_done(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = three(host)

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(config_store.SetStore, "write_manifest", die)
        with pytest.raises(KeyboardInterrupt):
            host.run(request(host, 2, run="back", undoes="run3"))
    one = told(host)
    assert (one["generation"], one["position"], one["journal"]) == (4, 2, True)
    go_back(host, 2)
    assert host.snapshot() == states[1]
    assert not told(host)["journal"]


def test_generations_of_an_older_release_are_read(host: Host) -> None:
    three(host)
    for path in [host.set_dir / "manifest.json", *host.set_dir.glob("generations/*/files.json")]:
        document = json.loads(path.read_text())
        for key in ("run", "same_as", "undoes", "before"):
            document.pop(key, None)
        path.write_text(json.dumps(document))
    assert [one["before"] for one in told(host)["generations"]] == [0, 1, 2]
    assert go_back(host, 2)["generation"] == 4


def test_sets_inside_others_go_first(host: Host) -> None:
    outer, inner = host.etc / "outer", host.etc / "outer" / "inner"
    directory = {"path": str(outer), "mode": "0755"}
    host.apply(file(outer / "a"), directories=[directory], name="aaa")
    host.apply(file(inner / "b"), directories=[{"path": str(inner), "mode": "0755"}], name="zzz")
    names = config_history.inner_first(str(host.state))
    assert names == ["zzz", "aaa"]
    foreseen = config_engine.Foreseen()
    going = [
        host.run(host.request(name=name, state="absent"), check=True, foreseen=foreseen)
        for name in names
    ]
    assert {c["name"] for one in going for c in one["changes"]} == {
        str(path) for path in (outer, outer / "a", inner, inner / "b")
    }
    for name in names:
        host.run(host.request(name=name, state="absent"))
    assert not outer.exists()


def test_data_is_what_others_wrote_where_a_set_made_room_for_it(host: Host) -> None:
    found, logs, conf = (host.etc / name for name in ("found", "logs", "conf"))
    found.mkdir()
    (found / "old").write_text("was there\n")
    host.apply(
        file(logs / "README", "ours\n"),
        directories=[
            {"path": str(logs), "mode": "0755", "data": True},
            {"path": str(found), "mode": "0755", "data": True},
            {"path": str(conf), "mode": "0755"},
        ],
    )
    data = config_data.Data(str(host.state))
    assert data.changes() == []
    (logs / "sub").mkdir()
    (logs / "sub" / "log").write_text("12345")
    (logs / "link").symlink_to(found)
    (conf / "theirs").write_text("not data\n")
    data = config_data.Data(str(host.state))
    (change,) = data.changes()
    assert (change["name"], change["action"]) == (str(logs), "remove")
    assert change["detail"].startswith("3 entries, ")
    data.purge()
    assert sorted(path.name for path in logs.iterdir()) == ["README"]
    assert (found / "old").exists() and (conf / "theirs").exists()
