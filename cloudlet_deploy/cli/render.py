"""How results and errors look. Functions here print; they decide nothing."""

from __future__ import annotations

import json
import os
import re
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

import click

from cloudlet_deploy.errors import CloudletError, ExitCode
from cloudlet_deploy.run.paths import state_home

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

#: Number of the form of all JSON documents; raised when a key changes its meaning.
JSON_SCHEMA = 1

#: Spaces at the end of a line, before the sequences that end its colors.
_FILLING = re.compile(r" +((?:\x1b\[[0-9;]*m)*)$", re.MULTILINE)


@cache
def console(*, stderr: bool = False) -> Console:
    """The terminal: standard output for results, standard error for progress and errors."""
    from rich.console import Console  # slow, and --help needs none of it

    return Console(stderr=stderr, highlight=False, soft_wrap=False)


def text(content: str, style: str = "") -> Text:
    """``content`` as it is, without markup; tabs become spaces, which Rich can count."""
    from rich.text import Text

    return Text(content.expandtabs(8), style=style)


def trimmed(renderable: RenderableType) -> None:
    """Print a table without the spaces that Rich fills its last column with."""
    out = console()
    with out.capture() as captured:
        out.print(renderable)
    out.file.write(_FILLING.sub(r"\1", captured.get()))


def document(command: str, exit_code: ExitCode, data: Mapping[str, Any]) -> None:
    """Write the one JSON document of a command to standard output."""
    whole = {"schema": JSON_SCHEMA, "command": command, "exit_code": int(exit_code), **data}
    click.echo(json.dumps(whole, indent=2, default=str))


def lines(words: str, style: str = "") -> None:
    """Print words, folded to the terminal, on standard output."""
    for line in folded(words, console().width):
        console().print(text(line, style), soft_wrap=True)


def note(words: str) -> None:
    """Print a remark, folded to the terminal, on standard error."""
    out = console(stderr=True)
    for line in folded(words, out.width):
        out.print(text(line), soft_wrap=True)


def folded(words: str, room: int) -> Iterator[str]:
    """``words`` in lines of at most ``room``, broken at spaces.

    A word that is longer than a line is a path, as a rule: it is broken before a slash, and
    elsewhere only if there is none.
    """
    for whole in words.expandtabs(8).split("\n"):
        line: str | None = None
        for word in whole.split(" "):
            joined = word if line is None else f"{line} {word}"
            if len(joined) <= room:
                line = joined
                continue
            if line is not None:
                yield line.rstrip()
            *full, line = _pieces(word, room)
            yield from full
        yield (line or "").rstrip()


def _pieces(word: str, room: int) -> Iterator[str]:
    piece = ""
    for part in re.split("(?=/)", word):
        if piece and len(piece) + len(part) > room:
            yield piece
            piece = ""
        piece += part
        while len(piece) > room:
            yield piece[:room]
            piece = piece[room:]
    yield piece


def error(message: str, next_step: str = "") -> None:
    """A message and what to do next, on standard error, whole and without markup."""
    out = console(stderr=True)
    for title, style, words in (("error:", "bold red", message), ("next: ", "bold", next_step)):
        if words:
            first, *rest = folded(f"{title} {words}", out.width)
            line = text(first)
            line.stylize(style, 0, len(title))
            out.print(line, soft_wrap=True)
            for more in rest:
                out.print(text(more), soft_wrap=True)


def failure(problem: BaseException, *, debug: bool, output: str) -> int:
    """Tell what ended a command and return the exit code for it; never a bare traceback."""
    if isinstance(problem, BrokenPipeError):
        # Nobody reads us any more; keep the interpreter's last flush from complaining.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.TASK_FAILED)
    if isinstance(problem, SystemExit):  # Rich's answer to the same
        return int(ExitCode.TASK_FAILED)
    if isinstance(problem, click.exceptions.NoArgsIsHelpError):
        click.echo(problem.format_message(), err=True)
        return int(ExitCode.USAGE)
    if debug:
        traceback.print_exception(problem)
    code, message, next_step = _explain(problem, debug=debug)
    if output == "json":
        document("error", code, {"error": {"message": message, "next_step": next_step}})
    elif isinstance(problem, click.UsageError) and problem.ctx is not None:
        click.echo(problem.ctx.get_usage(), err=True)
    error(message, next_step)
    return int(code)


def _explain(problem: BaseException, *, debug: bool) -> tuple[ExitCode, str, str]:
    if isinstance(problem, CloudletError):
        return problem.exit_code, problem.message, problem.next_step
    if isinstance(problem, click.ClickException):
        return ExitCode.USAGE, problem.format_message(), _help_hint(problem)
    if isinstance(problem, KeyboardInterrupt | click.Abort):
        return ExitCode.INTERRUPTED, "Interrupted.", ""
    message = f"Unexpected {type(problem).__name__}: {problem}".split("\n", 1)[0]
    where = "above" if debug else _write_traceback(problem)
    return ExitCode.TASK_FAILED, message, f"This is a fault of cloudlet-deploy; traceback: {where}"


def _help_hint(problem: click.ClickException) -> str:
    ctx = getattr(problem, "ctx", None)
    return f"'{ctx.command_path} --help' lists the options." if ctx is not None else ""


def _write_traceback(problem: BaseException) -> str:
    """Keep the traceback of a fault of ours for the report; returns where it is."""
    path = state_home() / "crashes" / f"{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}.txt"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as stream:
            stream.write("".join(traceback.format_exception(problem)))
    except OSError:
        return "run again with --debug"
    return str(path)
