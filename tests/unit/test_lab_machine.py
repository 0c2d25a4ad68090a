"""Names, files, and what the machine must offer."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner

from cloudlet_deploy.cli.lab import command
from cloudlet_deploy.errors import RunFailedError, UsageError
from cloudlet_deploy.lab import definition, files, hosts, lifecycle, model, podman


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


@pytest.mark.parametrize("kind", definition.IMAGES)
def test_rootless_containers_get_what_they_need_and_no_wall_falls(kind: str) -> None:
    options = hosts._options(kind)
    rootless = kind in definition.CLOUDLETS
    assert (f"--volume={hosts.STORAGE}" in options) == rootless
    assert ("--cap-add=SYS_ADMIN" in options) == rootless
    assert not [one for one in options if "security-opt" in one or "privileged" in one]


@pytest.mark.parametrize(("kind", "whole"), [("cloudlet13", True), ("data", False)])
def test_a_whole_proc_is_only_in_sight_of_rootless_containers(
    monkeypatch: pytest.MonkeyPatch, kind: str, whole: bool
) -> None:
    entered: list[tuple[str, ...]] = []

    def run(command: tuple[str, ...], **_options: Any) -> subprocess.CompletedProcess[str]:
        entered.append(command)
        return subprocess.CompletedProcess(command, 0, "17\n", "")

    class Quiet:
        def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.CompletedProcess(arguments, 0, "17\n", "")

    monkeypatch.setattr(subprocess, "run", run)
    hosts.start(cast("podman.Podman", Quiet()), "a", kind)
    ((*words, script),) = entered
    assert "--target=17" in words and "--pid" in words
    assert ("mount -t proc" in script) == whole
    assert "/proc/sys /proc/sys" not in script


def test_a_device_that_the_machine_lacks_is_named() -> None:
    spec = definition.HostSpec("a.lab.test", "vm", ())
    hosts._check_devices(spec, ("--cap-add=NET_ADMIN", "--device=/dev/null"))
    with pytest.raises(RunFailedError, match=r"a\.lab\.test: .* kind vm needs /dev/no-such,"):
        hosts._check_devices(spec, ("--device=/dev/null", "--device=/dev/no-such"))


def test_a_podman_in_a_host_is_told_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(podman, "_may_raise_limits", lambda: True)
    monkeypatch.setattr(podman, "machine_has_cgroup2", lambda: False)
    put = {one.path: one.content for one in hosts._settings_of_podman()}
    told = put["/etc/containers/containers.conf.d/lab.conf"]
    # Its runtime and its groups are its own.
    assert told == b"[containers]\npids_limit = 0\n"
    monkeypatch.setattr(podman, "machine_has_cgroup2", lambda: True)
    assert podman.container_settings() == ""


def test_what_an_interrupted_up_left_goes_with_its_volumes() -> None:
    asked: list[tuple[str, ...]] = []

    class Recording:
        def run(self, *arguments: str) -> None:
            asked.append(arguments)

        def json(self, *_arguments: str) -> list[dict[str, str]]:
            return [{"Id": "1"}]

    lifecycle._remove_unfinished(cast("podman.Podman", Recording()), "mine")
    assert asked == [("rm", "--force", "--volumes", "1")]


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
