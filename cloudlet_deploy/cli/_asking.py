"""What a command asks before hosts or their users feel it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import click

from cloudlet_deploy.errors import UsageError
from cloudlet_deploy.run import signals


def ask(what: str, question: str, *, done: str, next_step: str) -> None:
    """Go on only if the user says yes to ``question``, for which ``what`` is the reason.

    ``done`` is what did not happen where there is no yes: "changed", "loaded". Raises
    UsageError then, with ``next_step`` where there is no terminal to ask on.
    """
    with _terminal(what, done, next_step):
        said = click.confirm(f"{what}. {question}", default=False, err=True)
    if not said:
        raise UsageError(f"Declined; nothing was {done}.")


def ask_for_name(what: str, question: str, *, next_step: str) -> str:
    """What the user types as the answer to ``question``."""
    with _terminal(what, "changed", next_step):
        text = f"{what}. {question}"
        answer: str = click.prompt(text, default="", show_default=False, err=True)
    return answer


@contextlib.contextmanager
def _terminal(what: str, done: str, next_step: str) -> Iterator[None]:
    if not sys.stdin.isatty():
        raise UsageError(
            f"{what}, and there is no terminal to ask on; nothing was {done}.",
            next_step=next_step,
        )
    # A signal of the moment before the read ends no read: the user's next one must count too.
    with signals.raised(each=True):
        yield
