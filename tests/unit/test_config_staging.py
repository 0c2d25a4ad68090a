"""config_set on a host: SELinux contexts, names and modes of what is staged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import (
    config_files,
)
from config_host import Host, actions, file


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "host")


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


def mount_point(host: Host, **more: Any) -> dict[str, Any]:
    return {"path": str(host.etc / "mnt"), "mode": "0750", "mount_point": True, **more}


def test_directory_under_a_mount_is_left_alone(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is the mount asked for anything: it may be a dead one, which answers with EIO."""
    host.apply(file(host.etc / "a"), directories=[mount_point(host)])
    observe = config_files.observe

    def dead(path: str, *more: Any) -> dict[str, Any]:
        assert path != str(host.etc / "mnt"), "the mount was touched"
        return observe(path, *more)

    monkeypatch.setattr(config_files, "is_mounted", lambda path: path.endswith("/mnt"))
    monkeypatch.setattr(config_files, "observe", dead)
    again = host.apply(file(host.etc / "a"), directories=[mount_point(host, mode="0700")])
    assert not again["changed"] and not again["drift"]
    assert host.apply(state="absent")["changes"][0]["name"] == str(host.etc / "a")
    assert (host.etc / "mnt").is_dir()


def test_check_mode_foresees_that_a_mount_point_goes_when_its_mount_does(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    above = {"path": str(host.etc / "data")}
    below = {"path": str(host.etc / "data" / "mnt"), "mount_point": True}
    host.apply(directories=[above, below])
    (host.etc / "data" / "mnt" / "movie").touch()
    with monkeypatch.context() as patch:
        patch.setattr(config_files, "is_mounted", lambda path: path.endswith("/mnt"))
        foreseen = host.plan(state="absent")
    (host.etc / "data" / "mnt" / "movie").unlink()
    assert foreseen["warnings"] == []
    assert actions(foreseen) == actions(host.apply(state="absent")) != []


def test_directory_that_was_mounted_before_gets_what_is_wanted_when_it_no_longer_is(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    (host.etc / "mnt").mkdir(mode=0o755)
    with monkeypatch.context() as patch:
        patch.setattr(config_files, "is_mounted", lambda path: path.endswith("/mnt"))
        host.apply(file(host.etc / "a"), directories=[mount_point(host)])
    assert actions(host.apply(file(host.etc / "a"), directories=[mount_point(host)])) == [
        ("directory", "mnt", "attributes")
    ]
    host.apply(state="absent")
    assert (host.etc / "mnt").is_dir()


def test_mounts_are_known_by_what_the_kernel_says(tmp_path: Path) -> None:
    assert config_files.is_mounted("/proc")
    assert not config_files.is_mounted(str(tmp_path))
