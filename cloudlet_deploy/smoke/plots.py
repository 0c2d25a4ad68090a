"""The counterparts of the paper's figures 6 to 9, and time against directory size.

Drawn without pyplot, so nothing global is left changed. The same campaign gives the same bytes.
Import it where it is needed only: matplotlib takes a second.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from cloudlet_deploy.smoke import paper
from cloudlet_deploy.smoke.analysis import Analysis, Curve, PointResult, SizeCurve
from cloudlet_deploy.smoke.fits import Line, Usl
from cloudlet_deploy.smoke.palette import PALETTE
from cloudlet_deploy.smoke.types import Kind
from cloudlet_deploy.smoke.words import count, hertz, share

_MARKERS = ("o", "s", "^", "D", "v", "P")
_INCHES = (4.9, 3.9)
#: A value axis becomes logarithmic where its values span more than this.
_WIDE = 30.0
#: The paper's line is made to fit in if it is at most so many times the site's greatest rate.
_FITTING = 3.0
_TITLE = {Kind.LS: "SRM listing", Kind.MLSC: "GridFTP listing", Kind.PING: "SRM ping"}
_SHORT = {Kind.LS: "srm", Kind.MLSC: "gridftp", Kind.PING: "ping"}


@dataclass(frozen=True)
class Plot:
    """One figure. ``name`` is that of its files; ``caption`` says what it shows and lacks."""

    name: str
    title: str
    caption: str
    svg: str
    png: bytes


def figures(analysis: Analysis, baseline: Analysis | None = None) -> tuple[Plot, ...]:
    """Every figure that the campaign has points for, those of SRM first."""
    with matplotlib.rc_context(
        {
            "svg.hashsalt": "cloudlet-deploy",
            "svg.fonttype": "none",
            "path.simplify": True,
            "font.size": 9.5,
            "font.family": "DejaVu Sans",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
            "text.parse_math": False,
        }
    ):
        return tuple(
            plot
            for kind in (Kind.LS, Kind.MLSC, Kind.PING)
            for plot in _of(kind, analysis, baseline)
        )


def _of(kind: Kind, analysis: Analysis, baseline: Analysis | None) -> Iterable[Plot]:
    curves = [one for one in analysis.curves if one.kind is kind]
    if not curves:
        return
    earlier = [one for one in baseline.curves if one.kind is kind] if baseline else []
    yield _rate(kind, min(curves, key=_smallness), earlier)
    if len(curves) > 1:
        yield _by_size(kind, curves)
    if any(point.times for curve in curves for point in curve.points):
        yield _times(kind, curves)
    sizes = [one for one in analysis.size_curves if one.kind is kind]
    if any(point.times for curve in sizes for point in curve.points):
        yield _against_size(kind, sizes)


def _smallness(curve: Curve) -> tuple[int, int]:
    """The smallest directory first; of several ways to use it the one with more points."""
    return curve.entries, -len(curve.points)


# -- the figures ------------------------------------------------------------------------


def _rate(kind: Kind, curve: Curve, earlier: Sequence[Curve]) -> Plot:
    """Figures 6 and 7: rate against concurrency for a small directory."""
    figure, axes = _empty("concurrent clients", "processing rate (Hz)")
    seen = [one for one in curve.points if one.measured.window > 0]
    most = max((one.achieved for one in seen), default=1) * 1.06 or 1.0
    tops = [one.rate + (one.rate_estimate.half if one.rate_estimate else 0) for one in seen]
    captions = [_marks(seen)]
    before = next((one for one in earlier if one.entries == curve.entries), None)
    if before is not None and _normal(before.points):
        known = [(one.achieved, one.rate) for one in _normal(before.points)]
        axes.plot(*_columns(known), marker="o", ms=4, mfc=_light("card"), lw=1, ls="-.",
                  color=_light("soft"), label="baseline")  # fmt: skip
        tops += [rate for _n, rate in known]
        most = max(most, max(n for n, _rate in known) * 1.06)
    if isinstance(curve.fit, Usl):
        tops.append(_draw_law(axes, curve.fit))
        captions.append(f"Law fitted to {count(curve.fit.least)} to {count(curve.fit.most)} clients"
                        f", {share(curve.fit.residual)} off the points on average.")  # fmt: skip
    else:
        captions.append(f"No law fitted: {curve.fit.reason}.")
    _draw_points(axes, seen, 0, "measured, 95 % interval")
    top = max([*tops, 1e-9])
    if kind is Kind.LS:
        top, said = _draw_paper(axes, most, top)
        captions.append(said)
    axes.set_xlim(0, most)
    axes.set_ylim(0, top * 1.12)
    what = f", {count(curve.entries)} entries" if kind is not Kind.PING else ""
    return _finished(
        *(figure, f"{_SHORT[kind]}-rate", f"{_TITLE[kind]}{what}: rate against concurrency"),
        captions,
    )


def _draw_law(axes: Axes, law: Usl) -> float:
    """The fitted law within what was measured, and its knee; returns its greatest rate."""
    n = np.linspace(law.least, law.most, 200)
    rates = np.array([law.rate(float(one)) for one in n])
    axes.plot(n, rates, color=_light("series-1"), lw=1.4, alpha=0.65,
              label="Universal Scalability Law")  # fmt: skip
    if law.knee is not None and law.peak is not None:
        low, high = law.knee_low or law.knee, law.knee_high or float(law.most)
        axes.axvspan(low, min(high, law.most), color=_light("series-1"), alpha=0.12, lw=0)
        axes.axvline(law.knee, color=_light("series-1"), lw=1, ls=":",
                     label=f"knee near {count(round(law.knee))} clients")  # fmt: skip
    return float(rates.max())


def _draw_paper(axes: Axes, most: float, top: float) -> tuple[float, str]:
    """The paper's own line. Returns the axis' top with it, and what does not fit in, in words."""
    reach = min(most, paper.TROUBLE)
    highest = reach / paper.CLIENTS_PER_HZ
    fits = highest <= _FITTING * top
    axes.plot([0, reach], [0, highest], color=_light("soft"), lw=1.4, ls="--",
              label="paper: 1 Hz per 40 clients")  # fmt: skip
    known = [(n, x) for n, x in paper.RATES if n <= most and (fits or x <= top)]
    if known:
        axes.plot(*_columns(known), ls="", marker="D", ms=6, mfc=_light("card"),
                  color=_light("soft"), label="paper: averages")  # fmt: skip
    said = f"The paper's door ({hertz(highest)} at {count(round(reach))} clients) "
    said += "is the dashed line" if fits else "is off this scale, its line is cut"
    if most > paper.TROUBLE:
        axes.axvspan(paper.TROUBLE, most, color=_light("series-2"), alpha=0.1, lw=0,
                     label="paper: trouble beyond 2,500")  # fmt: skip
        return (max(top, highest) if fits else top), f"{said}; it broke beyond 2,500 clients."
    said += "; beyond 2,500 clients, which is outside this figure, it broke."
    return (max(top, highest) if fits else top), said


def _by_size(kind: Kind, curves: Sequence[Curve]) -> Plot:
    """Figure 8: rate against concurrency, a line for each directory size."""
    figure, axes = _empty("concurrent clients", "processing rate (Hz)")
    for index, curve in enumerate(curves):
        line = [(one.achieved, one.rate) for one in _normal(curve.points)]
        axes.plot(*_columns(line), color=_series(index), lw=1.2)
        _draw_points(axes, curve.points, index, _size(curve, curves))
    _value_axis(axes, [one.rate for curve in curves for one in curve.points])
    axes.set_xlim(left=0)
    every = [one for curve in curves for one in curve.points]
    return _finished(
        *(figure, f"{_SHORT[kind]}-rate-by-size", f"{_TITLE[kind]}: rate by directory size"),
        ["Successes per second with their 95 % interval.", _marks(every)],
    )


def _times(kind: Kind, curves: Sequence[Curve]) -> Plot:
    """Figure 9: response time against concurrency, a line for each directory size."""
    figure, axes = _empty("concurrent clients", "response time (s)")
    values = []
    for index, curve in enumerate(curves):
        known = [(one, one.times) for one in _normal(curve.points) if one.times]
        if not known:
            continue
        x = [one.achieved for one, _times in known]
        p50, p95 = [t.p50 for _one, t in known], [t.p95 for _one, t in known]
        axes.plot(x, p50, color=_series(index), marker=_MARKERS[index % 6], ms=5, lw=1.5,
                  label=_size(curve, curves))  # fmt: skip
        axes.plot(x, p95, color=_series(index), marker="_", ms=7, lw=1, ls="--")
        values += p50 + p95
    axes.plot([], [], color=_light("soft"), lw=1, ls="--", marker="_", label="95th percentile")
    _value_axis(axes, values)
    axes.set_xlim(left=0)
    return _finished(
        *(figure, f"{_SHORT[kind]}-time-by-size", f"{_TITLE[kind]}: response time"),
        ["Solid: half were answered within; dashed: 95 %. Of operations that succeeded."],
    )


def _against_size(kind: Kind, curves: Sequence[SizeCurve]) -> Plot:
    """Response time against directory size, with the straight line that fits best."""
    figure, axes = _empty("entries of the directory", "mean response time (s)")
    captions = []
    for index, curve in enumerate(curves):
        known = [(one.point.entries, one.times) for one in curve.points if one.times]
        errors = [1.96 * (times.mean_error or 0.0) for _size, times in known]
        axes.errorbar([size for size, _t in known], [times.mean for _s, times in known],
                      yerr=errors, ls="", marker=_MARKERS[index % 6], ms=5.5, capsize=2.5,
                      color=_series(index), label=f"{count(curve.clients)} clients")  # fmt: skip
        if isinstance(curve.fit, Line):
            ends = [min(size for size, _t in known), max(size for size, _t in known)]
            axes.plot(ends, [curve.fit.time(size) for size in ends], lw=1.2, color=_series(index))
            captions.append(
                f"{count(curve.clients)} clients: {curve.fit.base:.3g} s + "
                f"{curve.fit.each * 1000:.3g} ms per entry (R² {explained(curve.fit)})."
            )
        else:
            captions.append(f"{count(curve.clients)} clients: no line, {curve.fit.reason}.")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    title = f"{_TITLE[kind]}: response time against directory size"
    return _finished(figure, f"{_SHORT[kind]}-time-against-size", title, captions)


def explained(line: Line) -> str:
    """R² with three digits; never 1 where it is not."""
    return ">0.999" if 0.9995 <= line.explained < 1 else f"{line.explained:.3f}"


# -- parts ------------------------------------------------------------------------------


def _draw_points(axes: Axes, points: Sequence[PointResult], index: int, label: str) -> None:
    """Filled: the door's rate. Hollow: the load hosts' limit. Crosses: many errors, overload."""
    kinds: tuple[tuple[Callable[[PointResult], bool], str, str], ...] = (
        (lambda one: one.scales and not one.generator_bound, _MARKERS[index % 6], _series(index)),
        (lambda one: one.scales and one.generator_bound, _MARKERS[index % 6], _light("card")),
        (lambda one: not one.scales, "x", _series(index)),
    )
    text: str | None = label
    for wanted, marker, fill in kinds:
        chosen = [one for one in points if wanted(one)]
        if not chosen:
            continue
        halves = [one.rate_estimate.half if one.rate_estimate else 0.0 for one in chosen]
        below = [min(half, one.rate) for half, one in zip(halves, chosen, strict=True)]
        axes.errorbar([one.achieved for one in chosen], [one.rate for one in chosen],
                      yerr=[below, halves], ls="", marker=marker, ms=6, mfc=fill, capsize=2.5,
                      color=_series(index), elinewidth=1, label=text, zorder=3)  # fmt: skip
        text = None


def _marks(points: Iterable[PointResult]) -> str:
    """What the marks that are in the figure mean."""
    every = list(points)
    said = []
    if any(one.generator_bound and one.scales for one in every):
        said.append("Hollow: a load host was the bottleneck.")
    if any(not one.scales for one in every):
        said.append("Crosses: overloaded, incomplete or more than 10 % errors; in no fit.")
    return " ".join(said)


def _normal(points: Iterable[PointResult]) -> list[PointResult]:
    return [one for one in points if not one.point.overload]


def _size(curve: Curve, curves: Sequence[Curve]) -> str:
    name = f"{count(curve.entries)} entries" if curve.kind is not Kind.PING else "ping"
    first = curve.points[0].point
    if sum(one.entries == curve.entries for one in curves) > 1:
        name += ", kept alive" if first.keep_alive else ", new sessions"
        name += f", {first.think:g} s think time" if first.think else ""
    return name


def _value_axis(axes: Axes, values: Iterable[float]) -> None:
    positive = [one for one in values if one > 0]
    if positive and max(positive) > _WIDE * min(positive):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(bottom=0)


def _columns(rows: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _y in rows], [y for _x, y in rows]


def _light(name: str) -> str:
    return PALETTE[name][0]


def _series(index: int) -> str:
    return _light(f"series-{index % 6 + 1}")


def _empty(across: str, up: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=_INCHES, layout="constrained", facecolor=_light("card"))
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(facecolor=_light("card"))
    axes.set_xlabel(across, color=_light("ink"))
    axes.set_ylabel(up, color=_light("ink"))
    axes.grid(color=_light("grid"), lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=_light("soft"), labelsize=9)
    for spine in axes.spines.values():
        spine.set_color(_light("soft"))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    return figure, axes


def _finished(figure: Figure, name: str, title: str, captions: Iterable[str]) -> Plot:
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if labels:
        columns = 1 if max(map(len, labels)) > 30 else 2
        figure.legend(handles, labels, loc="outside lower center", ncols=columns, fontsize=8.5,
                      labelcolor=_light("ink"))  # fmt: skip
    vector, raster = io.StringIO(), io.BytesIO()
    figure.savefig(vector, format="svg", metadata={"Date": None, "Creator": None})
    figure.savefig(raster, format="png", dpi=160, metadata={"Software": None})
    caption = " ".join(part for part in captions if part)
    return Plot(name, title, caption, _slim(vector.getvalue()), raster.getvalue())


def _slim(svg: str) -> str:
    """Without the description in RDF and the reference to a DTD elsewhere."""
    svg = re.sub(r"<!DOCTYPE[^>]*>\s*", "", svg)
    return re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)


def inline(plot: Plot) -> str:
    """The SVG for a page: colours from the page's style sheet, ids of its own, any width."""
    svg = plot.svg[plot.svg.index("<svg") :]
    for name, (light, _dark) in PALETTE.items():
        svg = svg.replace(light, f"var(--{name})")
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{plot.name}-\1"', svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{plot.name}-\1"', svg)
    svg = re.sub(r"url\(#([^)]+)\)", rf"url(#{plot.name}-\1)", svg)
    head, rest = svg.split(">", 1)
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    return f'{head} role="img" aria-labelledby="{plot.name}-title">{rest}'
