"""Names, files, and what the machine must offer."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from cloudlet_deploy.cli.lab import command
from cloudlet_deploy.errors import RunFailedError, UsageError
from cloudlet_deploy.lab import files, hosts, model, podman


@pytest.mark.parametrize("name", ["", "A", "a b", "a.b", "-a", "a" * 32, "a\n"])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        model.check_name(name)


def test_names_of_two_labs_never_meet() -> None:
    model.check_name("a-b")
    names = {model.container_name(lab, host) for lab in ("a", "a-b") for host in ("c", "b.c")}
    assert len(names) == 4


def test_mac_addresses_are_fixed_local_and_differ() -> None:
    one, other = hosts.mac_address("cloudlet-a.x"), hosts.mac_address("cloudlet-b.x")
    assert one == hosts.mac_address("cloudlet-a.x") != other
    assert int(one.split(":")[0], 16) & 0b11 == 0b10  # unicast, locally administered


def test_cgroup_version_is_read_from_the_tree(tmp_path: Path) -> None:
    assert not podman.machine_has_cgroup2(tmp_path)
    (tmp_path / "cgroup.controllers").touch()
    assert podman.machine_has_cgroup2(tmp_path)


def test_not_root_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UsageError) as caught:
        podman.check_machine()
    assert "sudo" in caught.value.next_step


def test_missing_commands_are_named_with_their_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "podman" else f"/bin/{name}")
    with pytest.raises(RunFailedError) as caught:
        podman.check_machine()
    assert caught.value.message.endswith("not installed: podman.")
    assert "apt-get install podman" in caught.value.next_step


def test_settings_stay_below_the_hard_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(podman, "_may_raise_limits", lambda: False)
    monkeypatch.setattr(podman, "machine_has_cgroup2", lambda: True)
    monkeypatch.setattr(podman.resource, "getrlimit", lambda _which: (1, 4000))
    assert podman._settings() == (
        '[containers]\ndefault_ulimits = ["nofile=4000:4000", "nproc=4000:4000"]\n'
    )
    monkeypatch.setattr(podman, "_may_raise_limits", lambda: True)
    assert podman._settings() == ""


def test_cgroup_v1_gets_runc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(podman, "_may_raise_limits", lambda: True)
    monkeypatch.setattr(podman, "machine_has_cgroup2", lambda: False)
    assert 'runtime = "runc"' in podman._settings()


def test_secret_files_are_secret_from_the_first_byte(tmp_path: Path) -> None:
    path = tmp_path / "new" / "key"
    assert files.write_file(path, b"x", mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert not files.write_file(path, b"x", mode=0o600)
    path.chmod(0o644)
    assert files.write_file(path, b"x", mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600


def test_archive_carries_owner_and_mode() -> None:
    packed = files.archive([files.Put("/a", None, 0o700), files.Put("/a/b", b"xyz", 0o400, 1001)])
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        directory, file = tar.getmembers()
        assert (directory.name, directory.isdir(), directory.mode) == ("a", True, 0o700)
        assert (file.name, file.uid, file.gid, file.mode) == ("a/b", 1001, 1001, 0o400)
        stream = tar.extractfile(file)
        assert stream is not None
        assert stream.read() == b"xyz"


@pytest.mark.parametrize("name", sorted(command.commands))
def test_every_command_has_help_that_fits_80_columns(name: str) -> None:
    shown = CliRunner().invoke(command, [name, "--help"], terminal_width=80)
    assert shown.exit_code == 0
    assert len(shown.output.splitlines()) > 4
    assert max(map(len, shown.output.splitlines())) <= 80
