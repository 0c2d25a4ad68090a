"""How a run looks: its progress, its failures and its summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import click

from cloudlet_deploy.cli import render
from cloudlet_deploy.cli._plan_view import NO_COMPONENT, number
from cloudlet_deploy.run.events import Event, Notice, Status, TaskEnded, TaskStarted
from cloudlet_deploy.run.outcome import ComponentOutcome, RunOutcome
from cloudlet_deploy.run.reasons import explain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

_STYLES = {
    Status.CHANGED: "yellow",
    Status.FAILED: "bold red",
    Status.UNREACHABLE: "bold red",
    Status.OK: "green",
}

#: The login user of a host, as far as known.
UserOf = Callable[[str], str | None]


def failures(outcome: RunOutcome, user_of: UserOf, *, planning: bool = False) -> None:
    """Say of every host that stopped why, and what to do, on standard error."""
    for failure in outcome.failures:
        reason = explain(failure, user_of(failure.host))
        render.error(reason.message, reason.next_step)
    if planning and outcome.failures and outcome.good:
        click.echo("These hosts are left as they are; the plan is that of the others.", err=True)


def nothing(predicted: RunOutcome) -> None:
    """Say that no change is pending, and of which hosts that is known."""
    hosts = number(len(predicted.good), "host")
    if not predicted.stopped:
        click.echo("Nothing to do.")
    elif predicted.good:
        click.echo(f"Nothing to do on the other {hosts}.")
    else:
        click.echo("No host can be worked on; nothing was changed.")


def notices(outcome: RunOutcome) -> None:
    """Ansible's own warnings, each once."""
    for message in dict.fromkeys(notice.message for notice in outcome.notices):
        render.note(message)


def summary(outcome: RunOutcome, run_id: str) -> None:
    """One line per host: how each of its components ended."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("host", "component"):
        table.add_column(title, overflow="fold")
    for title in ("result", "changes", "time"):
        table.add_column(title, no_wrap=True)
    host = ""
    for part in outcome.components:
        table.add_row(
            render.text("" if part.host == host else part.host, "bold"),
            render.text(part.component or NO_COMPONENT),
            render.text(part.status, _STYLES.get(part.status, "")),
            render.text(str(len(part.changes) or "")),
            render.text(f"{part.seconds:.1f} s"),
        )
        host = part.host
    render.trimmed(table)
    counts = Counter(_host_status(outcome, host) for host in outcome.hosts)
    told = ", ".join(f"{number} {status}" for status, number in sorted(counts.items()))
    render.lines(f"{told}; {outcome.seconds:.0f} s; record: {run_id}")


def _host_status(outcome: RunOutcome, host: str) -> Status:
    """Changed, failed, unreachable or ok."""
    strongest = max(
        (part.status for part in outcome.components if part.host == host),
        key=lambda status: status.rank,
    )
    return strongest if strongest.rank >= Status.CHANGED.rank else Status.OK


def as_data(outcome: RunOutcome, user_of: UserOf) -> dict[str, Any]:
    """An outcome in the form of docs/reference/json.md."""
    return {
        "complete": outcome.complete,
        "seconds": outcome.seconds,
        "warnings": list(dict.fromkeys(notice.message for notice in outcome.notices)),
        "hosts": [
            {
                "host": host,
                "status": _host_status(outcome, host),
                "components": [
                    _component_data(part) for part in outcome.components if part.host == host
                ],
                "failures": [
                    {
                        "component": failure.component,
                        "task": failure.task,
                        "status": failure.status,
                        "ansible": failure.message,
                        **vars(explain(failure, user_of(host))),
                    }
                    for failure in outcome.failures
                    if failure.host == host
                ],
            }
            for host in outcome.hosts
        ],
    }


def _component_data(part: ComponentOutcome) -> dict[str, Any]:
    return {
        "component": part.component,
        "status": part.status,
        "changes": [vars(change) for change in part.changes],
        "diffs": [vars(diff) for diff in part.diffs],
        "tasks": dict(part.tasks),
        "seconds": part.seconds,
    }


class Progress(Protocol):
    """Shows a run while it goes on; a context."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
    def show(self, event: Event) -> None:
        """Take one event."""


def progress(*, changing: bool) -> Progress:
    """On a terminal one live line per host, elsewhere plain lines; on standard error.

    ``changing`` is false for a plan, whose changes are not told twice.
    """
    out = render.console(stderr=True)
    return LiveProgress(out) if out.is_terminal else PlainProgress(changing=changing)


class PlainProgress:
    """A line for each component a host enters, and for each change and failure."""

    def __init__(self, *, changing: bool) -> None:
        self._changing = changing
        self._at: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def show(self, event: Event) -> None:
        """Print what is new."""
        if isinstance(event, TaskStarted) and self._at.get(event.host) != event.component:
            self._at[event.host] = event.component
            doing = "working" if self._changing else "looking"
            click.echo(f"{event.host}: {event.component or NO_COMPONENT}: {doing}", err=True)
        elif isinstance(event, TaskEnded):
            where = f"{event.host}: {event.component or NO_COMPONENT}"
            for change in event.changes if self._changing else ():
                click.echo(f"{where}: {change.action} {change.kind} {change.name}", err=True)
            if event.status.bad:
                click.echo(f"{where}: {event.status}: {event.task}", err=True)


class LiveProgress:
    """One line per host: its component, its task and its changes so far."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._live: Live | None = None
        self._now: dict[str, TaskStarted] = {}
        self._ended: dict[str, Status] = {}
        self._changes: Counter[str] = Counter()

    def __enter__(self) -> Self:
        from rich.live import Live

        self._live = Live(
            console=self._out,
            get_renderable=self._table,
            refresh_per_second=5,
            transient=True,
        )
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def show(self, event: Event) -> None:
        """Remember what is new; the display refreshes itself."""
        if isinstance(event, TaskStarted):
            self._now = {**self._now, event.host: event}
        elif isinstance(event, TaskEnded):
            self._changes[event.host] += len(event.changes)
            if event.status.bad:
                self._ended = {**self._ended, event.host: event.status}
        elif isinstance(event, Notice):
            self._out.print(render.text(event.message, "dim"), overflow="fold")

    def _table(self) -> Table:
        """Called from the display's thread: reads only what is replaced as a whole."""
        from rich.table import Table

        table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        for _ in range(4):
            table.add_column(no_wrap=True, overflow="ellipsis")
        # Where it is narrow, the task gives way: the rest and the gaps take this much.
        taken = 11 + 8 + max(map(len, self._now), default=0)
        taken += max((len(n.component or NO_COMPONENT) for n in self._now.values()), default=0)
        room = max(self._out.width - taken, 8)
        for host, now in self._now.items():
            status = self._ended.get(host)
            task = render.text(status or now.task, _STYLES.get(status, "") if status else "")
            task.truncate(room, overflow="ellipsis")
            table.add_row(
                render.text(host, "bold"),
                render.text(now.component or NO_COMPONENT, "cyan"),
                task,
                render.text(number(changes, "change") if (changes := self._changes[host]) else ""),
            )
        return table
