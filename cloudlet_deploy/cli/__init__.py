"""The command line: one module per command, found by name and imported when needed.

A module ``cli/NAME.py`` offers a click command object called ``command``. Nothing heavy
(Ansible, rich, cryptography) is imported at the top of these modules, so that ``--help``
answers at once.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Sequence

import click

from cloudlet_deploy import __version__
from cloudlet_deploy.errors import ExitCode

#: Modules of this package that are not commands.
_HELPERS = frozenset({"options", "render", "view"})


class _Commands(click.Group):
    """Finds commands as modules of this package."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        names = (module.name for module in pkgutil.iter_modules(__path__))
        return sorted(n for n in names if n not in _HELPERS and not n.startswith("_"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"{__name__}.{cmd_name}")
        command: click.Command = module.command
        return command


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)
@click.version_option(__version__, prog_name="cloudlet-deploy")
@click.option("--debug", is_flag=True, help="Show the traceback of an unexpected error.")
@click.pass_context
def cloudlet_deploy(ctx: click.Context, debug: bool) -> None:
    """Deploy, tune, test and undo grid storage elements and instrument cloudlets."""
    ctx.meta["debug"] = debug


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: the only place where errors end.

    ``argv`` is the command line without the program's name (default: that of the process).
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    meta: dict[str, object] = {}
    try:
        with cloudlet_deploy.make_context("cloudlet-deploy", arguments) as ctx:
            meta = ctx.meta
            return _exit_code(cloudlet_deploy.invoke(ctx))
    except click.exceptions.Exit as done:
        return done.exit_code
    except BaseException as error:
        from cloudlet_deploy.cli import render  # only a failure needs it

        return render.failure(
            error, debug=bool(meta.get("debug")), output=str(meta.get("output", "table"))
        )


def _exit_code(result: object) -> int:
    """Commands return an ExitCode; one that returns nothing is done."""
    return int(result) if isinstance(result, int) else int(ExitCode.DONE)
