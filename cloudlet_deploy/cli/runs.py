"""``runs``: what earlier runs did."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cloudlet_deploy.cli.options import output_option
from cloudlet_deploy.errors import ExitCode

if TYPE_CHECKING:
    from cloudlet_deploy.run.record import Record


@click.group("runs")
def command() -> None:
    """Show what earlier runs did.

    Every plan and apply leaves a record on this machine, without diffs and secrets.

    \b
    Examples:
      cloudlet-deploy runs list -n 5
      cloudlet-deploy runs show last
      cloudlet-deploy runs show 20261122T1504 --output json
    """


@command.command("list")
@click.option(
    "-n", "--number", type=click.IntRange(min=1), default=20, show_default=True, metavar="N"
)
@output_option
def list_runs(number: int, output: str) -> ExitCode:
    """List the last N runs, the newest first.

    A run that was killed says so: it did not come to write its end.

    \b
    Examples:
      cloudlet-deploy runs list
      cloudlet-deploy runs list -n 5 --output json
    """
    from rich.table import Table  # --help needs none of it
    from rich.text import Text

    from cloudlet_deploy.cli import _runs_view, render
    from cloudlet_deploy.run.record import list_records

    records = list_records()[:number]
    if output == "json":
        told = [_short(record) for record in records]
        render.document("runs list", ExitCode.DONE, {"runs": told})
        return ExitCode.DONE
    if not records:
        click.echo("No run is on record.")
        return ExitCode.DONE
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("run", no_wrap=True)
    for title in ("command", "ended", "changes"):
        table.add_column(title, no_wrap=True)
    table.add_column("site", overflow="fold")
    for record in records:
        table.add_row(
            *(
                record.run_id,
                record.command,
                _runs_view.ending(record),
                str(_changes(record) or ""),
            ),
            Text(Path(record.site).name or record.site),
        )
    render.trimmed(table)
    return ExitCode.DONE


@command.command("show")
@click.argument("run_id", metavar="RUN")
@output_option
def show_run(run_id: str, output: str) -> ExitCode:
    """Replay one run: RUN is its id, the beginning of it, or "last".

    Shows hosts, changes, failures and leases in the order of time. Of a run that was killed
    it is all that happened until then.

    \b
    Examples:
      cloudlet-deploy runs show last
      cloudlet-deploy runs show 20261122T1504 --output json
    """
    # --help needs none of it.
    from cloudlet_deploy.cli import _runs_view, render
    from cloudlet_deploy.run import timeline
    from cloudlet_deploy.run.record import read_record, runs_dir

    record = read_record(run_id)
    entries = timeline.read(runs_dir() / record.run_id)
    if output == "json":
        data = {**record.to_dict(), "timeline": entries}
        render.document("runs show", ExitCode.DONE, {"run": data})
    else:
        _runs_view.show(record, entries)
    return ExitCode.DONE


def _short(record: Record) -> dict[str, object]:
    names = ("run_id", "command", "site", "user", "started", "ended", "state", "phase", "exit_code")
    return {**{name: getattr(record, name) for name in names}, "changes": _changes(record)}


def _changes(record: Record) -> int:
    """How many changes the run made; a plan makes none."""
    made = record.phase == "change"
    return sum(len(part.changes) for part in record.components) if made else 0
