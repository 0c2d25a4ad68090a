"""Commands on a host: what they read, and what is told of those that cannot be had."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import commands, user_manager


def test_nothing_bytes_or_a_file_is_read(tmp_path: Path) -> None:
    assert commands.run(["cat"]) == (0, "", "")
    assert commands.run(["cat"], stdin=b"a\xff\n") == (0, "a\ufffd\n", "")
    (tmp_path / "file").write_text("of a file")
    with (tmp_path / "file").open("rb") as stream:
        assert commands.run(["cat"], stdin=stream).out == "of a file"


def test_a_command_that_is_not_there_or_has_no_end() -> None:
    assert commands.run(["no-such-command"]).rc == commands.NOT_FOUND
    assert commands.run(["sleep", "9"], timeout=0.1).rc == commands.TIMED_OUT


def test_who_is_no_account() -> None:
    assert user_manager.entry_of("nobody-of-that-name") is None
    root = user_manager.entry_of("root")
    assert root is not None and root.pw_uid == 0


@pytest.mark.parametrize("program", ["systemctl", "journalctl"])
def test_the_manager_of_no_account_is_asked_nothing(program: str) -> None:
    assert user_manager.command("nobody-of-that-name", program) is None
