"""config_set on a host: what it keeps of earlier states, and what it tells of secrets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import (
    config_store,
)
from config_host import CANARY, Host, actions, contents, file, walk


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "host")


def test_drift_is_told_and_kept_aside(host: Host) -> None:
    host.apply(file(host.etc / "a"), file(host.etc / "mode"), file(host.etc / "gone"))
    (host.etc / "a").write_text("by hand\n")
    (host.etc / "mode").chmod(0o666)
    (host.etc / "gone").unlink()
    wanted = [file(host.etc / "a"), file(host.etc / "mode"), file(host.etc / "gone")]
    paths = [str(host.etc / name) for name in ("a", "gone", "mode")]
    assert host.plan(*wanted)["drift"] == paths
    assert (host.etc / "a").read_text() == "by hand\n"
    result = host.apply(*wanted)
    assert result["drift"] == paths
    assert actions(result) == [
        ("file", "a", "change"),
        ("file", "mode", "attributes"),
        ("file", "gone", "create"),
    ]
    kept = Path(result["kept_aside"][paths[0]])
    assert kept.read_text() == "by hand\n" and kept.stat().st_mode & 0o777 == 0o600
    assert host.state in kept.parents
    assert host.apply(*wanted)["drift"] == []


def test_drift_is_kept_when_the_set_goes(host: Host) -> None:
    host.apply(file(host.etc / "a"))
    (host.etc / "a").write_text("by hand\n")
    kept = host.absent()["kept_aside"][str(host.etc / "a")]
    assert Path(kept).read_text() == "by hand\n" and not (host.etc / "a").exists()


def test_drift_that_is_what_is_wanted_now_is_not_replaced(host: Host) -> None:
    host.apply(file(host.etc / "a", "1"))
    (host.etc / "a").write_text("2")
    result = host.apply(file(host.etc / "a", "2"))
    assert result["drift"] == [str(host.etc / "a")] and result["changes"] == []
    assert result["generation"] == 2 and host.apply(file(host.etc / "a", "2"))["drift"] == []


def test_only_some_drift_is_kept_per_path(host: Host) -> None:
    for number in range(config_store.KEPT_DRIFT + 3):
        host.apply(file(host.etc / "a"))
        (host.etc / "a").write_text(f"by hand {number}")
    host.apply(file(host.etc / "a"))
    kept = [p.read_text() for p in walk(host.state / "drift") if p.is_file()]
    assert sorted(kept) == [f"by hand {n}" for n in range(3, config_store.KEPT_DRIFT + 3)]


def test_five_generations_and_the_found_one_are_kept(host: Host) -> None:
    (host.etc / "a").write_text("found")
    for number in range(1, 9):
        host.apply(file(host.etc / "a", str(number)))
    kept = host.set_dir / "generations"
    assert sorted(p.name for p in kept.iterdir()) == ["0", "4", "5", "6", "7", "8"]
    blob = config_store.blob_name(str(host.etc / "a"))
    assert (kept / "0" / blob).read_text() == "found"
    assert (kept / "4" / blob).read_text() == "4"


def test_state_is_for_root_only(host: Host) -> None:
    (host.etc / "a").write_text("found")
    host.apply(file(host.etc / "a", mode="0644"))
    (host.etc / "a").write_text("by hand")
    host.apply(file(host.etc / "a", "2"))
    for path in [host.state, *walk(host.state)]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_secrets_are_kept_in_no_generation(host: Host) -> None:
    for number in range(3):
        host.apply(
            file(host.etc / "key", f"{CANARY}{number}", secret=True, mode="0600"),
            file(host.etc / "open", str(number)),
        )
    assert (host.etc / "key").read_text() == f"{CANARY}2"
    assert CANARY not in contents(host.state)


def test_file_that_becomes_secret_leaves_older_generations(host: Host) -> None:
    host.apply(file(host.etc / "key", CANARY))
    host.apply(file(host.etc / "key", CANARY, secret=True), file(host.etc / "more"))
    assert CANARY not in contents(host.state)


def test_dropped_secret_is_kept_nowhere(host: Host) -> None:
    host.apply(file(host.etc / "key", CANARY, secret=True), file(host.etc / "a"))
    host.apply(file(host.etc / "a"))
    assert CANARY not in contents(host.state)


def test_secret_that_was_there_before_comes_back(host: Host) -> None:
    (host.etc / "key").write_text("their key")
    (host.etc / "key").chmod(0o400)
    host.apply(file(host.etc / "key", CANARY, secret=True, mode="0600"))
    host.apply(file(host.etc / "key", CANARY + "2", secret=True, mode="0600"))
    host.absent()
    assert (host.etc / "key").read_text() == "their key"
    assert (host.etc / "key").stat().st_mode & 0o777 == 0o400


def test_secret_shows_in_no_result_journal_or_record(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    journals: list[str] = []
    write = config_store.SetStore.write_journal

    def spy(self: config_store.SetStore, journal: dict[str, Any]) -> None:
        journals.append(json.dumps(journal))
        write(self, journal)

    monkeypatch.setattr(config_store.SetStore, "write_journal", spy)
    told = []
    for content in (CANARY, CANARY + "2"):
        request = host.request(file(host.etc / "key", content, secret=True))
        told += [host.run(request, check=check, want_diff=True) for check in (True, False)]
    told.append(host.run(host.request(state="absent"), want_diff=True))
    assert len(journals) == 6
    assert CANARY not in json.dumps(told) + "".join(journals)
    assert CANARY.encode().hex() not in json.dumps(told)
    assert "before_content" not in json.dumps(told)


def test_found_content_is_kept_only_while_the_path_is_ours(host: Host) -> None:
    (host.etc / "key").write_text(CANARY)
    host.apply(file(host.etc / "key"), file(host.etc / "a"))
    assert CANARY in contents(host.set_dir / "generations" / "0")
    host.apply(file(host.etc / "a"))
    assert (host.etc / "key").read_text() == CANARY
    assert CANARY not in contents(host.state)


def test_a_generation_knows_the_run_that_made_it(host: Host) -> None:
    path = host.etc / "a"
    host.apply(file(path, "one\n"), run="first")
    host.apply(file(path, "one\n"), run="nothing-new")
    path.write_text("by hand\n")
    host.apply(file(path, "one\n"), run="repairs")
    host.apply(file(path, "two\n"), run="second")
    host.apply(file(path, "three\n"))
    manifest = json.loads((host.set_dir / "manifest.json").read_text())
    kept = {
        number: json.loads((host.set_dir / f"generations/{number}/files.json").read_text())
        for number in (1, 2, 3)
    }
    assert (manifest["generation"], manifest["run"], manifest["before"]) == (3, None, 2)
    assert [kept[n]["run"] for n in kept] == ["first", "second", None]
    assert [kept[n]["before"] for n in kept] == [0, 1, 2]
