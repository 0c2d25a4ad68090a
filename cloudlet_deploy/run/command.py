"""The command line and the environment of ansible-playbook, made from a ``RunPlan``."""

from __future__ import annotations

import json
import os
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path

from cloudlet_deploy.errors import UsageError
from cloudlet_deploy.run import lean
from cloudlet_deploy.run.plan import RunPlan
from cloudlet_deploy.run.secrets import Secrets

#: What the user's environment may tell Ansible and ssh, besides Ansible's own settings.
_ALLOWED = frozenset(
    {
        *("HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "SSH_AUTH_SOCK", "TERM"),
        *("TMPDIR", "TZ", "USER", "KRB5CCNAME", "XDG_RUNTIME_DIR", "VIRTUAL_ENV"),
        *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
    }
)

#: Settings of Ansible that would break the events, or tell or keep what must not be.
_REFUSED = frozenset(
    {
        "ANSIBLE_CACHE_PLUGIN",
        "ANSIBLE_CHECK_MODE_MARKERS",
        "ANSIBLE_DEBUG",
        "ANSIBLE_DISPLAY_ARGS_TO_STDOUT",
        "ANSIBLE_FORCE_COLOR",
        "ANSIBLE_KEEP_REMOTE_FILES",
        "ANSIBLE_LOAD_CALLBACK_PLUGINS",
        "ANSIBLE_NO_LOG",
        "ANSIBLE_STDOUT_CALLBACK",
    }
)

#: What ansible-runner wants its callback to find.
_RUNNER = (
    "ANSIBLE_CALLBACK_PLUGINS",
    "ANSIBLE_STDOUT_CALLBACK",
    "AWX_ISOLATED_DATA_DIR",
    "RUNNER_OMIT_EVENTS",
    "RUNNER_ONLY_FAILED_EVENTS",
)

#: A host that dies in the middle of a task is noticed after half a minute.
_SSH_ARGS = (
    "-C -o ControlMaster=auto -o ControlPersist=60s"
    " -o ServerAliveInterval=10 -o ServerAliveCountMax=3"
)
#: A connection that another Ansible left open would not notice it for a quarter of an hour.
_OWN_CONNECTIONS = "~/.ansible/cp-cloudlet"

#: The runner drops results that are longer; a config set may hold 4 MiB, seen twice in a diff.
_LONGEST_RESULT = 32 * 1024 * 1024


def environment(runner: Mapping[str, str], *, scratch: Path, collections: Path) -> dict[str, str]:
    """The whole environment of ansible-playbook.

    ``runner`` is what ansible-runner made; ``collections`` holds the link to our own roles.
    """
    given = {
        name: value
        for name, value in os.environ.items()
        if name in _ALLOWED
        or name.startswith("LC_")
        or (name.startswith("ANSIBLE_") and name not in _REFUSED)
    }
    ours = {
        "ANSIBLE_COLLECTIONS_PATH": _collections_path(collections),
        "ANSIBLE_HOST_KEY_CHECKING": "True",
        # A group without hosts is no fault of a site; a --limit was looked at before.
        "ANSIBLE_HOST_PATTERN_MISMATCH": "ignore",
        "ANSIBLE_INJECT_FACT_VARS": "False",
        "ANSIBLE_LOCALHOST_WARNING": "False",
        # Rendered templates hold secrets: what a killed run leaves of them goes with scratch.
        "ANSIBLE_LOCAL_TEMP": str(scratch / "tmp"),
        "ANSIBLE_NOCOLOR": "True",
        "ANSIBLE_PIPELINING": "True",
        "ANSIBLE_RETRY_FILES_ENABLED": "False",
        "MAX_EVENT_RES": str(_LONGEST_RESULT),
        "PYTHONUNBUFFERED": "1",
    }
    if "ANSIBLE_SSH_ARGS" not in given and _configured("ssh_connection", "ssh_args") is None:
        ours["ANSIBLE_SSH_ARGS"] = _SSH_ARGS
        if _configured("ssh_connection", "control_path_dir") is None:
            ours["ANSIBLE_SSH_CONTROL_PATH_DIR"] = given.get(
                "ANSIBLE_SSH_CONTROL_PATH_DIR", _OWN_CONNECTIONS
            )
    return given | {name: runner[name] for name in _RUNNER if name in runner} | ours


def _collections_path(ours: Path) -> str:
    """Ours first, then what the user has configured, or Ansible's own places."""
    configured = os.environ.get("ANSIBLE_COLLECTIONS_PATH") or _configured(
        "defaults", "collections_path"
    )
    rest = configured or "~/.ansible/collections:/usr/share/ansible/collections"
    return f"{ours}:{rest}"


def _configured(section: str, key: str) -> str | None:
    """A setting of the ansible.cfg that Ansible would read here."""
    import configparser  # only a run needs it, and Ansible is slow to import

    from ansible.config.manager import find_ini_config_file

    path = find_ini_config_file()
    if not path:
        return None
    parser = configparser.ConfigParser(inline_comment_prefixes=(";",), interpolation=None)
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no ansible.cfg: {error}") from error
    return parser.get(section, key, fallback=None)


def playbook_command(plan: RunPlan, secrets: Secrets, directory: Path) -> list[str]:
    """The command line of ansible-playbook; what is secret is put into files in ``directory``.

    ``directory`` must be private and is to be removed once Ansible has started.
    """
    return [*_program(), *_arguments(plan, secrets, directory), str(plan.playbook)]


def _program() -> list[str]:
    """ansible-playbook of the ansible-core that belongs to this Python."""
    script = Path(sysconfig.get_path("scripts")) / "ansible-playbook"
    if script.is_file():
        return [sys.executable, str(lean.__file__), str(script)]
    return [sys.executable, "-m", "ansible", "playbook"]


def _arguments(plan: RunPlan, secrets: Secrets, directory: Path) -> Iterator[str]:
    for path in plan.inventory:
        yield from ("--inventory", str(path))
    if plan.hosts is not None:
        hosts = _write(directory / "hosts", "".join(f"{host}\n" for host in plan.hosts))
        yield from ("--limit", f"@{hosts}")
    elif plan.limit:
        yield from ("--limit", plan.limit)
    if plan.components:
        yield from ("--tags", ",".join(plan.components))
    if plan.check:
        yield "--check"
    if plan.diff:
        yield "--diff"
    if plan.verbosity:
        yield "-" + "v" * plan.verbosity
    yield from _login(plan, secrets, directory)
    yield from _vault(plan, secrets, directory)
    for number, text in enumerate(plan.extra_vars):
        yield from ("--extra-vars", _extra_vars(text, directory / f"vars{number}.yml"))
    own = dict(plan.variables)
    if plan.run_id is not None:
        own |= {"cloudlet_run_id": plan.run_id, "cloudlet_leased": True}
    if own:
        # The last of them: they win over what the user gave.
        yield from ("--extra-vars", f"@{_write(directory / 'own.json', json.dumps(own))}")


def _login(plan: RunPlan, secrets: Secrets, directory: Path) -> Iterator[str]:
    if plan.user:
        yield from ("--user", plan.user)
    if plan.private_key:
        yield from ("--private-key", str(plan.private_key))
    if plan.forks:
        yield from ("--forks", str(plan.forks))
    if secrets.become is not None:
        yield from ("--become-password-file", _write(directory / "become", secrets.become))
    elif plan.become_password_file:
        yield from ("--become-password-file", str(plan.become_password_file))


def _vault(plan: RunPlan, secrets: Secrets, directory: Path) -> Iterator[str]:
    for path in plan.vault_password_files:
        yield from ("--vault-password-file", str(path))
    for identity in plan.vault_ids:
        yield from ("--vault-id", identity)
    for number, (label, password) in enumerate(secrets.vault):
        yield from ("--vault-id", f"{label}@{_write(directory / f'vault{number}', password)}")


def _extra_vars(text: str, path: Path) -> str:
    """Extra vars as ``@FILE``: every user of the machine can read a command line."""
    if text.startswith("@"):
        return text
    if text.lstrip().startswith(("{", "[")):
        return f"@{_write(path, text)}"
    from ansible.parsing.splitter import parse_kv  # slow to import

    return f"@{_write(path, json.dumps({k: str(v) for k, v in parse_kv(text).items()}))}"


def _write(path: Path, text: str) -> str:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as stream:
        stream.write(text)
    return str(path)
