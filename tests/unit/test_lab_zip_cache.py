"""What a lab's hosts keep of Ansible's modules is what Python would compile."""

from __future__ import annotations

import marshal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from cloudlet_deploy.lab import zip_cache

#: As a host does at each start of Python, but with a directory of the test's own.
_START = f"""
import importlib.util, sys, zipimport
spec = importlib.util.spec_from_file_location("lab_zip_cache", {zip_cache.__file__!r})
lab = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lab)
lab._DIRECTORY, archive = sys.argv[1:]
zipimport._compile_source = lab._kept
sys.path.insert(0, archive)
import told
"""


def run(archive: Path, source: str, kept: Path) -> subprocess.CompletedProcess[str]:
    """Import a module of ``source`` from a zip archive, in a Python of its own."""
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("told.py", source)
    command = [sys.executable, "-I", "-c", _START, str(kept), str(archive)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "kept"


def test_what_was_compiled_once_is_taken(tmp_path: Path, kept: Path) -> None:
    source = "print('as it was sent')"
    assert run(tmp_path / "a.zip", source, kept).stdout == "as it was sent\n"
    (one,) = kept.iterdir()
    assert run(tmp_path / "b.zip", source, kept).stdout == "as it was sent\n"
    assert list(kept.iterdir()) == [one]
    one.write_bytes(marshal.dumps(compile("print('as it was kept')", "", "exec")))
    assert run(tmp_path / "c.zip", source, kept).stdout == "as it was kept\n"


def test_another_source_is_another(tmp_path: Path, kept: Path) -> None:
    assert run(tmp_path / "a.zip", "print(1)", kept).stdout == "1\n"
    assert run(tmp_path / "a.zip", "print(2)", kept).stdout == "2\n"


@pytest.mark.parametrize("rest", [b"", b"\x00", b"{"])
def test_a_damaged_one_is_compiled_anew(tmp_path: Path, kept: Path, rest: bytes) -> None:
    assert run(tmp_path / "a.zip", "print(1)", kept).stdout == "1\n"
    (one,) = kept.iterdir()
    one.write_bytes(rest)
    assert run(tmp_path / "a.zip", "print(1)", kept).stdout == "1\n"
    assert len(one.read_bytes()) > len(rest)


def test_a_traceback_names_the_archive_that_was_sent(tmp_path: Path, kept: Path) -> None:
    source = "def fail():\n    1 / 0\n\nfail()"
    run(tmp_path / "a.zip", source, kept)
    said = run(tmp_path / "b.zip", source, kept).stderr
    assert said.count(str(tmp_path / "b.zip" / "told.py")) == 2, said
    assert "a.zip" not in said


def test_errors_are_pythons_own_and_nothing_is_kept_of_them(tmp_path: Path, kept: Path) -> None:
    assert "SyntaxError" in run(tmp_path / "a.zip", "1 +", kept).stderr
    assert not kept.exists()
    kept.write_text("no directory")
    assert run(tmp_path / "a.zip", "print(1)", kept).stdout == "1\n"
