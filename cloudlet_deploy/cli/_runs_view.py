"""How a run of the past looks: what it was, and what happened in the order of time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from cloudlet_deploy.cli import _plan_view, render
from cloudlet_deploy.cli._plan_view import NO_COMPONENT, number
from cloudlet_deploy.errors import ExitCode
from cloudlet_deploy.run.events import Change, Status
from cloudlet_deploy.run.lease import LeaseEvent
from cloudlet_deploy.run.outcome import Failure
from cloudlet_deploy.run.reasons import explain
from cloudlet_deploy.run.record import FINISHED, RUNNING, Record
from cloudlet_deploy.run.resume import undone
from cloudlet_deploy.run.timeline import Entry

#: Columns of the time at the beginning of a line, and of a label of the head.
_TIME, _LABEL = 9, 9

_PHASES = {"plan": "looks what would change", "change": "changes the hosts"}


def show(record: Record, entries: Sequence[Entry]) -> None:
    """Show a run; of one that kept no timeline the sum of its record."""
    _head(record)
    if entries:
        render.lines("")
        _Replay(record).show(entries)
    else:
        _sum(record)


def ending(record: Record) -> str:
    """``3 (unreachable)``; of a run without an exit code its state."""
    if record.exit_code is None:
        return record.state
    try:
        name = ExitCode(record.exit_code).name.lower().replace("_", " ")
    except ValueError:
        return f"exit code {record.exit_code}"
    return f"{record.exit_code} ({name})"


def _head(record: Record) -> None:
    by = f"{record.user} on {record.controller}, ansible-core {record.ansible}"
    # The inventory stands there already.
    given = {name: value for name, value in record.options.items() if name != "inventory"}
    options = "; ".join(f"{name} {_value(value)}" for name, value in given.items())
    facts = (
        ("run", f"{record.run_id} ({record.command})"),
        ("site", record.site),
        ("by", by),
        ("time", f"{record.started} to {record.ended or '(no end)'}"),
        ("ended", ending(record) + ("; nothing was changed" if record.phase == "plan" else "")),
        ("options", options),
        ("hosts", _hosts(record)),
        ("error", record.error),
    )
    for name, value in facts:
        if value:
            _indented(f"{name:{_LABEL}}", value)


def _hosts(record: Record) -> str:
    """How many came to their end, and which did not."""
    if record.command == "plan" or not record.hosts:
        return ""
    left = undone(record)
    done = len(record.hosts) - len(left)
    if record.state == RUNNING:
        return f"{len(record.hosts)}"
    told = [f"{done} done{f', {len(left)} not:' if left else ''}"]
    return "\n".join((*told, *(f"{host}: {why}" for host, why in left.items())))


class _Replay:
    """Prints the entries of one run."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._phase = ""
        self._widths: list[int] = []
        self._planned: Counter[str] = Counter()
        self._planned_last: Entry = {}
        self._leases: list[tuple[Entry, LeaseEvent]] = []
        #: Host and component whose changes were printed last, and where each host is.
        self._heading = ("", "")
        self._at: dict[str, str] = {}
        self._show = {
            "phase": self._begin,
            "component": self._enter,
            "changes": self._change,
            "failure": self._fail,
            "notice": self._notice,
        }

    def show(self, entries: Sequence[Entry]) -> None:
        """Print all of them, and how it ended."""
        made = [c for entry in entries if entry["what"] == "changes" for c in _changes_of(entry)]
        self._widths = _plan_view.column_widths(made)
        for entry in entries:
            if entry["what"] == "lease":
                told = (str(entry.get(key, "")) for key in ("host", "action", "detail"))
                self._lease(entry, LeaseEvent(*told))
            elif entry["what"] in self._show:
                self._flush()
                self._show[entry["what"]](entry)
        self._flush()
        self._end(entries[-1])

    def _begin(self, entry: Entry) -> None:
        self._tell_planned()
        self._phase = str(entry.get("phase", ""))
        self._at.clear()
        self._line(entry, _PHASES.get(self._phase, self._phase), "bold")

    def _enter(self, entry: Entry) -> None:
        self._at[entry["host"]] = entry["component"]

    def _change(self, entry: Entry) -> None:
        if self._phase == "plan":
            self._planned[entry["host"]] += len(entry["changes"])
            self._planned_last = entry
            return
        heading = (entry["host"], entry["component"])
        if heading != self._heading:
            self._heading = heading
            self._line(entry, f"{entry['host']}: {entry['component'] or NO_COMPONENT}", "cyan")
        _plan_view.rows(_changes_of(entry), _TIME + 2, self._widths)

    def _fail(self, entry: Entry) -> None:
        host, component, task, words = (
            str(entry.get(key, "")) for key in ("host", "component", "task", "message")
        )
        failure = Failure(host, component, task, Status(entry["status"]), words)
        told = explain(failure).message
        counted = {(f.host, f.component, f.task) for f in self._record.failures}
        if self._record.state == FINISHED and (host, component, task) not in counted:
            # Only the end of a run tells that a failure did not count.
            told += "\nThe role mended it."
        self._line(entry, told, "red")
        self._heading = ("", "")

    def _notice(self, entry: Entry) -> None:
        self._line(entry, str(entry.get("message", "")), "dim")

    def _lease(self, entry: Entry, event: LeaseEvent) -> None:
        """Hosts to which the same happens are told together."""
        if self._leases and str(self._leases[-1][1]) != str(event):
            self._flush()
        self._leases.append((entry, event))

    def _flush(self) -> None:
        if self._leases:
            entry, event = self._leases[0]
            self._tell_planned()
            hosts = ", ".join(event.host for _, event in self._leases)
            self._line(entry, f"{hosts}: {event}")
            self._leases = []
            self._heading = ("", "")

    def _tell_planned(self) -> None:
        for host, changes in self._planned.items():
            self._line(self._planned_last, f"{host}: {number(changes, 'change')} to make")
        self._planned.clear()

    def _end(self, last: Entry) -> None:
        self._tell_planned()
        record = self._record
        if record.state != FINISHED:
            for host, component in self._at.items():
                self._line(last, f"{host}: was at {component or NO_COMPONENT}")
        if record.state == RUNNING:
            self._line(last, "is still at work", "bold")
        else:
            self._line(last, f"ended: {ending(record)}", "bold")
        if record.phase == "plan" and any(part.changes for part in record.components):
            render.lines("\nPlanned, not made:")
            _plan_view.show(part for part in record.components if part.changes)

    def _line(self, entry: Entry, words: str, style: str = "") -> None:
        _indented(f"{entry['at']:{_TIME - 4}.0f} s  ", words, style)


def _changes_of(entry: Entry) -> list[Change]:
    return [Change(**change) for change in entry["changes"]]


def _sum(record: Record) -> None:
    """What the record alone tells, without the order of time."""
    if record.phase == "plan" and any(part.changes for part in record.components):
        render.lines("These changes were planned, not made:")
    _plan_view.show(part for part in record.components if part.changes)
    for failure in record.failures:
        render.lines(explain(failure).message, "red")


def _indented(label: str, words: str, style: str = "") -> None:
    """Words after a label, folded below their own beginning."""
    out = render.console()
    first, *rest = render.folded(words, max(out.width - len(label), 20))
    out.print(render.text(label).append(first, style), soft_wrap=True)
    for more in rest:
        out.print(render.text(" " * len(label)).append(more, style), soft_wrap=True)


def _value(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
