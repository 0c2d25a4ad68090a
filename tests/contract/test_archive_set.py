"""archive_set through Ansible: checked on the controller, swapped at once, taken away again."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def tarball(path: Path, files: dict[str, str]) -> str:
    """Make the archive; returns its checksum."""
    with tarfile.open(path, "w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.uid = len(text), 0o6755, 12345
            archive.addfile(member, io.BytesIO(text.encode()))
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def act(run_tasks: Any, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def once(archive: Path | str, checksum: str, check: bool = False, **more: str) -> Any:
        task = {
            "cloudlet.deploy.archive_set": {
                "component": "bestman",
                "archive": str(archive),
                "checksum": checksum,
                "path": str(tmp_path / "opt" / "home"),
                "state_dir": str(tmp_path / "state"),
                **more,
            }
        }
        return run_tasks([task], check=check)[-1]

    return once


@pytest.mark.one_core
def test_unpacks_once_swaps_to_the_next_and_goes(act: Any, tmp_path: Path) -> None:
    home = tmp_path / "opt" / "home"
    one, two = tmp_path / "one.tgz", tmp_path / "two.tgz"
    first = tarball(one, {"bestman-1/lib/a.jar": "1", "bestman-1/conf/x": "1"})
    second = tarball(two, {"lib/a.jar": "2", "properties/p": "2"})

    planned = act(one, first, check=True)
    assert not (tmp_path / "opt").exists() and not (tmp_path / "state").exists()
    done = act(one, first)
    expected = [{"kind": "directory", "name": str(home), "action": "create", "detail": first}]
    assert planned["changes"] == done["changes"] == expected
    assert (home / "lib" / "a.jar").read_text() == "1", "the directory at the top is left out"
    # Owner and mode of the archive, setuid too, are not taken over.
    stat = (home / "lib" / "a.jar").stat()
    assert (stat.st_uid, stat.st_mode & 0o7777) == (0, 0o755)
    assert not act(one, first)["changed"]

    swapped = act(two, second)
    assert [c["action"] for c in swapped["changes"]] == ["change"]
    assert (home / "lib" / "a.jar").read_text() == "2"
    assert sorted(p.name for p in home.parent.iterdir()) == ["home", home.readlink().name]

    assert act(two, second, check=True, state="absent")["changed"] and home.exists()
    assert act(two, second, state="absent")["changed"]
    assert list(home.parent.iterdir()) == []
    assert not act(two, second, state="absent")["changed"]
    ledger = json.loads((tmp_path / "state" / "ledger.json").read_text())
    assert ledger["entries"] == {}


@pytest.mark.one_core
@pytest.mark.parametrize("check", [True, False])
def test_a_wrong_checksum_changes_nothing_and_says_so(
    act: Any, tmp_path: Path, check: bool
) -> None:
    archive = tmp_path / "one.tgz"
    real = tarball(archive, {"lib/a.jar": "1"})
    wanted = "sha256:" + "0" * 64
    result = act(archive, wanted, check=check)
    assert result["failed"]
    assert str(archive) in result["msg"] and real in result["msg"] and wanted in result["msg"]
    assert not (tmp_path / "opt").exists()


@pytest.mark.one_core
def test_a_checksum_of_another_form_and_a_missing_archive(act: Any, tmp_path: Path) -> None:
    assert "64 hexadecimal digits" in act(tmp_path / "x.tgz", "md5:12")["msg"]
    assert "cannot be read" in act(tmp_path / "x.tgz", "sha256:" + "0" * 64)["msg"]


def test_what_is_not_ours_stays(act: Any, tmp_path: Path) -> None:
    archive = tmp_path / "one.tgz"
    checksum = tarball(archive, {"lib/a.jar": "1"})
    theirs = tmp_path / "opt" / "home" / "file"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("by hand")
    for check in (True, False):
        assert "not unpacked by cloudlet-deploy" in act(archive, checksum, check=check)["msg"]
    assert not act(archive, checksum, state="absent")["changed"]
    assert theirs.read_text() == "by hand"


@pytest.mark.one_core
@pytest.mark.parametrize("name", ["../outside", "/etc/outside", "lib/../../outside"])
def test_an_archive_that_leads_out_is_refused_whole(act: Any, tmp_path: Path, name: str) -> None:
    archive = tmp_path / "one.tgz"
    checksum = tarball(archive, {"lib/a.jar": "1", name: "x"})
    result = act(archive, checksum)
    assert result["failed"] and "leads out of it" in result["msg"]
    assert list((tmp_path / "opt").iterdir()) == []


@pytest.mark.one_core
def test_something_that_is_no_archive_is_refused(act: Any, tmp_path: Path) -> None:
    archive = tmp_path / "one.tgz"
    archive.write_text("an error page of a web server")
    checksum = "sha256:" + hashlib.sha256(archive.read_bytes()).hexdigest()
    assert "cannot be unpacked" in act(archive, checksum)["msg"]
