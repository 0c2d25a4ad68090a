"""The report of a scaling test: one HTML page that needs nothing else, with its data beside it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from cloudlet_deploy.errors import RunFailedError
from cloudlet_deploy.smoke import document, plots, verdict
from cloudlet_deploy.smoke.analysis import BUSY_MACHINE, BUSY_PROCESS, Analysis, Curve, analyse
from cloudlet_deploy.smoke.comparison import (
    FALSE_ALARM,
    LEAST_DIFFERENCE,
    LEAST_ERROR_DIFFERENCE,
    Comparison,
    Difference,
    Outcome,
    compare,
)
from cloudlet_deploy.smoke.fits import Usl
from cloudlet_deploy.smoke.page import rendered
from cloudlet_deploy.smoke.put import put
from cloudlet_deploy.smoke.types import Campaign, Failure, Kind
from cloudlet_deploy.smoke.words import NONE, change, count, duration, hertz, share

#: What each error class means, for those who did not write it.
FAILURES: dict[str, str] = {
    Failure.UNREACHABLE: "the name has no address, or the network does not lead there",
    Failure.REFUSED: "nothing listens, or the accept queue is full",
    Failure.RESET: "the server dropped the connection",
    Failure.TIMEOUT: "no answer in time",
    Failure.TLS: "the handshake failed",
    Failure.EXPIRED: "our certificate or proxy has expired",
    Failure.UNTRUSTED: "the server's certificate is not trusted, or is for another host",
    Failure.DENIED: "the server does not accept our certificate, or maps it to no account",
    Failure.BUSY: "421: more sessions than connections_max",
    Failure.STATUS: "a proper answer that says no",
    Failure.CUT_OFF: "the answer ended before it was whole",
    Failure.GARBAGE: "the answer is none of this protocol",
    Failure.TOO_LONG: "the answer was longer than any should be",
    Failure.OWN_LIMIT: "the load host itself was at its limit",
}


@dataclass(frozen=True)
class Paths:
    """What was written."""

    report: Path
    campaign: Path
    points: Path
    #: An SVG and a PNG for each figure.
    plots: tuple[Path, ...] = ()


def write(directory: Path, campaign: Campaign, baseline: Campaign | None = None) -> Paths:
    """Write ``report.html``, ``campaign.json``, ``points.csv`` and ``plots/`` into a directory.

    The data come first, so that they are there even if drawing is interrupted; each file is
    written whole or not at all. Raises RunFailedError if they cannot be written.
    """
    now = analyse(campaign)
    before = analyse(baseline) if baseline is not None else None
    drawn: list[Path] = []
    written = Paths(
        directory / "report.html", directory / "campaign.json", directory / "points.csv"
    )
    try:
        (directory / "plots").mkdir(parents=True, exist_ok=True)
        put(written.campaign, document.dumps(campaign))
        put(written.points, document.csv_text(now))
        figures = plots.figures(now, before)
        for plot in figures:
            drawn += [directory / "plots" / f"{plot.name}.{kind}" for kind in ("svg", "png")]
            put(drawn[-2], plot.svg)
            put(drawn[-1], plot.png)
        put(written.report, page(now, before, figures))
    except OSError as error:
        raise RunFailedError(
            f"The report cannot be written: {error}",
            next_step=f"Look at the space and the permissions of {directory}.",
        ) from error
    return replace(written, plots=tuple(drawn))


def page(
    analysis: Analysis, baseline: Analysis | None = None, figures: Iterable[plots.Plot] = ()
) -> str:
    """The HTML page."""
    campaign = analysis.campaign
    return rendered(
        "smoke.html.j2",
        {"duration": duration, "hertz": hertz, "share": share, "count": count},
        campaign=campaign,
        analysis=analysis,
        verdict=verdict.judge(analysis),
        comparison=compare(analysis, baseline) if baseline is not None else None,
        figures=[(plot, Markup(plots.inline(plot))) for plot in figures],
        began=f"{datetime.fromtimestamp(campaign.began, UTC):%Y-%m-%d %H:%M UTC}",
        label=verdict.label,
        laws=[_law(curve) for curve in analysis.curves if len(curve.points) > 1],
        changes=_changes,
        errors=_errors(analysis),
        listed=_listed,
        ways=_ways(analysis),
        kinds={Kind.LS: "SRM listing", Kind.MLSC: "GridFTP listing", Kind.PING: "SRM ping"},
        busy_process=BUSY_PROCESS,
        busy_machine=BUSY_MACHINE,
        least_difference=LEAST_DIFFERENCE,
        false_alarm=FALSE_ALARM,
        none=NONE,
    )


def _law(curve: Curve) -> dict[str, str]:
    """A row of the table of fitted laws."""
    name = "ping" if curve.kind is Kind.PING else f"{count(curve.entries)} entries"
    row = {"kind": curve.kind.value, "name": name, "words": verdict.bend(curve)}
    fit = curve.fit
    if isinstance(fit, Usl):
        knee = f"{fit.knee:,.0f}" if fit.knee is not None else NONE
        values = {"single": hertz(fit.single), "contention": f"{fit.contention:.3g}"}
        return row | values | {"coherence": f"{fit.coherence:.3g}", "knee": knee}
    return row | dict.fromkeys(("single", "contention", "coherence", "knee"), NONE)


def _errors(analysis: Analysis) -> list[dict[str, Any]]:
    """A row for each error class at each point, with an example."""
    return [
        {
            "label": verdict.label(one),
            "overload": one.point.overload,
            "name": name,
            "meaning": FAILURES.get(name, ""),
            "number": number,
            "share": share(number / (one.measured.successes + sum(one.failures.values()))),
            "example": one.measured.examples.get(name, ""),
        }
        for one in analysis.points
        for name, number in one.failures.items()
    ]


def _changes(comparison: Comparison) -> list[dict[str, Any]]:
    """A row for each point that was compared, with a cell for each quantity."""
    return [
        {"one": one, "cells": {each.quantity: _change(each) for each in one.differences}}
        for one in comparison.points
    ]


def _change(each: Difference) -> tuple[str, str, str]:
    """Before and after, by how much, and what that comes to."""
    size, least = each.change or 0.0, LEAST_DIFFERENCE
    form = change(size) if size else ""
    if each.quantity == "errors":
        form, least = form.replace("%", "points"), LEAST_ERROR_DIFFERENCE
    unsure = each.outcome is Outcome.SAME and abs(size) > least
    return each.words, form, "within the noise" if unsure else each.outcome.value


def _ways(analysis: Analysis) -> dict[str, str]:
    """How the clients behaved, over all points, in words."""
    points = [one.point for one in analysis.points]
    alive = {point.keep_alive for point in points}
    sessions = {
        frozenset({False}): "A new session for each operation: connect, handshake and "
        "authentication are part of every response time, as in the paper.",
        frozenset({True}): "One connection for all operations of a client, so connect and "
        "handshake are in its first operation only. The paper opened a new one for each.",
    }
    mixed = "New sessions for each operation at some points, kept alive at others."
    return {
        "sessions": sessions.get(frozenset(alive), mixed),
        "think": _listed(sorted({f"{point.think:g} s" for point in points})),
        "warm_up": _listed(sorted({f"{point.warm_up:g} s" for point in points})),
        "window": _listed(sorted({f"{point.window:g} s" for point in points})),
    }


def _listed(words: Iterable[str]) -> str:
    """``a, b and c``; a dash for nothing."""
    every = list(words)
    return " and ".join(filter(None, (", ".join(every[:-1]), *every[-1:]))) or NONE
