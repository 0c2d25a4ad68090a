"""Whether a campaign is better than an earlier one, with the noise of both in mind. Pure.

Two points are told apart only where the difference is both larger than the noise explains and
large enough to matter. All tests are of logarithms, so that exchanging the two exchanges
"better" and "worse" and nothing else.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from scipy.special import stdtrit

from cloudlet_deploy.smoke.analysis import Analysis, PointResult
from cloudlet_deploy.smoke.types import Point
from cloudlet_deploy.smoke.verdict import label, point_label
from cloudlet_deploy.smoke.words import duration, hertz, share

#: A difference below this share is of no interest, however sure. Runs of the same settings
#: differ by a few percent for reasons that no noise within one run shows.
LEAST_DIFFERENCE = 0.05
#: For shares of errors: percentage points, as a share.
LEAST_ERROR_DIFFERENCE = 0.01
#: Chance that anything at all of two equal campaigns is called different by noise.
FALSE_ALARM = 0.05
#: Clients of two points that differ by more than this share make them another load.
_SAME_LOAD = 0.05
_Z95 = 1.96


class Outcome(StrEnum):
    """How something is, compared with the baseline."""

    BETTER = "better"
    WORSE = "worse"
    SAME = "same"
    #: Better in one thing and worse in another.
    MIXED = "mixed"
    #: Nothing can be said.
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Difference:
    """One quantity of one point."""

    #: ``rate``, ``mean``, ``p95`` or ``errors``.
    quantity: str
    before: float
    after: float
    #: ``after / before - 1``; of ``errors`` the plain difference. None if there is none.
    change: float | None
    outcome: Outcome
    #: Before and after with units.
    words: str


@dataclass(frozen=True)
class PointComparison:
    """One point that both campaigns have."""

    label: str
    outcome: Outcome
    differences: tuple[Difference, ...]
    #: Why nothing can be said, or what to keep in mind; sentences.
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """A campaign against its baseline."""

    baseline: str
    outcome: Outcome
    #: The overall verdict as a sentence.
    words: str
    points: tuple[PointComparison, ...]
    #: Points that only one of the two has, in words.
    only_now: tuple[str, ...]
    only_before: tuple[str, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class _Log:
    """A positive quantity as a logarithm, with its standard error."""

    value: float
    error: float
    freedom: float


_Key = tuple[str, int, int, bool, float, bool, int]


def compare(now: Analysis, before: Analysis) -> Comparison:
    """What became better and worse since ``before``."""
    ours, theirs = _keyed(now.points), _keyed(before.points)
    common = [key for key in ours if key in theirs]
    # Four quantities of each point are tested: each may give a false alarm that much less often.
    alarm = FALSE_ALARM / max(4 * len(common), 1)
    points = tuple(_point(ours[key], theirs[key], alarm) for key in common)
    outcome = combined(one.outcome for one in points)
    return Comparison(
        baseline=before.campaign.run_id,
        outcome=outcome,
        words=_overall(outcome, points),
        points=points,
        only_now=tuple(_named(ours[key].point) for key in ours if key not in theirs),
        only_before=tuple(_named(theirs[key].point) for key in theirs if key not in ours),
        remarks=tuple(_remarks(now, before)),
    )


def combined(outcomes: Iterable[Outcome]) -> Outcome:
    """One word for several: what is unknown says nothing against the rest."""
    known = set(outcomes) - {Outcome.UNKNOWN}
    if not known:
        return Outcome.UNKNOWN
    if Outcome.MIXED in known or {Outcome.BETTER, Outcome.WORSE} <= known:
        return Outcome.MIXED
    return next((one for one in (Outcome.WORSE, Outcome.BETTER) if one in known), Outcome.SAME)


def _keyed(points: Iterable[PointResult]) -> dict[_Key, PointResult]:
    """Points by what makes two the same load; the n-th of the same load matches the n-th."""
    seen: Counter[tuple[str, int, int, bool, float, bool]] = Counter()
    keyed = {}
    for one in points:
        point = one.point
        load = (
            *(point.kind.value, point.clients, point.entries),
            *(point.keep_alive, point.think, point.overload),
        )
        keyed[(*load, seen[load])] = one
        seen[load] += 1
    return keyed


def _named(point: Point) -> str:
    more = [point_label(point.kind, point.clients, point.entries)]
    more += [f"think time {duration(point.think)}"] if point.think else []
    more += ["kept alive"] if point.keep_alive else []
    more += ["overload"] if point.overload else []
    return ", ".join(more)


def _point(now: PointResult, before: PointResult, alarm: float) -> PointComparison:
    name = _named(now.point)
    why = _not_comparable(now, before)
    if why:
        return PointComparison(name, Outcome.UNKNOWN, (), (why,))
    differences = tuple(_differences(now, before, alarm))
    remarks = []
    if now.generator_bound or before.generator_bound:
        remarks.append("Load hosts were the bottleneck: this compares them as well.")
    return PointComparison(
        name, combined(one.outcome for one in differences), differences, tuple(remarks)
    )


def _not_comparable(now: PointResult, before: PointResult) -> str:
    for one, which in ((now, "this run"), (before, "the baseline")):
        if one.measured.incomplete:
            return f"The point of {which} is incomplete."
        if one.rate_estimate is None:
            return f"The window of {which} is too short to know its noise."
    most, least = max(now.achieved, before.achieved), min(now.achieved, before.achieved)
    if most > least * (1 + _SAME_LOAD):
        return f"{now.achieved} clients were there and {before.achieved} in the baseline."
    return ""


def _differences(now: PointResult, before: PointResult, alarm: float) -> Iterable[Difference]:
    outcome = _outcome(_rate(now), _rate(before), alarm, (now.rate, before.rate))
    yield Difference(
        *("rate", before.rate, now.rate, _change(now.rate, before.rate), outcome),
        f"{hertz(before.rate)} → {hertz(now.rate)}",
    )
    if now.times is not None and before.times is not None:
        for name, of in (("mean", _mean), ("p95", _p95)):
            after, earlier = getattr(now.times, name), getattr(before.times, name)
            outcome = _opposite(_outcome(of(now), of(before), alarm, (after, earlier)))
            words = f"{duration(earlier)} → {duration(after)}"
            yield Difference(name, earlier, after, _change(after, earlier), outcome, words)
    yield _errors(now, before, alarm)


def _change(after: float, before: float) -> float | None:
    return after / before - 1 if before > 0 else None


def _rate(one: PointResult) -> _Log | None:
    estimate = one.rate_estimate
    if estimate is None or one.rate <= 0:
        return None
    return _Log(math.log(one.rate), estimate.error / one.rate, estimate.freedom)


def _mean(one: PointResult) -> _Log | None:
    times, estimate = one.times, one.rate_estimate
    if times is None or estimate is None or times.mean_error is None or times.mean <= 0:
        return None
    return _Log(math.log(times.mean), times.mean_error / times.mean, estimate.freedom)


def _p95(one: PointResult) -> _Log | None:
    times, estimate = one.times, one.rate_estimate
    if times is None or estimate is None or not times.p95_low or not times.p95_high:
        return None
    error = math.log(times.p95_high / times.p95_low) / (2 * _Z95)
    return _Log(math.log(times.p95), error, estimate.freedom)


def _outcome(
    now: _Log | None, before: _Log | None, alarm: float, values: tuple[float, float]
) -> Outcome:
    """Of a quantity of which more is better."""
    if now is None or before is None:
        return _of_nothing(*values)
    step = now.value - before.value
    sure = abs(step) > _noise(now, before, alarm)
    matters = abs(step) > math.log1p(LEAST_DIFFERENCE)
    return _direction(step) if sure and matters else Outcome.SAME


def _opposite(outcome: Outcome) -> Outcome:
    turned = {Outcome.BETTER: Outcome.WORSE, Outcome.WORSE: Outcome.BETTER}
    return turned.get(outcome, outcome)


def _of_nothing(after: float, before: float) -> Outcome:
    """For rates, of which one may be nothing at all: there a logarithm has no answer."""
    if after == before == 0:
        return Outcome.SAME
    if after == 0 or before == 0:
        return _direction(after - before)
    return Outcome.UNKNOWN


def _direction(step: float) -> Outcome:
    return Outcome.BETTER if step > 0 else Outcome.WORSE


def _noise(one: _Log, other: _Log, alarm: float) -> float:
    """The largest difference that noise makes with that chance (Welch's test)."""
    a, b = one.error**2, other.error**2
    if a + b == 0:
        return 0.0
    freedom = (a + b) ** 2 / (a**2 / one.freedom + b**2 / other.freedom)
    return math.sqrt(a + b) * float(stdtrit(freedom, 1 - alarm / 2))


def _errors(now: PointResult, before: PointResult, alarm: float) -> Difference:
    step = now.error_share - before.error_share
    error = math.sqrt(_share_error(now) ** 2 + _share_error(before) ** 2)
    sure = abs(step) > error * float(stdtrit(_FEW, 1 - alarm / 2))
    matters = abs(step) > LEAST_ERROR_DIFFERENCE
    outcome = _direction(-step) if sure and matters else Outcome.SAME
    words = f"{share(before.error_share)} → {share(now.error_share)}"
    return Difference("errors", before.error_share, now.error_share, step, outcome, words)


#: Degrees of freedom for shares of errors: as many as batches usually give.
_FEW = 9


def _share_error(one: PointResult) -> float:
    """Standard error of the share of errors: they come in bursts, as the successes do."""
    ended = one.measured.successes + sum(one.failures.values())
    if not ended:
        return 1.0
    worth = one.times.effective / one.times.count if one.times is not None else 1.0
    # One added to each side: no error in few operations is not "surely none".
    likely = (one.error_share * ended + 1) / (ended + 2)
    return math.sqrt(likely * (1 - likely) / max(ended * worth, 1.0))


def _overall(outcome: Outcome, points: tuple[PointComparison, ...]) -> str:
    tally = Counter(one.outcome for one in points)
    if outcome is Outcome.UNKNOWN:
        return "Nothing can be said: the two runs have no point that can be compared."
    known = len(points) - tally[Outcome.UNKNOWN]
    parts = [
        f"{tally[kind]} {kind.value}"
        for kind in (Outcome.BETTER, Outcome.WORSE, Outcome.MIXED, Outcome.SAME, Outcome.UNKNOWN)
        if tally[kind]
    ]
    opening = {
        Outcome.BETTER: "Better than the baseline",
        Outcome.WORSE: "Worse than the baseline",
        Outcome.MIXED: "Better in some things and worse in others",
        Outcome.SAME: "Not to be told apart from the baseline",
    }[outcome]
    points_word = "point" if known == 1 else "points"
    return f"{opening}: of {len(points)} {points_word}, {', '.join(parts)}."


def _remarks(now: Analysis, before: Analysis) -> Iterable[str]:
    if now.campaign.site != before.campaign.site:
        yield f"The baseline is of another site: {before.campaign.site}."
    if now.campaign.doors != before.campaign.doors:
        yield "The baseline was measured at other doors."
    if before.campaign.incomplete:
        yield f"The baseline did not run to its end: {before.campaign.incomplete}."
    for one, which in ((now, "this run"), (before, "the baseline")):
        bad = [label(each) for each in one.points if each.generator_bound]
        if bad:
            yield f"Load hosts were the bottleneck in {which} at: {'; '.join(bad)}."
