"""A JVM is asked by its attach protocol, and nothing that is none gets the signal."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import jvm
from ansible_collections.cloudlet.deploy.plugins.module_utils.processes import ProcessError
from hypothesis import given
from hypothesis import strategies as st

PROGRAM = Path(__file__).with_name("fake_jvm.py")
NOBODY = 65534
SYSTEM_PYTHON = shutil.which("python3", path="/usr/bin:/bin")


class Started:
    """One stand-in that runs."""

    def __init__(self, library: Path, manner: str, *more: str, **how: Any) -> None:
        library.parent.mkdir(parents=True, exist_ok=True)
        library.write_bytes(b"x" * 5000)
        # Another account can read neither the checkout nor its Python.
        program = library.parent / "jvm.py"
        program.write_text(PROGRAM.read_text())
        python = SYSTEM_PYTHON if "user" in how else sys.executable
        self.process = subprocess.Popen(
            [str(python), str(program), str(library), manner, *more],
            stdout=subprocess.PIPE,
            text=True,
            **how,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    @property
    def pid(self) -> int:
        return self.process.pid

    def ended(self) -> tuple[int | None, int]:
        """(exit code before it was stopped: None if it ran on, how often it was signalled)."""
        time.sleep(0.05)
        code = self.process.poll()
        self.process.kill()
        told, _ = self.process.communicate()
        for kind in ("java", "attach"):
            Path(f"/tmp/.{kind}_pid{self.pid}").unlink(missing_ok=True)
        return code, told.count("asked\n")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    started: list[Started] = []

    def one(manner: str, *more: str, library: str = "libjvm.so", **how: Any) -> Started:
        started.append(Started(tmp_path / "lib" / "server" / library, manner, *more, **how))
        return started[-1]

    yield one
    for target in started:
        if target.process.returncode is None:
            target.ended()


def test_a_jvm_tells_its_flags_and_its_version(start: Any) -> None:
    target = start("answers")
    for _ in range(20):
        told = jvm.look(target.pid)
        assert told.version == 17
        assert told.flags["MaxHeapSize"] == "536870912"
        assert told.flags["ThreadStackSize"] == "256"
        assert told.flags["ActiveProcessorCount"] == "-1"
        assert told.flags["OnError"] == ""
        assert told.flags["OldStyle"] == "7"
    assert not Path(f"/tmp/.attach_pid{target.pid}").exists()
    # It listens on: only the first reading had to wake it.
    assert target.ended() == (None, 1)


@pytest.mark.skipif(
    os.geteuid() != 0 or not SYSTEM_PYTHON, reason="only root has processes of two accounts"
)
def test_a_jvm_of_another_account_is_asked_with_its_ids() -> None:
    with tempfile.TemporaryDirectory() as base:
        Path(base).chmod(0o755)
        target = Started(Path(base) / "libjvm.so", "answers", user=NOBODY, group=NOBODY)
        told = jvm.look(target.pid)
        assert Path(f"/tmp/.java_pid{target.pid}").stat().st_uid == NOBODY
        assert told.version == 17
        assert target.ended() == (None, 1)


@pytest.mark.parametrize("library", ["libother.so", "libjvm.so.txt", "notlibjvm.so"])
def test_what_is_no_jvm_gets_no_signal(start: Any, library: str) -> None:
    target = start("ignorant", library=library)
    assert jvm.look(target.pid) is None
    assert target.ended() == (None, 0)


def test_another_jvm_gets_no_signal(start: Any, tmp_path: Path) -> None:
    """OpenJ9 would write a dump."""
    path = tmp_path / "libj9vm29.so"
    path.write_bytes(b"x" * 100)
    target = start("ignorant")
    maps = tmp_path / "proc" / str(target.pid)
    maps.mkdir(parents=True)
    for name in ("status", "cmdline", "environ"):
        (maps / name).write_bytes(Path(f"/proc/{target.pid}/{name}").read_bytes())
    real = Path(f"/proc/{target.pid}/maps").read_text()
    (maps / "maps").write_text(f"{real}7f0-7f1 r--p 0 08:01 7 {path}\n")
    assert jvm.look(target.pid, str(tmp_path / "proc")) is None
    assert target.ended() == (None, 0)


@pytest.mark.parametrize(
    ("manner", "more", "words"),
    [
        ("ignorant", (), "it is starting, or was started with -Xrs"),
        ("answers", ("-XX:+DisableAttachMechanism",), "refuses to be asked"),
    ],
)
def test_a_jvm_that_would_not_answer_gets_no_signal(
    start: Any, manner: str, more: tuple[str, ...], words: str
) -> None:
    target = start(manner, *more)
    with pytest.raises(ProcessError, match=words):
        jvm.look(target.pid)
    assert target.ended() == (None, 0)


def test_options_may_stand_in_the_environment(start: Any) -> None:
    deaf = {**os.environ, "JDK_JAVA_OPTIONS": "-Xmx1g -XX:+DisableAttachMechanism"}
    target = start("answers", env=deaf)
    with pytest.raises(ProcessError, match="refuses to be asked"):
        jvm.look(target.pid)
    assert target.ended() == (None, 0)


def test_a_silent_jvm_is_not_waited_for_long(start: Any) -> None:
    target = start("silent")
    began = time.monotonic()
    with pytest.raises(ProcessError, match="does not answer within 1 s"):
        jvm.look(target.pid, seconds=1)
    assert time.monotonic() - began < 2
    assert not Path(f"/tmp/.attach_pid{target.pid}").exists()
    assert target.ended() == (None, 1)


def test_a_jvm_that_hangs_in_its_answer_is_not_waited_for_long(start: Any) -> None:
    target = start("answers")
    jvm.look(target.pid)
    os.kill(target.pid, signal.SIGSTOP)
    with pytest.raises(ProcessError, match="does not answer within 1 s"):
        jvm.look(target.pid, seconds=1)


def test_a_refused_command_is_told(start: Any) -> None:
    target = start("refuses")
    with pytest.raises(ProcessError, match=r"refused VM\.flags -all: code 1 java\.lang\.Illegal"):
        jvm.look(target.pid)


def test_a_file_left_behind_by_another_stays_and_does_no_harm(start: Any) -> None:
    target = start("answers")
    path = Path(f"/tmp/.attach_pid{target.pid}")
    path.touch()
    assert jvm.look(target.pid).version == 17
    assert path.exists()


def test_nobody_answers_in_the_jvms_name(start: Any) -> None:
    """/tmp is everybody's."""
    target = start("answers")
    path = f"/tmp/.java_pid{target.pid}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(path)
        other.listen(1)
        with pytest.raises(ProcessError, match="another process listens"):
            jvm.look(target.pid)
    Path(path).unlink()
    Path(path).write_text("0\n")
    with pytest.raises(ProcessError, match="is no socket"):
        jvm.look(target.pid)


def test_a_process_that_is_gone_is_told() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    with pytest.raises(ProcessError, match=f"process {gone.pid} "):
        jvm.look(gone.pid)


# --- what is read of an answer ------------------------------------------------------------

_NAME = st.from_regex(r"[A-Z][A-Za-z0-9_]{0,30}", fullmatch=True)
_VALUE = st.one_of(
    st.integers(-(2**63), 2**64).map(str),
    st.sampled_from(["true", "false", "", "100.000000"]),
    st.from_regex(r"[\w./:=,-]+( [\w./:=,-]+)*", fullmatch=True),
)


@given(
    st.dictionaries(_NAME, _VALUE, max_size=20),
    st.sampled_from(["=", ":=", "+="]),
    st.sampled_from(["{product}", "{pd product} {ergonomic}", "{product lp64_product} {default}"]),
    st.integers(0, 40),
)
def test_each_flag_is_read_as_it_is_written(
    flags: dict[str, str], sign: str, kind: str, width: int
) -> None:
    lines = [
        f"{'size_t':>9} {name:<40} {sign} {value:<{width}} {kind}" for name, value in flags.items()
    ]
    assert jvm.flags_of("\n".join(["[Global flags]", *lines, ""])) == flags


@given(st.text())
def test_any_text_is_taken(text: str) -> None:
    assert all(re.fullmatch(r"\w+", name) for name in jvm.flags_of(text))
    assert jvm.major_of(text) is None or jvm.major_of(text) >= 0


@pytest.mark.parametrize(
    ("words", "major"),
    [
        ("OpenJDK 64-Bit Server VM version 25.392-b08\nJDK 8.0_392\n", 8),
        ("OpenJDK 64-Bit Server VM version 17.0.13+11-Debian-2deb12u1\nJDK 17.0.13\n", 17),
        ("OpenJDK 64-Bit Server VM version 25.0.1+8-LTS\nJDK 25.0.1\n", 25),
        ("openjdk 17.0.13 2024-10-15\nOpenJDK Runtime Environment (build 17.0.13+11)\n", 17),
        ('java version "1.8.0_392"\n', 8),
        ("java 21 2023-09-19 LTS\n", 21),
        ("command not found", None),
        ("", None),
    ],
)
def test_the_major_version_of_java(words: str, major: int | None) -> None:
    assert jvm.major_of(words) == major
