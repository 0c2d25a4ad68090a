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

    from cloudlet_deploy.cli import render
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
            *(record.run_id, record.command, _ending(record), str(_changes(record) or "")),
            Text(Path(record.site).name or record.site),
        )
    render.trimmed(table)
    return ExitCode.DONE


@command.command("show")
@click.argument("run_id", metavar="RUN")
@output_option
def show_run(run_id: str, output: str) -> ExitCode:
    """Show one run: RUN is its id, the beginning of it, or "last".

    \b
    Examples:
      cloudlet-deploy runs show last
      cloudlet-deploy runs show 20261122T1504 --output json
    """
    # --help needs none of it.
    from cloudlet_deploy.cli import _plan_view, render
    from cloudlet_deploy.run.record import read_record

    record = read_record(run_id)
    if output == "json":
        render.document("runs show", ExitCode.DONE, {"run": record.to_dict()})
        return ExitCode.DONE
    by = f"{record.user} on {record.controller}, ansible-core {record.ansible}"
    options = ", ".join(f"{name} {_value(value)}" for name, value in record.options.items())
    facts = (
        ("run", f"{record.run_id} ({record.command})"),
        ("site", record.site),
        ("by", by),
        ("time", f"{record.started} to {record.ended or '(no end)'}"),
        ("ended", f"{_ending(record)}, in phase {record.phase!r}"),
        ("options", options),
        ("error", record.error),
    )
    for name, value in facts:
        if value:
            render.lines(f"{name:8} {value}")
    if record.phase == "plan" and any(part.changes for part in record.components):
        render.lines("These changes were planned, not made:")
    _plan_view.show(part for part in record.components if part.changes)
    for failure in record.failures:
        where = ": ".join(filter(None, (failure.host, failure.component, failure.task)))
        render.lines(f"{failure.status}: {where}: {failure.message}", "red")
    return ExitCode.DONE


def _short(record: Record) -> dict[str, object]:
    names = ("run_id", "command", "site", "user", "started", "ended", "state", "phase", "exit_code")
    return {**{name: getattr(record, name) for name in names}, "changes": _changes(record)}


def _changes(record: Record) -> int:
    """How many changes the run made; a plan makes none."""
    made = record.phase == "change"
    return sum(len(part.changes) for part in record.components) if made else 0


def _ending(record: Record) -> str:
    if record.exit_code is None:
        return record.state
    try:
        name = ExitCode(record.exit_code).name.lower().replace("_", " ")
    except ValueError:
        return f"exit code {record.exit_code}"
    return f"{record.exit_code} ({name})"


def _value(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
