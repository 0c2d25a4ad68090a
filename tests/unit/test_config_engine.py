"""config_set on a host: what it writes, keeps, refuses and tells."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import (
    config_engine,
    config_files,
    config_store,
    host_state,
)
from config_host import Host, file, walk

CANARY = "c4n4ry-hunter2"


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "host")


def actions(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(c["kind"], Path(c["name"]).name, c["action"]) for c in result["changes"]]


def contents(base: Path) -> str:
    return "\n".join(p.read_text(errors="replace") for p in walk(base) if p.is_file())


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


def test_validator_sees_the_staged_set(host: Host, tmp_path: Path) -> None:
    (host.etc / "a").write_text("old")
    seen = tmp_path / "seen"
    argv = ["/bin/sh", "-c", f'cat "$1" "$2" > {seen}; stat -c %a "$1" >> {seen}', "-"]
    argv += [f"{{{host.etc / name}}}" for name in ("a", "b")]
    paths = [str(host.etc / "a")]
    validator = {"argv": argv, "paths": paths, "uses": [*paths, str(host.etc / "b")]}
    host.apply(file(host.etc / "b", "B"))
    host.apply(
        file(host.etc / "a", "A", mode="0640"), file(host.etc / "b", "B"), validate=[validator]
    )
    assert seen.read_text() == "AB640\n"
    seen.unlink()
    host.apply(
        file(host.etc / "a", "A", mode="0640"), file(host.etc / "b", "2"), validate=[validator]
    )
    assert not seen.exists(), "it runs only when one of its paths changes"


@pytest.mark.parametrize("secret", [False, True])
@pytest.mark.parametrize("check", [False, True])
def test_failed_validation_changes_nothing(host: Host, secret: bool, check: bool) -> None:
    host.apply(file(host.etc / "a", "old"))
    before = host.snapshot(times=True, below=host.base)
    path = str(host.etc / "a")
    argv = ["/bin/sh", "-c", 'echo "line 3 of $1 is bad: $(cat "$1")"; exit 7', "-", f"{{{path}}}"]
    request = host.request(
        file(path, CANARY, secret=secret),
        file(host.etc / "d" / "b"),
        directories=[{"path": str(host.etc / "d")}],
        validate=[{"argv": argv, "paths": [path], "uses": [path]}],
    )
    with pytest.raises(config_files.ConfigError, match="exit code 7") as error:
        host.run(request, check=check)
    assert (CANARY in str(error.value)) is not secret
    assert secret or f"line 3 of {path} is bad" in str(error.value)
    # Directories that the attempt touched have another mtime; files have not.
    assert host.snapshot(times=True, below=host.base) == before
    assert not host.leftovers()


def test_missing_validator(host: Host) -> None:
    path = str(host.etc / "a")
    validator = {"argv": ["/no/such/visudo", f"{{{path}}}"], "paths": [path], "uses": [path]}
    predicted = host.plan(file(path), validate=[validator])
    assert predicted["not_validated"] == ["/no/such/visudo"]
    assert predicted["changes"][-1] == {
        "kind": "validator",
        "name": "/no/such/visudo",
        "action": "not-validated",
        "detail": "",
    }
    with pytest.raises(config_files.ConfigError, match=r"visudo is not installed.*Install it"):
        host.apply(file(path), validate=[validator])
    assert host.snapshot() == {} and not host.set_dir.exists()


def test_validators_do_not_run_over_what_is_put_back(host: Host) -> None:
    path = str(host.etc / "a")
    (host.etc / "a").write_text("found")
    host.apply(file(path))
    refusing = {"argv": ["/bin/false", f"{{{path}}}"], "paths": [path], "uses": [path]}
    host.apply(state="absent", validate=[refusing])
    assert (host.etc / "a").read_text() == "found"


def test_full_disk_is_named_and_nothing_changes(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.apply(file(host.etc / "a", "old"))
    before = host.snapshot(times=True, below=host.base)
    write, calls = os.write, []

    def full(fd: int, data: bytes) -> int:
        calls.append(fd)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        return write(fd, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(config_files.ConfigError, match="is full") as error:
        host.apply(*[file(host.etc / name, "new") for name in "abcd"])
    assert config_files.mount_point(str(host.etc / "c")) in str(error.value)
    assert str(host.etc) in str(error.value)
    monkeypatch.undo()
    assert host.snapshot(times=True, below=host.base) == before
    assert not host.leftovers()


def test_real_full_file_system(tmp_path: Path) -> None:
    import subprocess

    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(mount)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        host = Host(tmp_path / "host")
        (mount / "a").write_text("old")
        with pytest.raises(config_files.ConfigError, match=f"file system {mount} is full"):
            host.apply(file(mount / "a", "x" * 10000), file(mount / "b", "x" * 100000))
        assert [p.name for p in mount.iterdir()] == ["a"]
        assert (mount / "a").read_text() == "old" and not host.set_dir.exists()
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_rename_that_fails_is_finished_by_the_next_call(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def immutable(source: str, target: str) -> None:
        if str(target) == str(host.etc / "b"):
            raise OSError(1, "Operation not permitted", source, None, target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", immutable)
    with pytest.raises(config_files.ConfigError, match="the journal finishes it") as error:
        host.apply(file(host.etc / "a"), file(host.etc / "b"), file(host.etc / "c"))
    assert str(host.etc / "b") in str(error.value)
    monkeypatch.undo()
    wanted = [file(host.etc / name) for name in "abc"]
    predicted, result = host.plan(*wanted), host.apply(*wanted)
    assert predicted["changes"] == result["changes"]
    assert actions(result) == [("file", "b", "create"), ("file", "c", "create")]
    assert not host.leftovers() and not host.apply(*wanted)["changed"]


def test_journal_is_rolled_forward_before_another_request(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    (host.etc / "a").write_text("found")
    replace = os.replace

    def power_cut(source: str, target: str) -> None:
        if str(target) == str(host.etc / "a"):
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", power_cut)
    with pytest.raises(KeyboardInterrupt):
        host.apply(file(host.etc / "a", "1"))
    monkeypatch.undo()
    assert (host.etc / "a").read_text() == "found"
    # Nothing but the journal knows the set by now, and destroying it gives all back.
    assert host.plan(state="absent")["changes"] == [] == host.absent()["changes"]
    assert host.snapshot()["etc/a"][3] == b"found"
    assert not host.leftovers() and list((host.state / "sets").iterdir()) == []


def test_newer_manifest_is_refused_older_is_read(host: Host) -> None:
    host.apply(file(host.etc / "a"), file(host.etc / "b"))
    path = host.set_dir / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "schema": host_state.SCHEMA + 1}))
    for run in (host.plan, host.apply):
        with pytest.raises(host_state.StateError, match="use the newer release"):
            run(file(host.etc / "a"))
    # An older release knew neither directories nor units.
    older = {key: manifest[key] for key in ("set", "generation", "files", "origin")}
    path.write_text(json.dumps({**older, "schema": 0}))
    assert actions(host.apply(file(host.etc / "a"))) == [("file", "b", "remove")]
    assert json.loads(path.read_text())["schema"] == host_state.SCHEMA


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


class FakeContexts:
    """What AnsibleModule says of contexts on an SELinux host; policy: everything is etc_t."""

    def __init__(self) -> None:
        self.contexts: dict[str, list[str]] = {}
        self.of_staged: dict[str, list[str]] = {}

    def of(self, path: str) -> list[str]:
        return self.contexts.get(path, ["u", "r", "etc_t", "s0"])

    def default(self, path: str, mode: int) -> list[str]:
        return ["u", "r", f"{Path(path).name}_t", "s0"]

    def set(self, path: str, context: list[str] | None) -> None:
        assert Path(path).exists(), "the context is set before the rename, on what is staged"
        if context:
            self.of_staged[Path(path).name.split("-")[-1]] = context


def test_selinux_context_is_kept_or_the_policy_s(host: Host) -> None:
    contexts = FakeContexts()
    (host.etc / "old").write_text("found")
    contexts.contexts[str(host.etc / "old")] = ["u", "r", "custom_t", "s0"]
    wanted = host.request(
        file(host.etc / "old"),
        file(host.etc / "fresh"),
        directories=[{"path": str(host.etc / "made")}],
    )
    host.run(wanted, selinux=contexts)
    assert contexts.of_staged == {
        "old": ["u", "r", "custom_t", "s0"],
        "fresh": ["u", "r", "fresh_t", "s0"],
        "made": ["u", "r", "made_t", "s0"],
    }
    contexts.contexts[str(host.etc / "old")] = ["u", "r", "other_t", "s0"]
    assert not host.run(wanted, selinux=contexts)["changed"]
    host.run(host.request(state="absent"), selinux=contexts)
    assert contexts.of_staged["old"] == ["u", "r", "custom_t", "s0"]


def test_long_names_can_be_staged(host: Host) -> None:
    name = "é" * 127
    host.apply(file(host.etc / name))
    assert (host.etc / name).read_text() == "new\n"


def test_staged_leftover_of_an_attacker_is_not_followed(host: Host) -> None:
    victim = host.base / "victim"
    victim.write_text("safe")
    Path(config_files.staged_path("demo", str(host.etc / "a"))).symlink_to(victim)
    host.apply(file(host.etc / "a"))
    assert victim.read_text() == "safe" and not (host.etc / "a").is_symlink()


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_umask_does_not_matter(host: Host) -> None:
    host.apply(file(host.etc / "a", mode="0666"), directories=[{"path": str(host.etc / "d")}])
    assert (host.etc / "a").stat().st_mode & 0o777 == 0o666
    assert (host.etc / "d").stat().st_mode & 0o777 == 0o755


def test_diff_carries_contents_of_open_files_only_when_asked(host: Host) -> None:
    (host.etc / "a").write_text("old")
    request = host.request(file(host.etc / "a"))
    assert host.run(request, check=True)["raw_diff"] == []
    [entry] = host.run(request, check=True, want_diff=True)["raw_diff"]
    assert entry["before_content"] == "b2xk" and "target_content" not in entry
    host.run(request)
    [back] = host.run(host.request(state="absent"), want_diff=True)["raw_diff"]
    assert back["target_content"] == "b2xk"


def test_two_calls_at_once_do_not_mix(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_state_dir: str) -> Any:
        return locked(_state_dir, timeout=0.05)

    locked = host_state.locked
    monkeypatch.setattr(config_engine.host_state, "locked", refused)
    with locked(str(host.state)), pytest.raises(host_state.StateError, match="another process"):
        host.apply(file(host.etc / "a"))
    assert not (host.etc / "a").exists()


class FakeModule:
    """AnsibleModule's interface to SELinux."""

    def __init__(self) -> None:
        self.given: list[tuple[str, list[str], bool]] = []

    def selinux_context(self, path: str) -> list[str | None]:
        return [None] * 4 if path.endswith("unknown") else ["u", "r", "of_t", "s0"]

    def selinux_default_context(self, path: str, mode: int) -> list[str | None]:
        return [None] * 4 if path.endswith("unknown") else ["u", "r", "default_t", "s0"]

    def set_context_if_different(self, path: str, context: list[str], changed: bool) -> bool:
        self.given.append((path, context, changed))
        return True


def test_selinux_goes_through_ansible_module() -> None:
    from ansible_collections.cloudlet.deploy.plugins.modules import config_set

    module = FakeModule()
    selinux = config_set.SELinux(module)
    assert selinux.of("/a") == ["u", "r", "of_t", "s0"] and selinux.of("/unknown") is None
    assert selinux.default("/a", 0) == ["u", "r", "default_t", "s0"]
    assert selinux.default("/unknown", 0) is None
    selinux.set("/a", None)
    selinux.set("/a", ["u", "r", "x_t", "s0"])
    assert module.given == [("/a", ["u", "r", "x_t", "s0"], False)]


def test_each_phase_is_on_disk_before_the_next(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut, unlike a kill, loses what was not fsynced."""
    (host.etc / "a").write_text("found")
    events: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def told_fsync(fd: int) -> None:
        events.append(("fsync", str(Path(f"/proc/self/fd/{fd}").readlink())))
        fsync(fd)

    def told_replace(source: str, target: str) -> None:
        events.append(("replace", str(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", told_fsync)
    monkeypatch.setattr(os, "replace", told_replace)
    host.apply(file(host.etc / "a"))
    staged = config_files.staged_path("demo", str(host.etc / "a"))
    blob = config_store.blob_name(str(host.etc / "a"))
    journal, manifest = (str(host.set_dir / f"{n}.json") for n in ("journal", "manifest"))
    generations = host.set_dir / "generations"
    staging, commit = (n for n, event in enumerate(events) if event == ("replace", journal))
    renamed, recorded = (events.index(("replace", p)) for p in (str(host.etc / "a"), manifest))
    assert staging < events.index(("fsync", staged)) < commit < renamed < recorded
    for kept in (generations / "0" / blob, generations / "1" / blob):
        assert staging < events.index(("fsync", str(kept))) < commit
    assert ("fsync", str(host.set_dir)) in events[commit:renamed], "the journal's name"
    assert ("fsync", str(host.etc)) in events[renamed:recorded], "the new file's name"


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
