"""config_set on a host: what it writes, removes and refuses."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import (
    config_files,
    host_state,
)
from config_host import Host, actions, file


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "host")


def test_first_call_writes_content_mode_and_directories(host: Host) -> None:
    sub = host.etc / "sub" / "deeper"
    result = host.apply(
        file(sub / "a.conf", "a\n", mode="0640"),
        file(host.etc / "b.conf", "b\n", mode="4755"),
        directories=[
            {"path": str(sub), "mode": "0750"},
            {"path": str(sub.parent), "mode": "2755"},
        ],
    )
    assert actions(result) == [
        ("directory", "sub", "create"),
        ("directory", "deeper", "create"),
        ("file", "a.conf", "create"),
        ("file", "b.conf", "create"),
    ]
    assert result["changed"] and result["generation"] == 1
    told = {path: mode for path, (mode, *_) in host.snapshot().items()}
    assert told == {
        "etc/sub": "0o42755",
        "etc/sub/deeper": "0o40750",
        "etc/sub/deeper/a.conf": "0o100640",
        "etc/b.conf": "0o104755",
    }
    assert (sub / "a.conf").read_text() == "a\n"
    assert not host.leftovers()


def test_second_call_writes_nothing_at_all(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    (host.etc / "was").write_text("here\n")
    wanted = [file(host.etc / "was"), file(host.etc / "s", "x", secret=True, mode="0600")]
    host.apply(*wanted, directories=[{"path": str(host.etc / "d")}])
    before = host.snapshot(times=True, below=host.base)
    for name in ("fsync", "replace", "unlink", "fchown", "fchmod", "write"):
        monkeypatch.setattr(os, name, _forbidden(name))
    result = host.apply(*wanted, directories=[{"path": str(host.etc / "d")}])
    assert not result["changed"] and result["changes"] == [] and result["generation"] == 1
    assert host.snapshot(times=True, below=host.base) == before


def _forbidden(name: str) -> Any:
    def refuse(*_args: Any, **_more: Any) -> None:
        raise AssertionError(f"os.{name} was called")

    return refuse


def test_generation_rises_with_content_and_not_with_a_repair(host: Host) -> None:
    assert host.apply(file(host.etc / "a", "1"))["generation"] == 1
    assert host.apply(file(host.etc / "a", "2"))["generation"] == 2
    (host.etc / "a").write_text("edited")
    assert host.apply(file(host.etc / "a", "2"))["generation"] == 2


def test_file_of_another_kind_is_refused(host: Host) -> None:
    (host.etc / "real").write_text("x")
    (host.etc / "link").symlink_to("real")
    (host.etc / "dir").mkdir()
    os.mkfifo(host.etc / "pipe")
    for name, reason in (
        ("link", "symbolic link to real"),
        ("dir", "a directory"),
        ("pipe", "pipe"),
    ):
        for run in (host.plan, host.apply):
            with pytest.raises(config_files.ConfigError, match=reason) as error:
                run(file(host.etc / "ok"), file(host.etc / name))
            assert str(host.etc / name) in str(error.value)
    assert not (host.etc / "ok").exists()
    assert (host.etc / "real").read_text() == "x"


def test_symlinked_directory_is_refused(host: Host) -> None:
    (host.base / "elsewhere").mkdir()
    (host.etc / "d").symlink_to(host.base / "elsewhere")
    with pytest.raises(config_files.ConfigError, match="symbolic link"):
        host.apply(directories=[{"path": str(host.etc / "d"), "mode": "0700"}])
    assert (host.base / "elsewhere").stat().st_mode & 0o777 == 0o755


def test_one_file_by_two_names_is_refused(host: Host) -> None:
    (host.etc / "d").mkdir()
    (host.etc / "alias").symlink_to("d")
    with pytest.raises(config_files.ConfigError, match="are the same file"):
        host.apply(file(host.etc / "d" / "a", "1"), file(host.etc / "alias" / "a", "2"))


def test_path_of_another_set_is_refused(host: Host) -> None:
    host.apply(file(host.etc / "a"), name="first")
    for run in (host.plan, host.apply):
        with pytest.raises(config_files.ConfigError, match="belongs to the set first"):
            run(file(host.etc / "a", "other"))
    assert (host.etc / "a").read_text() == "new\n"


def test_missing_parent_is_predicted_and_refused_for_real(host: Host) -> None:
    wanted = file(host.etc / "pkg" / "a")
    assert actions(host.plan(wanted)) == [("file", "a", "create")]
    with pytest.raises(config_files.ConfigError, match=r"does not exist\. List it in"):
        host.apply(wanted)
    assert not host.set_dir.exists()


def test_unknown_account_is_predicted_and_refused_for_real(host: Host) -> None:
    wanted = file(host.etc / "a", owner="nobody-at-all", group="nogroup-at-all")
    assert host.plan(wanted)["changes"][0]["detail"] == "nobody-at-all:nogroup-at-all 0644"
    with pytest.raises(config_files.ConfigError, match="user nobody-at-all: there is none"):
        host.apply(wanted)
    assert host.snapshot() == {} and not host.set_dir.exists()
    (host.etc / "a").write_text("new\n")
    assert actions(host.plan(wanted)) == [("file", "a", "attributes")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_owner_by_name_and_number(host: Host) -> None:
    (host.etc / "a").write_text("new\n")
    result = host.apply(
        file(host.etc / "a", owner="daemon", group="12345", mode="0600"),
        file(host.etc / "b", owner="12345", group="daemon"),
    )
    assert result["changes"][0]["detail"] == (
        "owner root -> daemon, group root -> 12345, mode 0644 -> 0600"
    )
    assert (host.etc / "a").stat().st_gid == 12345
    assert (host.etc / "b").stat().st_uid == 12345
    host.absent()
    assert (host.etc / "a").stat().st_uid == (host.etc / "a").stat().st_gid == 0


def test_attributes_alone_keep_content_inode_and_mtime(host: Host) -> None:
    path = host.etc / "a"
    host.apply(file(path, mode="0644"))
    before = path.stat()
    result = host.apply(file(path, mode="0600"))
    assert result["changes"][0]["action"] == "attributes"
    assert result["changes"][0]["detail"] == "mode 0644 -> 0600"
    after = path.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert after.st_mode & 0o7777 == 0o600


def test_dropped_files_go_back_to_generation_0(host: Host) -> None:
    (host.etc / "package").write_text("from the package\n")
    (host.etc / "package").chmod(0o604)
    os.utime(host.etc / "package", (1000, 1000))
    wanted = [file(host.etc / name) for name in ("package", "ours", "stays")]
    host.apply(*wanted)
    result = host.apply(wanted[2])
    assert actions(result) == [("file", "package", "change"), ("file", "ours", "remove")]
    assert not (host.etc / "ours").exists()
    assert (host.etc / "package").read_text() == "from the package\n"
    assert (host.etc / "package").stat().st_mode & 0o777 == 0o604
    assert (host.etc / "package").stat().st_mtime == 1000


def test_absent_gives_back_exactly_what_was_found(host: Host) -> None:
    (host.etc / "package").write_text("from the package\n")
    (host.etc / "package").chmod(0o604)
    (host.etc / "same").write_text("new\n")
    (host.etc / "known").mkdir(mode=0o711)
    os.utime(host.etc / "package", (1000, 1000))
    before = host.snapshot()
    directories = [
        {"path": str(host.etc / "known"), "mode": "0700"},
        {"path": str(host.etc / "made"), "mode": "0700"},
        {"path": str(host.etc / "made" / "deep"), "mode": "0700"},
    ]
    for content in ("1", "2"):
        host.apply(
            file(host.etc / "package", content),
            file(host.etc / "same"),
            file(host.etc / "made" / "deep" / "f", content, secret=True, mode="0600"),
            directories=directories,
        )
    predicted = host.plan(state="absent")
    result = host.absent()
    assert predicted["changes"] == result["changes"]
    assert host.snapshot() == before
    assert (host.etc / "package").stat().st_mtime == 1000
    assert list((host.state / "sets").iterdir()) == []
    again = host.absent()
    assert not again["changed"] and again["changes"] == []


def test_absent_of_a_set_that_never_was_writes_nothing(host: Host) -> None:
    assert host.plan(state="absent")["changed"] is False
    assert not host.state.exists()
    assert host.absent()["changed"] is False
    assert not (host.state / "sets").exists()


def test_absent_leaves_a_directory_that_others_use(host: Host) -> None:
    made = host.etc / "made"
    host.apply(file(made / "f"), directories=[{"path": str(made)}])
    (made / "log").write_text("theirs")
    predicted, result = host.plan(state="absent"), host.absent()
    assert predicted["changes"] == result["changes"] and actions(result) == [
        ("file", "f", "remove")
    ]
    assert "holds what is not ours" in result["warnings"][0]
    assert (made / "log").read_text() == "theirs" and not (made / "f").exists()


def test_dropped_directory_goes_when_it_is_empty(host: Host) -> None:
    made = host.etc / "made"
    host.apply(file(host.etc / "a"), directories=[{"path": str(made)}])
    (made / "log").write_text("theirs")
    assert not host.apply(file(host.etc / "a"))["changes"]
    assert not host.apply(file(host.etc / "a"))["changed"]
    (made / "log").unlink()
    assert actions(host.apply(file(host.etc / "a"))) == [("directory", "made", "remove")]
    assert not made.exists()


def test_absent_when_the_package_took_its_directory_along(host: Host) -> None:
    (host.etc / "pkg").mkdir()
    (host.etc / "pkg" / "conf").write_text("package\n")
    host.apply(file(host.etc / "pkg" / "conf"))
    (host.etc / "pkg" / "conf").unlink()
    (host.etc / "pkg").rmdir()
    result = host.absent()
    assert result["changes"] == [] and "removed by another hand" in result["warnings"][0]
    assert not host.set_dir.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema": "1"}'])
def test_damaged_manifest_is_named(host: Host, text: str) -> None:
    host.apply(file(host.etc / "a"))
    (host.set_dir / "manifest.json").write_text(text)
    with pytest.raises(host_state.StateError, match=r"manifest\.json"):
        host.apply(file(host.etc / "a"))


def test_changed_units_alone_are_recorded_without_a_change(host: Host) -> None:
    host.apply(file(host.etc / "a", restart=["a.service"]))
    result = host.apply(file(host.etc / "a", restart=["b.service"]))
    assert not result["changed"] and result["generation"] == 1
    manifest = json.loads((host.set_dir / "manifest.json").read_text())
    assert manifest["files"][str(host.etc / "a")]["restart"] == ["b.service"]


def test_long_names_can_be_staged(host: Host) -> None:
    name = "é" * 127
    host.apply(file(host.etc / name))
    assert (host.etc / name).read_text() == "new\n"


def test_diff_carries_contents_of_open_files_only_when_asked(host: Host) -> None:
    (host.etc / "a").write_text("old")
    request = host.request(file(host.etc / "a"))
    assert host.run(request, check=True)["raw_diff"] == []
    [entry] = host.run(request, check=True, want_diff=True)["raw_diff"]
    assert entry["before_content"] == "b2xk" and "target_content" not in entry
    host.run(request)
    [back] = host.run(host.request(state="absent"), want_diff=True)["raw_diff"]
    assert back["target_content"] == "b2xk"
