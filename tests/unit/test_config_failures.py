"""config_set on a host: validators, full disks, interrupted and damaged state."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import (
    config_engine,
    config_files,
    config_store,
    host_state,
)
from config_host import CANARY, Host, actions, file


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "host")


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


def test_two_calls_at_once_do_not_mix(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_state_dir: str) -> Any:
        return locked(_state_dir, timeout=0.05)

    locked = host_state.locked
    monkeypatch.setattr(config_engine.host_state, "locked", refused)
    with locked(str(host.state)), pytest.raises(host_state.StateError, match="another process"):
        host.apply(file(host.etc / "a"))
    assert not (host.etc / "a").exists()


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
