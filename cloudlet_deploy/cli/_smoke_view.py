"""How a scaling test looks on the terminal: its progress, its figures, its verdict."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import click

from cloudlet_deploy.cli import render
from cloudlet_deploy.smoke.verdict import point_label
from cloudlet_deploy.smoke.words import clean, count, duration, hertz, share

if TYPE_CHECKING:
    from pathlib import Path

    from rich.status import Status

    from cloudlet_deploy.smoke.analysis import Analysis, PointResult
    from cloudlet_deploy.smoke.comparison import Comparison
    from cloudlet_deploy.smoke.job import Job
    from cloudlet_deploy.smoke.report import Paths
    from cloudlet_deploy.smoke.verdict import Verdict


def progress(job: Job) -> Progress:
    """Tells how the load goes: on a terminal in one live line, elsewhere by a line a point."""
    return Progress(job)


class Progress:
    """Shows a campaign while it goes on; a context. On standard error."""

    def __init__(self, job: Job) -> None:
        self._points = {point.number: point for point in job.points}
        self._out = render.console(stderr=True)
        self._status: Status | None = None
        self._before: Mapping[str, Any] = {}

    def __enter__(self) -> Self:
        if self._out.is_terminal:
            self._status = self._out.status("")
            self._status.__enter__()
        self._doing("starting the load processes")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.__exit__(kind, error, trace)

    def show(self, told: Mapping[str, Any]) -> None:
        """Take one event of the engine."""
        event = told["event"]
        if event == "making":
            self._doing(f"making test directories: {told['done']} of {told['total']} entries")
        elif event == "began":
            self._before = {}
            self._doing(f"{self._label(told['number'])}: warming up", line=True)
        elif event == "tick":
            self._tick(told)
        elif event == "measured":
            self._measured(told["measured"])
        elif event == "probing":
            self._doing("overload ended: one client tries until it is served", line=True)
        elif event == "lost":
            render.note(f"warning: the load process {told['worker']} was lost.")

    def _label(self, number: int) -> str:
        point = self._points[number]
        words = point_label(point.kind, point.clients, point.entries)
        return f"point {number} of {len(self._points)}, {words}"

    def _tick(self, told: Mapping[str, Any]) -> None:
        before = self._before or dict.fromkeys(told, 0)
        self._before = told
        seconds = max(told["elapsed"] - before["elapsed"], 0.1)
        rate = (told["successes"] - before["successes"]) / seconds
        failed = told["failed"] - before["failed"]
        point = self._points[told["number"]]
        at = told["elapsed"] - point.warm_up
        left = f"{at:.0f} of {point.window:.0f} s" if at > 0 else "warming up"
        errors = f", {failed} failed" if failed else ""
        self._doing(f"{self._label(told['number'])}: {left}, {hertz(rate)}{errors}")

    def _measured(self, measured: Mapping[str, Any]) -> None:
        number = measured["point"]["number"]
        rate = measured["successes"] / measured["window"] if measured["window"] else 0.0
        failed = sum(measured["failures"].values())
        errors = f", {failed} failed" if failed else ""
        render.note(f"{self._label(number)}: {hertz(rate)}{errors}")

    def _doing(self, words: str, *, line: bool = False) -> None:
        """``line`` tells it where there is no live line too."""
        if self._status is not None:
            self._status.update(render.text(words))
        elif line:
            click.echo(words, err=True)


def show(
    found: Analysis,
    judged: Verdict,
    against: Comparison | None,
    paths: Paths,
    *,
    everything: bool,
) -> None:
    """The figures of all points, the verdict, and where the report is.

    ``everything`` shows the cautions about single points too.
    """
    render.trimmed(_table(found.points))
    for one in found.points:
        for failure, number in one.failures.items():
            example = clean(one.measured.examples.get(failure, ""), 160)
            render.lines(f"  {_short(one)}: {count(number)} x {failure}: {example}")
    for words in found.cautions:
        render.lines(f"note: {words}")
    single = [(_short(one), words) for one in found.points for words in one.cautions]
    for where, words in single if everything else ():
        render.lines(f"note: {where}: {words}")
    if single and not everything:
        render.lines(f"note: {count(len(single))} on single points: in the report, or with -v.")
    render.lines("")
    render.lines(judged.carries, "bold")
    if judged.recovery:
        render.lines(judged.recovery, "bold")
    for finding in judged.findings:
        mark, style = ("holds", "green") if finding.held else ("does not hold", "bold red")
        told = f"{finding.name}: wanted {finding.wanted}, got {finding.got}: {mark}."
        render.lines(f"{told} {finding.words}".rstrip(), style)
    if against is not None:
        _show_comparison(against)
    render.lines(f"Report: {paths.report}")


def _short(one: PointResult) -> str:
    point = one.point
    return point_label(point.kind, point.clients, point.entries)


def _table(points: tuple[PointResult, ...]) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("service")
    for title in ("clients", "entries", "rate", "mean", "p50", "p95", "p99", "errors"):
        table.add_column(title, justify="right", no_wrap=True)
    for one in points:
        times = one.times
        values = (times.mean, times.p50, times.p95, times.p99) if times else (None,) * 4
        point = one.point
        style = "red" if one.failures else ""
        table.add_row(
            render.text(point.kind.protocol),
            *(render.text(count(n)) for n in (point.clients, point.entries)),
            render.text(hertz(one.rate)),
            *(render.text(duration(value)) for value in values),
            render.text(share(one.error_share) if one.failures else "0", style),
        )
    return table


def _show_comparison(against: Comparison) -> None:
    render.lines(f"Against {against.baseline}: {against.words}", "bold")
    for point in against.points:
        told = "; ".join(f"{d.quantity} {d.words} ({d.outcome})" for d in point.differences)
        render.lines(f"  {point.label}: {point.outcome}: {told}")
        for remark in point.remarks:
            render.lines(f"    {remark}")
    for words in against.remarks:
        render.lines(f"  {words}")


def leftovers(left: tuple[str, ...], problems: tuple[str, ...]) -> None:
    """Say what is left in the storage, and how it goes away."""
    why = f" ({problems[-1]})" if problems else ""
    render.note(
        f"warning: left in the storage: {', '.join(left)}{why}. The next smoke removes it, or "
        "'cloudlet-deploy smoke --clean' with the same options."
    )


def as_data(
    found: Analysis,
    judged: Verdict,
    against: Comparison | None,
    paths: Paths,
    left: tuple[str, ...],
) -> dict[str, Any]:
    """The result in the form of docs/reference/json.md."""
    campaign = found.campaign
    return {
        "site": campaign.site,
        "run": campaign.run_id,
        "held": judged.held,
        "carries": judged.carries,
        "recovery": judged.recovery,
        "incomplete": campaign.incomplete,
        "findings": [vars(one) for one in judged.findings],
        "points": [_point_data(one) for one in found.points],
        "baseline": _comparison_data(against) if against else None,
        "left": list(left),
        "report": {name: _listed(value) for name, value in vars(paths).items()},
    }


def _listed(value: Path | tuple[Path, ...]) -> Any:
    return [str(one) for one in value] if isinstance(value, tuple) else str(value)


def _point_data(one: PointResult) -> dict[str, Any]:
    times = one.times
    return {
        "service": one.point.kind.protocol,
        "clients": one.point.clients,
        "achieved": one.measured.achieved,
        "entries": one.point.entries,
        "overload": one.point.overload,
        "rate": one.rate,
        "error_share": one.error_share,
        "failures": dict(one.failures),
        "seconds": {
            name: getattr(times, name) if times else None
            for name in ("mean", "p50", "p95", "p99", "largest")
        },
    }


def _comparison_data(against: Comparison) -> dict[str, Any]:
    return {
        "run": against.baseline,
        "outcome": against.outcome,
        "points": [
            {
                "point": point.label,
                "outcome": point.outcome,
                "differences": [vars(one) for one in point.differences],
            }
            for point in against.points
        ],
    }
