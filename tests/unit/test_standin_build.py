"""Building the BeStMan stand-in: same bytes each time, and clear words when it cannot."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest

from cloudlet_deploy.errors import RunFailedError, UsageError
from cloudlet_deploy.lab import standin


def _digest(home: Path) -> dict[str, tuple[str, int, int]]:
    return {
        path.relative_to(home).as_posix(): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mode,
            int(path.stat().st_mtime),
        )
        for path in home.rglob("*")
        if path.is_file()
    }


@pytest.mark.skipif(shutil.which("javac") is None, reason="javac is not installed")
@pytest.mark.skipif(
    not (standin.JAR_DIRECTORY / "jglobus-gss.jar").exists(), reason="jglobus is not installed"
)
def test_is_the_layout_of_a_prepared_home_and_the_same_each_time(tmp_path: Path) -> None:
    standin.build(tmp_path / "one")
    before = os.umask(0o077)
    try:
        standin.build(tmp_path / "two")
    finally:
        os.umask(before)
    built = _digest(tmp_path / "one")
    assert built == _digest(tmp_path / "two")
    assert {
        "conf/WEB-INF/web.xml",
        "conf/WEB-INF/server-config.wsdd",
        "properties/log4j.properties",
        "lib/cloudlet-standin.jar",
        "lib/jglobus-gss.jar",
        "lib/bcprov.jar",
    } <= set(built)
    wsdd = (tmp_path / "one/conf/WEB-INF/server-config.wsdd").read_text()
    assert "gov.lbl.srm.impl.TSRMServiceGateway" in wsdd


def test_inputs_are_all_sources() -> None:
    names = {path.name for path in standin.inputs()}
    assert {"__init__.py", "Server.java", "Door.java", "web.xml", "log4j.properties"} <= names
    assert all(path.is_file() for path in standin.inputs())
    assert standin.inputs() == sorted(standin.inputs())


def test_names_the_package_of_a_missing_compiler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunFailedError, match="javac") as caught:
        standin.build(tmp_path / "home")
    assert "openjdk-17-jdk-headless" in caught.value.next_step
    assert not (tmp_path / "home").exists()


def test_names_missing_jars_and_their_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "javac").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunFailedError, match=r"jglobus-gss\.jar") as caught:
        standin.build(tmp_path / "home", jar_directory=tmp_path)
    assert "libjglobus-gss-java" in caught.value.next_step
    assert not (tmp_path / "home").exists()


def test_shows_what_the_compiler_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "javac").write_text("#!/bin/sh\necho 'bad class file' >&2\nexit 2\n")
    (tools / "javac").chmod(0o755)
    for name in standin._JARS:
        (tools / name).touch()
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    with pytest.raises(RunFailedError, match="bad class file"):
        standin.build(tmp_path / "home", jar_directory=tools)


def test_leaves_a_full_directory_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    with pytest.raises(UsageError, match="not an empty directory"):
        standin.build(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
