"""Reading and writing a mount, over directories that stand for one."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import mount_rate

MIB = 1 << 20


class Mount:
    """A directory, and a table of mounts that says what is mounted there."""

    def __init__(self, path: Path) -> None:
        self.where = path / "my mount"
        self.where.mkdir()
        self.table = path / "mountinfo"
        self.mounted("rw,nosuid")

    def mounted(self, options: str, where: str = "") -> None:
        point = where or str(self.where).replace(" ", "\\040")
        line = "50 1 0:40 / {} {} shared:9 - fuse.sshfs em@login:/gpfs rw\n"
        self.table.write_text(line.format("/", "rw") + line.format(point, options))

    def names(self) -> list[str]:
        return [path.name for path in self.where.iterdir()]

    def measure(self, seconds: int = 5, mib: int = 4) -> dict[str, Any]:
        found = mount_rate.measure(str(self.where), seconds, mib, str(self.table))
        assert isinstance(found, dict)
        return found


@pytest.fixture
def mount(tmp_path: Path) -> Mount:
    return Mount(tmp_path)


def test_what_may_be_written_is_written_read_back_and_removed(mount: Mount) -> None:
    (mount.where / "mine").write_text("stays")
    found = mount.measure()
    assert found["problem"] == found["left"] == ""
    for key in ("read", "write"):
        assert found[key]["bytes"] == 4 * MIB
        assert found[key]["seconds"] > 0
    assert mount.names() == ["mine"]


def test_what_is_read_only_is_read_and_nothing_else(mount: Mount) -> None:
    mount.mounted("ro,nosuid")
    below = mount.where / "GridSquare_1"
    below.mkdir()
    (below / "large.tiff").write_bytes(os.urandom(3 * MIB + 5))
    (mount.where / "small.tiff").write_bytes(b"x" * 100)
    (mount.where / "link").symlink_to("/etc/passwd")
    found = mount.measure()
    assert (found["problem"], found["write"]) == ("", None)
    assert found["read"]["bytes"] == 3 * MIB + 105
    assert mount.measure(mib=1)["read"]["bytes"] == MIB


def test_the_largest_files_are_read_first(mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("a", 10), ("b", 30), ("c", 20)):
        (mount.where / name).write_bytes(b"x" * size)
    read, real = [], mount_rate._read

    def seen(path: str, seconds: float, most: int) -> Any:
        read.append(Path(path).name)
        return real(path, seconds, most)

    monkeypatch.setattr(mount_rate, "_read", seen)
    assert mount_rate.read_existing(str(mount.where), 5, 1)["bytes"] == 60
    assert read == ["b", "c", "a"]


@pytest.mark.parametrize("files", [[], ["empty.tiff"]])
def test_without_anything_to_read_there_is_no_rate(mount: Mount, files: list[str]) -> None:
    mount.mounted("ro")
    for name in files:
        (mount.where / name).touch()
    found = mount.measure()
    assert found["read"] is None
    assert "there is no file to read" in found["problem"]


def test_nothing_is_measured_where_nothing_is_mounted(mount: Mount) -> None:
    mount.mounted("rw", "/elsewhere")
    assert mount.measure()["problem"] == "nothing is mounted there"
    assert mount.names() == []


def test_a_space_without_room_is_not_filled(mount: Mount) -> None:
    found = mount.measure(mib=1 << 40)
    assert "are free, of which" in found["problem"]
    assert mount.names() == []


def test_time_ends_it(mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write

    def slow(descriptor: int, data: Any) -> int:
        time.sleep(0.3)
        return real(descriptor, data)

    monkeypatch.setattr(mount_rate.os, "write", slow)
    found = mount.measure(seconds=1, mib=100)
    assert 1 <= found["write"]["bytes"] / MIB <= 10
    assert found["read"]["bytes"] == found["write"]["bytes"]


def test_other_bytes_than_were_written_are_told(
    mount: Mount, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = mount_rate._write

    def damaged(path: str, seconds: float, mib: int) -> Any:
        told = real(path, seconds, mib)
        with Path(path).open("r+b") as stream:
            stream.seek(MIB + 7)
            stream.write(b"!!!!")
        return told

    monkeypatch.setattr(mount_rate, "_write", damaged)
    assert mount.measure()["problem"] == "what was read back is not what was written"
    assert mount.names() == []


def test_a_mount_that_hangs_ends_in_time(mount: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(*_: Any) -> None:
        time.sleep(60)

    monkeypatch.setattr(mount_rate, "_SPARE", -9.0)
    monkeypatch.setattr(mount_rate, "_REMOVAL", 0.5)
    monkeypatch.setattr(mount_rate, "_write", hangs)
    begun = time.monotonic()
    found = mount.measure()
    assert found["problem"] == "no answer within 1 s"
    assert found["left"] == ""
    monkeypatch.setattr(mount_rate, "_removed", hangs)
    found = mount.measure()
    assert Path(found["left"]).parent == mount.where
    assert time.monotonic() - begun < 10


def test_a_file_of_a_killed_run_is_removed(mount: Mount) -> None:
    (mount.where / f".cloudlet-smoke-{os.uname().nodename}").write_text("old")
    assert mount.measure()["problem"] == ""
    assert mount.names() == []
