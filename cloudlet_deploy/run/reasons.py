"""Turns what Ansible and ssh say of a failure into a message and a next step."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cloudlet_deploy.errors import CloudletError, InvalidSiteError, RunFailedError, UsageError
from cloudlet_deploy.run.events import Status
from cloudlet_deploy.run.outcome import Failure


@dataclass(frozen=True)
class Reason:
    """What happened, with the host's name, and what to do about it."""

    message: str
    next_step: str


@dataclass(frozen=True)
class _Known:
    """``message`` follows "HOST: "; both texts may use {host}, {words} and {user}."""

    pattern: re.Pattern[str]
    message: str
    next_step: str


def _known(pattern: str, message: str, next_step: str) -> _Known:
    return _Known(re.compile(pattern, re.IGNORECASE), message, next_step)


_REACH = (
    _known(
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|Host key for \S+ has changed",
        "its ssh host key is not the known one: {words}",
        "Find out why the key changed before you trust it; if the host was installed anew, "
        "'ssh-keygen -R {host}' forgets the old key.",
    ),
    _known(
        r"Host key verification failed",
        "its ssh host key is not known here: {words}",
        "Log in once by hand ('ssh {host}'), compare the fingerprint, and accept it.",
    ),
    _known(
        r"Permission denied|Too many authentication failures|no such identity",
        "ssh was refused: {words}",
        "Check --user and --private-key (or ansible_user and ansible_ssh_private_key_file), "
        "and that the key is in the host's authorized_keys.",
    ),
    _known(
        r"Could not resolve hostname|Name or service not known",
        "its name is not known: {words}",
        "Correct the name in the inventory, or set ansible_host to its address.",
    ),
    _known(
        r"Connection refused",
        "it refuses ssh: {words}",
        "Check that sshd runs there, and ansible_port.",
    ),
    _known(
        r"timed out|No route to host|Network is unreachable|Connection (closed|reset)",
        "it does not answer: {words}",
        "Check that the host is up and that no firewall is between; then run this again.",
    ),
    _known(
        r"Failed to create temporary directory",
        "the login user has no directory for Ansible's files: {words}",
        "Check that its home exists, is writable and has space left.",
    ),
)

_SUDO = _known(
    r"Missing sudo password|sudo: a password is required|"
    r"interactive authentication is required|Incorrect sudo password|"
    r"Sorry, try again|not in the sudoers file|may not run sudo|is not allowed to execute|"
    r"sudo: (command )?not found|Timeout \(\d+s\) waiting for privilege escalation|"
    r"Premature end of stream waiting for become success",
    "{user} may not become root: {words}",
    "Give the user passwordless sudo, or its password with --ask-become-pass (-K).",
)
_PYTHON = _known(
    r"No python interpreters? (was |were )?found|python3?: (command )?not found|"
    r"interpreter was not found",
    "there is no Python that Ansible can use: {words}",
    "Install python3 there, or set ansible_python_interpreter.",
)
_VAULT = _known(
    r"no vault secrets (were )?found|Decryption failed|vault secrets? (that|which)",
    "a vaulted value could not be read: {words}",
    "Give the vault password: --ask-vault-pass (-J) or --vault-password-file.",
)
_FULL = _known(
    r"The file system \S+ is full",
    "{words}",
    "Free space on that file system, then run this again.",
)
_SPACE = _known(
    r"No space left on device",
    "a disk is full: {words}",
    "Free space on the host, then run this again.",
)

_TASK = (_SUDO, _PYTHON, _VAULT, _FULL, _SPACE)


def explain(failure: Failure, user: str | None = None) -> Reason:
    """Say of a host's failure what it means. ``user`` is the login user, if known."""
    words = _words(failure.message) or "ssh gave no reason, the connection broke off"
    if failure.status is Status.UNREACHABLE:
        known: tuple[_Known, ...] = (*_REACH, _SUDO)
        message, next_step = "cannot be reached: {words}", "Check that 'ssh {host}' works."
    elif failure.next_step:
        known = ()
        message, next_step = "{words}", "{advice}"
    else:
        known = _TASK
        message = "task '{task}' failed: {words}"
        next_step = "Correct this, then run the command again: it takes up where it stopped."
    for candidate in known:
        if candidate.pattern.search(failure.message):
            message, next_step = candidate.message, candidate.next_step
            break
    filled = {
        "host": failure.host,
        "task": failure.task,
        "words": words,
        "advice": failure.next_step,
        "user": f"user {user}" if user else "the login user",
    }
    # Where a host is lost does not matter; where a task fails does.
    told = failure.component and failure.status is not Status.UNREACHABLE
    component = f" ({failure.component})" if told else ""
    return Reason(
        f"{failure.host}{component}: {message.format_map(filled)}", next_step.format_map(filled)
    )


_WRAPPING = re.compile(
    r"^(Task failed|Failed to connect to the host via ssh|Data could not be sent to remote host"
    r"[^:]*|Module (result deserialization )?failed)\s*:\s*",
    re.IGNORECASE,
)


def _words(message: str) -> str:
    """The message without what Ansible wraps around it."""
    text = message.strip()
    while (shorter := _WRAPPING.sub("", text).strip()) != text:
        text = shorter
    lines = [line.strip() for line in text.splitlines()]
    return "\n".join(line for line in lines if line and not set(line) <= {"@"})


_NO_HOSTS = re.compile(
    r"leaves us with no hosts to target|no hosts matched|Could not match supplied host pattern",
    re.IGNORECASE,
)
_INVENTORY = re.compile(
    r"Unable to parse .* as an inventory source|Completely failed to parse inventory|"
    r"provided hosts list is empty|YAML parsing failed|We were unable to read",
    re.IGNORECASE,
)


def no_start(output: str, exit_status: int | None, *, began: bool) -> CloudletError:
    """The error for a playbook that never came to its end.

    ``output`` is what ansible-playbook printed, ``began`` whether a host did anything.
    """
    tail = "\n".join(line for line in output.splitlines() if line.strip())[-2000:].strip()
    if not began and _VAULT.pattern.search(tail):
        return InvalidSiteError(f"Ansible could not start: {tail}", next_step=_VAULT.next_step)
    if not began and _NO_HOSTS.search(tail):
        return UsageError(
            f"No host is left to work on: {tail}",
            next_step="Check --limit against the inventory's hosts and groups.",
        )
    if not began and _INVENTORY.search(tail):
        return InvalidSiteError(
            f"Ansible cannot read the inventory: {tail}",
            next_step="'cloudlet-deploy validate' shows every fault with its file and line.",
        )
    what = "broke off" if began else "could not start"
    status = "killed" if exit_status is None else f"exit code {exit_status}"
    return RunFailedError(
        f"ansible-playbook {what} ({status}): {tail or 'it printed nothing'}",
        next_step="Correct the cause and run this again; -vvv shows more.",
    )
