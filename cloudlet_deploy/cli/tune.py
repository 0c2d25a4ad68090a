"""``tune``: limits for a wanted number of clients, applied, verified, and taken back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cloudlet_deploy.cli.options import (
    AnsibleOptions,
    ansible_options,
    break_lock_option,
    diff_option,
    output_option,
    yes_option,
)
from cloudlet_deploy.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from cloudlet_deploy.cli._tuning import Wish

#: More than this no door was ever asked to bear: a slip of the hand.
_MOST = 1_000_000


@click.command("tune")
@ansible_options
@click.option(
    "--clients",
    type=click.IntRange(1, _MOST),
    metavar="N",
    help="Clients at a time that the site is to bear.",
)
@click.option(
    "--entries",
    type=click.IntRange(1, _MOST),
    default=100,
    show_default=True,
    metavar="N",
    help="Entries of the directories that they list.",
)
@click.option(
    "--headroom",
    type=click.FloatRange(1.0, 4.0),
    default=1.25,
    show_default=True,
    metavar="FACTOR",
    help="By how much threads and sessions exceed the clients.",
)
@click.option("--check", is_flag=True, help="Only show what would change.")
@click.option("--verify", is_flag=True, help="Only look whether what the site says is in force.")
@click.option("--revert", is_flag=True, help="Take back what tune has set.")
@click.option("--explain", metavar="SETTING", help="Only say how the value of SETTING comes about.")
@click.option(
    "--write-to",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Keep the values in this inventory file, to be given as a further -i.",
)
@yes_option
@break_lock_option
@diff_option
@output_option
def command(
    *,
    options: AnsibleOptions,
    clients: int | None,
    entries: int,
    headroom: float,
    check: bool,
    verify: bool,
    revert: bool,
    explain: str | None,
    write_to: Path | None,
    yes: bool,
    break_lock: bool,
    diff: bool,
    output: str,
) -> ExitCode:
    """Fit the limits of all services to a number of clients, and prove that they are in force.

    Reads the hosts, computes what --clients need (threads, heap, queues, open files, kernel
    settings), shows it beside what is in force, writes it to the site, applies it, and asks
    the running processes whether they have it. What the site says elsewhere wins and is
    shown. If a host cannot bear so many clients, it says for how many it is tuned.
    --check exits with 2 if something would change; a value that is not in force, or fewer
    clients than asked for, with 5.

    \b
    Examples:
      cloudlet-deploy tune -i mysite --clients 2000 --check
      cloudlet-deploy tune -i mysite --clients 2000 --entries 500
      cloudlet-deploy tune -i mysite --clients 2000 --explain bestman_heap_mb
      cloudlet-deploy tune -i mysite --verify
      cloudlet-deploy tune -i mysite --revert
    """
    modes = {"--check": check, "--verify": verify, "--revert": revert, "--explain": bool(explain)}
    _refuse_options(modes, clients, write_to)
    from cloudlet_deploy.cli import _plan_view, _tuning, _undoing  # --help needs none of it

    detail = _plan_view.Detail.of(diff=diff, verbosity=options.verbosity)
    how = _undoing.How(detail, check=check, break_lock=break_lock, output=output)
    tuning = _tuning.begin(options, how, write_to=write_to, yes=yes)
    if revert:
        return tuning.revert()
    if verify:
        return tuning.verify()
    wish: Wish = _tuning.Wish(clients or 0, entries, headroom)
    return tuning.explain(wish, explain) if explain else tuning.tune(wish)


def _refuse_options(modes: dict[str, bool], clients: int | None, write_to: Path | None) -> None:
    chosen = [name for name, on in modes.items() if on]
    if len(chosen) > 1:
        raise UsageError(f"{' and '.join(chosen)} exclude each other.")
    without = bool(chosen) and chosen[0] in ("--verify", "--revert")
    if without and clients is not None:
        raise UsageError(f"{chosen[0]} asks the hosts and needs no --clients.")
    if not without and clients is None:
        raise UsageError(
            "For how many clients?",
            next_step="Say it with --clients, for example --clients 2000; or use --verify or "
            "--revert.",
        )
