"""What is done with a name directory: made once, finished after a kill, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import hdfs_name
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import Result
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import Ledger
from ansible_collections.cloudlet.deploy.plugins.modules import hdfs_name as module

ID = "CID-one"


def made(directory: Path, cluster: str = ID) -> Path:
    (directory / "current").mkdir(parents=True)
    (directory / "current/VERSION").write_text(f"#\nclusterID={cluster}\nlayoutVersion=-67\n")
    return directory


def note(state: str = "formatted", version: str = "3.4.3") -> dict[str, str]:
    return {"cluster_id": ID, "state": state, "version": version}


def decide(directory: Path, notes: dict[str, Any], version: str = "3.4.3", allow: bool = False):
    return hdfs_name.decide(str(directory), notes, version, allow)


def test_one_that_was_never_there_is_made(tmp_path: Path) -> None:
    assert decide(tmp_path / "name", {}) == ("format", None)
    (tmp_path / "name").mkdir()
    assert decide(tmp_path / "name", {}) == ("format", None)


def test_one_that_another_hand_made_is_adopted(tmp_path: Path) -> None:
    assert decide(made(tmp_path / "name"), {}) == ("adopt", ID)


def test_one_of_ours_is_left_alone(tmp_path: Path) -> None:
    name = made(tmp_path / "name")
    assert decide(name, {str(name): note()}) == (None, ID)


def test_a_killed_formatting_goes_on_with_its_id(tmp_path: Path) -> None:
    name = tmp_path / "name"
    notes = {str(name): note("formatting")}
    assert decide(name, notes) == ("format", ID)
    assert decide(made(name), notes) == ("format", ID)


@pytest.mark.parametrize("state", ["missing", "empty", "foreign"])
def test_a_file_system_that_is_gone_is_refused(tmp_path: Path, state: str) -> None:
    name = tmp_path / "name"
    if state == "empty":
        name.mkdir()
    if state == "foreign":
        made(name, "CID-two")
    with pytest.raises(hdfs_name.Refused) as caught:
        decide(name, {str(name): note()})
    assert str(name) in str(caught.value) and ID in str(caught.value)
    assert "CID-two" in str(caught.value) or state in str(caught.value)
    assert "docs/how-to/hdfs.md" in caught.value.next_step


def test_another_directory_for_a_known_file_system_is_refused(tmp_path: Path) -> None:
    notes = {str(tmp_path / "old"): note()}
    with pytest.raises(hdfs_name.Refused, match=ID):
        decide(tmp_path / "new", notes)
    assert decide(made(tmp_path / "new"), notes) == ("adopt", ID)


def test_what_is_no_name_directory_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "photo").touch()
    with pytest.raises(hdfs_name.Refused, match="neither empty nor a name directory"):
        decide(tmp_path, {})


def test_another_version_needs_leave(tmp_path: Path) -> None:
    name = made(tmp_path / "name")
    notes = {str(name): note()}
    with pytest.raises(hdfs_name.Refused, match=r"Hadoop 3\.5\.0 .* 3\.4\.3") as caught:
        decide(name, notes, "3.5.0")
    assert "--allow-hdfs-upgrade" in caught.value.next_step
    assert decide(name, notes, "3.5.0", allow=True) == ("upgrade", ID)
    assert decide(name, notes, "") == (None, ID)


class Killed(BaseException):
    """What a kill is for the module."""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Options of the module, and a format command that makes what Hadoop makes."""
    commands: list[list[str]] = []

    def run(argv: list[str], timeout: float | None = None) -> Result:
        commands.append(argv)
        (staging,) = [a.partition("file://")[2] for a in argv if "name.dir" in a]
        made(Path(staging), argv[-1])
        return Result(0, "", "")

    monkeypatch.setattr(module, "run", run)
    return {
        "directory": str(tmp_path / "name"),
        "format": ["java", "NameNode"],
        "owner": "root",
        "jars": [],
        "version": "3.4.3",
        "allow_upgrade": False,
        "state_dir": str(tmp_path / "state"),
        "commands": commands,
    }


def act(host: dict[str, Any], check: bool = False) -> dict[str, Any]:
    result: dict[str, Any] = module.NameDirectory(host).act(check)
    return result


def test_formatting_happens_once_and_is_told_before(host: dict[str, Any]) -> None:
    planned = act(host, check=True)
    assert not Path(host["directory"]).exists() and not host["commands"]
    done = act(host)
    assert [(c["kind"], c["action"]) for c in done["changes"]] == [("filesystem", "format")]
    assert [c["name"] for c in planned["changes"]] == [host["directory"]]
    assert act(host)["changes"] == [] and len(host["commands"]) == 1
    assert Ledger(host["state_dir"]).notes("filesystem")[host["directory"]]["state"] == "formatted"


@pytest.mark.parametrize("step", ["mkdir", "run", "rename", "fsync_dir"])
def test_a_kill_at_any_step_is_made_up_for(
    host: dict[str, Any], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    where = module if step in ("run", "fsync_dir") else module.os
    real = getattr(where, step)

    def killed(*args: Any, **kwargs: Any) -> Any:
        if step == "mkdir" and ".formatting" not in str(args[0]):
            return real(*args, **kwargs)
        if step == "rename":  # just after it
            real(*args, **kwargs)
        raise Killed

    with monkeypatch.context() as broken:
        broken.setattr(where, step, killed)
        with pytest.raises(Killed):
            act(host)
    wanted = Ledger(host["state_dir"]).notes("filesystem")[host["directory"]]["cluster_id"]
    assert act(host)["cluster_id"] == wanted
    assert hdfs_name.read_version(host["directory"])["clusterID"] == wanted
    assert act(host)["changes"] == []
    assert not list(Path(host["directory"]).parent.glob(".*formatting"))


def test_a_missing_parent_is_refused(host: dict[str, Any]) -> None:
    host["directory"] += "/disk/name"
    with pytest.raises(hdfs_name.Refused, match="is no directory"):
        act(host)
