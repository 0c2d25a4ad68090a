"""What Ansible and ssh say, turned into a message and a next step."""

from __future__ import annotations

import pytest

from cloudlet_deploy.errors import ExitCode
from cloudlet_deploy.run.events import Status
from cloudlet_deploy.run.outcome import Failure
from cloudlet_deploy.run.reasons import explain, no_start

_SSH = "Task failed: Failed to connect to the host via ssh: "


@pytest.mark.parametrize(
    ("words", "message", "next_step"),
    [
        ("ssh: connect to host d port 22: Connection refused", "refuses ssh", "sshd"),
        ("ssh: connect to host d port 22: No route to host", "does not answer", "up"),
        ("ssh: connect to host d port 22: Connection timed out", "does not answer", "firewall"),
        ("ssh: Could not resolve hostname d: Name or service not known", "name", "ansible_host"),
        ("me@d: Permission denied (publickey).", "ssh was refused", "--private-key"),
        ("Host key verification failed.", "host key is not known", "fingerprint"),
        (
            "@@@@@@@\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\n@@@@@@@\n"
            "Host key verification failed.",
            "not the known one",
            "ssh-keygen -R door",
        ),
        ("kex_exchange_identification: odd", "cannot be reached", "ssh door"),
    ],
)
def test_unreachable(words: str, message: str, next_step: str) -> None:
    reason = explain(Failure("door", "", "Gather", Status.UNREACHABLE, _SSH + words))
    assert reason.message.startswith("door: ")
    assert message in reason.message
    assert next_step in reason.next_step
    assert words.splitlines()[-1] in reason.message
    assert "Task failed" not in reason.message
    assert "{" not in reason.message + reason.next_step


def test_a_connection_that_breaks_off_without_a_word() -> None:
    reason = explain(Failure("door", "java", "Install", Status.UNREACHABLE, _SSH))
    assert reason.message == (
        "door: cannot be reached: ssh gave no reason, the connection broke off"
    )


@pytest.mark.parametrize(
    "words",
    [
        "Missing sudo password",
        "Task failed: Premature end of stream waiting for become success.\n"
        ">>> Standard Error\nsudo: a password is required",
        "user me is not in the sudoers file.",
        "Incorrect sudo password",
    ],
)
def test_no_sudo(words: str) -> None:
    failure = Failure("door", "java", "Install", Status.FAILED, words)
    reason = explain(failure, "me")
    assert reason.message.startswith("door (java): user me may not become root: ")
    assert "-K" in reason.next_step
    assert "the login user may not" in explain(failure).message


def test_a_full_file_system() -> None:
    words = "The file system /srv is full (0 KiB and 5 inodes free): /srv/a cannot be written."
    reason = explain(Failure("door", "storage", "Make", Status.FAILED, words))
    assert reason.message == f"door (storage): {words}"
    assert reason.next_step.startswith("Free space on that file system")


def test_a_module_that_says_what_to_do_is_not_corrected() -> None:
    words, step = "user {me} got: Missing sudo password.", "Ask {root}."
    failure = Failure("door", "host_check", "Look", Status.FAILED, words, step)
    reason = explain(failure, "me")
    assert (reason.message, reason.next_step) == (f"door (host_check): {words}", step)


def test_other_failures_keep_their_words_and_braces() -> None:
    failure = Failure("door", "java", "Install {x}", Status.FAILED, "E: {no} such package")
    reason = explain(failure)
    assert reason.message == "door (java): task 'Install {x}' failed: E: {no} such package"
    assert "run the command again" in reason.next_step


@pytest.mark.parametrize(
    ("output", "code"),
    [
        ("ERROR! Attempting to decrypt but no vault secrets found", ExitCode.INVALID),
        ("leaves us with no hosts to target.", ExitCode.USAGE),
        ("Unable to parse /x as an inventory source", ExitCode.INVALID),
        ("ERROR! something else", ExitCode.TASK_FAILED),
        ("", ExitCode.TASK_FAILED),
    ],
)
def test_ansible_that_does_not_start(output: str, code: ExitCode) -> None:
    error = no_start(output, 4, began=False)
    assert error.exit_code is code
    assert (output or "printed nothing") in error.message
    assert error.next_step


def test_ansible_that_breaks_off_is_a_failure_whatever_it_said() -> None:
    error = no_start("no vault secrets found", None, began=True)
    assert error.exit_code is ExitCode.TASK_FAILED
    assert "broke off (killed)" in error.message
