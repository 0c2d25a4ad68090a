"""Options that several commands share, under the names that Ansible gives them.

``site_options`` and ``ansible_options`` hand the command one frozen ``AnsibleOptions`` as
its argument ``options``; the others hand one plain value each: ``output`` ("table" or
"json"), ``yes``, ``diff`` and ``components``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import click

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class AnsibleOptions:
    """What the user said on the command line about the site and the way to its hosts."""

    inventory: tuple[Path, ...]
    limit: str | None = None
    #: As typed: ``NAME=VALUE ...``, YAML or JSON, or ``@FILE``.
    extra_vars: tuple[str, ...] = ()
    ask_vault_pass: bool = False
    vault_password_files: tuple[Path, ...] = ()
    #: ``LABEL@prompt`` or ``LABEL@FILE``.
    vault_ids: tuple[str, ...] = ()
    verbosity: int = 0
    user: str | None = None
    private_key: Path | None = None
    #: None leaves the number of hosts at a time to ansible.cfg.
    forks: int | None = None
    ask_become_pass: bool = False
    become_password_file: Path | None = None


_SITE = (
    click.option(
        "-i",
        "--inventory",
        required=True,
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="SITE",
        help="Inventory directory or file; may be given more than once.",
    ),
    click.option("-l", "--limit", metavar="HOSTS", help="Only these hosts or groups."),
    click.option(
        "-e",
        "--extra-vars",
        multiple=True,
        metavar="VARS",
        help="NAME=VALUE, YAML, JSON or @FILE; wins over the inventory.",
    ),
    click.option(
        "-J",
        "--ask-vault-pass",
        "--ask-vault-password",
        "ask_vault_pass",
        is_flag=True,
        help="Ask for the vault password.",
    ),
    click.option(
        "--vault-password-file",
        "--vault-pass-file",
        "vault_password_files",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="File (or program) that gives the vault password.",
    ),
    click.option(
        "--vault-id",
        "vault_ids",
        multiple=True,
        metavar="LABEL@SOURCE",
        help="Vault identity; SOURCE is a file or 'prompt'.",
    ),
    click.option("-v", "--verbose", "verbosity", count=True, help="Show more; up to -vvv."),
)

_CONNECTION = (
    click.option("-u", "--user", metavar="USER", help="Log in on the hosts as this user."),
    click.option(
        "--private-key",
        "--key-file",
        "private_key",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="SSH key to log in with.",
    ),
    click.option("-f", "--forks", type=click.IntRange(min=1), metavar="N", help="Hosts at a time."),
    click.option(
        "-K",
        "--ask-become-pass",
        is_flag=True,
        help="Ask for the password that sudo wants on the hosts.",
    ),
    click.option(
        "--become-password-file",
        "--become-pass-file",
        "become_password_file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="File (or program) that gives the password that sudo wants.",
    ),
)


def _apply(function: _Function, decorators: tuple[Callable[[Any], Any], ...]) -> _Function:
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


def _collecting(function: Callable[..., Any]) -> Callable[..., Any]:
    """Take the single options out of the call and pass them on as one ``options``."""
    names = {field.name for field in fields(AnsibleOptions)}

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        given = {name: kwargs.pop(name) for name in names & kwargs.keys()}
        return function(*args, options=AnsibleOptions(**given), **kwargs)

    return wrapper


def site_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of commands that read the site and never touch a host."""
    return _apply(_collecting(function), _SITE)


def ansible_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of commands that go to the hosts."""
    return _apply(_collecting(function), (*_SITE, *_CONNECTION))


def output_option(function: _Function) -> _Function:
    """``--output table|json``; errors are told in the same form."""
    return output_forms("table", "json")(function)


def output_forms(*forms: str) -> Callable[[_Function], _Function]:
    """``--output`` with these forms, of which the first is the default."""

    def remember(ctx: click.Context, _parameter: click.Parameter, value: str) -> str:
        ctx.meta["output"] = value
        return value

    return click.option(
        "--output",
        type=click.Choice(forms),
        default=forms[0],
        callback=remember,
        is_eager=True,
        help=f"How the result is written to standard output (default: {forms[0]}).",
    )


def yes_option(function: _Function) -> _Function:
    """``--yes``: do not ask."""
    return click.option("-y", "--yes", is_flag=True, help="Do not ask before changing hosts.")(
        function
    )


def break_lock_option(function: _Function) -> _Function:
    """``--break-lock``: take the hosts over from another run."""
    return click.option(
        "--break-lock",
        is_flag=True,
        help="Take the hosts over from another run, which then stops.",
    )(function)


def diff_option(function: _Function) -> _Function:
    """``--diff``: show the contents of new files too, and long diffs to their end."""
    return click.option(
        "-D",
        "--diff",
        is_flag=True,
        help="Show the contents of new and removed files too, and long diffs whole.",
    )(function)


def component_option(function: _Function) -> _Function:
    """``--component`` (repeatable): the roles to run, by name."""
    return click.option(
        "--component",
        "components",
        multiple=True,
        metavar="NAME",
        help="Only this component; may be given more than once.",
    )(function)
