"""What a campaign's figures say: rates and times with their uncertainty, laws, cautions. Pure.

All times are in seconds, all rates in successes per second (Hz).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from scipy.special import stdtrit

from cloudlet_deploy.smoke import distribution, fits
from cloudlet_deploy.smoke.distribution import Distribution
from cloudlet_deploy.smoke.types import Campaign, Failure, GeneratorLoad, Kind, Measured, Point
from cloudlet_deploy.smoke.words import share

#: Shares from which a load process (of its one core) or its machine was the bottleneck.
BUSY_PROCESS, BUSY_MACHINE = 0.85, 0.9
#: Whole seconds that a rate's uncertainty is estimated from, at least.
LEAST_SECONDS = 5
#: Batches for the uncertainty of a rate; more seconds make them longer.
_BATCHES = 10
#: A cross-check that is further off than this is told.
_LAW_TOLERANCE = 0.15
#: Points with a greater share of errors tell how a door breaks, not how it scales.
LARGEST_ERROR_SHARE = 0.1
#: Normal quantile of a 95 % interval.
_Z95 = 1.96


@dataclass(frozen=True)
class Estimate:
    """A value, its standard error, and the degrees of freedom of that."""

    value: float
    error: float
    freedom: float

    @property
    def half(self) -> float:
        """Half the width of the 95 % interval."""
        return self.error * float(stdtrit(self.freedom, 0.975))


@dataclass(frozen=True)
class Times:
    """Response times of the operations that succeeded, in seconds."""

    count: int
    mean: float
    p50: float
    p95: float
    p99: float
    largest: float
    #: Standard error of the mean; None where it could not be estimated.
    mean_error: float | None
    #: 95 % interval of the 95th percentile; None where it could not be estimated.
    p95_low: float | None
    p95_high: float | None
    #: How many independent operations these are worth: neighbours in time are alike.
    effective: float


@dataclass(frozen=True)
class LoopCheck:
    """The closed loop's law, N/X = R + Z, as a cross-check of what was measured; seconds.

    ``cycle`` is N/X with every operation that ended, ``measured`` is R + Z.
    """

    cycle: float
    measured: float

    @property
    def gap(self) -> float:
        """By what share ``cycle`` exceeds ``measured``; negative if it is less."""
        return self.cycle / self.measured - 1


@dataclass(frozen=True)
class PointResult:
    """One load point."""

    measured: Measured
    #: Successes per second in the window, Hz; and with its uncertainty where that is known.
    rate: float
    rate_estimate: Estimate | None
    times: Times | None
    #: Mean seconds of the three parts of an operation; None if nothing succeeded.
    connect: float | None
    authentication: float | None
    operation: float | None
    #: Failures by class, the most frequent first, and their share of all operations, 0 to 1.
    failures: Mapping[str, int]
    error_share: float
    #: None where there is nothing to check, or failures make the law hold no more.
    loop: LoopCheck | None
    busy: tuple[GeneratorLoad, ...]
    #: What the reader has to know of this point, as sentences.
    cautions: tuple[str, ...]

    @property
    def point(self) -> Point:
        """What was wanted."""
        return self.measured.point

    @property
    def offered(self) -> int:
        """Clients that were wanted."""
        return self.measured.point.clients

    @property
    def achieved(self) -> int:
        """Clients that were there."""
        return self.measured.achieved

    @property
    def generator_bound(self) -> bool:
        """Whether a load host was the bottleneck, so that the door may carry more than this."""
        return bool(self.busy) or Failure.OWN_LIMIT in self.failures

    @property
    def scales(self) -> bool:
        """Whether the point tells how the door scales: whole, served, with few errors."""
        few = self.error_share <= LARGEST_ERROR_SHARE
        return not self.measured.incomplete and self.rate > 0 and few


@dataclass(frozen=True)
class Curve:
    """Points of one kind and directory size, over clients; ascending."""

    kind: Kind
    entries: int
    points: tuple[PointResult, ...]
    #: From the points that tell how the door scales.
    fit: fits.Usl | fits.NoFit
    #: How many points of the fit a load host limited: the knee may then be the load hosts'.
    bound: int


@dataclass(frozen=True)
class SizeCurve:
    """Points of one kind and number of clients, over directory sizes; ascending."""

    kind: Kind
    clients: int
    points: tuple[PointResult, ...]
    fit: fits.Line | fits.NoFit


@dataclass(frozen=True)
class Analysis:
    """A campaign and what it says. ``points`` are in the order in which they were measured."""

    campaign: Campaign
    points: tuple[PointResult, ...]
    curves: tuple[Curve, ...]
    size_curves: tuple[SizeCurve, ...]
    #: Cautions about the whole, as sentences.
    cautions: tuple[str, ...]

    def of(self, kind: Kind, *, overload: bool = False) -> tuple[PointResult, ...]:
        """Points of a kind, those of the overload only if asked for."""
        return tuple(
            one
            for one in self.points
            if one.point.kind is kind and (overload or not one.point.overload)
        )

    def best(self, kind: Kind = Kind.LS) -> PointResult | None:
        """The point of the greatest rate; None if nothing succeeded."""
        served = [one for one in self.of(kind) if one.rate > 0]
        return max(served, key=lambda one: one.rate, default=None)


def analyse(campaign: Campaign) -> Analysis:
    """All that the figures of a campaign say."""
    points = tuple(result(measured) for measured in campaign.points)
    return Analysis(
        campaign=campaign,
        points=points,
        curves=tuple(_curves(points)),
        size_curves=tuple(_size_curves(points)),
        cautions=tuple(_cautions(points)),
    )


def result(measured: Measured) -> PointResult:
    """What one load point says."""
    total = distribution.of(measured.total)
    rate = measured.successes / measured.window if measured.window > 0 else 0.0
    estimate = rate_estimate(measured)
    failed = sum(measured.failures.values())
    ended = measured.successes + failed
    ordered = sorted(measured.failures.items(), key=lambda item: (-item[1], item[0]))
    times = _times(total, rate, estimate)
    busy = tuple(one for one in measured.generators if _is_busy(one))
    loop = _loop(measured, times, ended, failed)
    return PointResult(
        measured=measured,
        rate=rate,
        rate_estimate=estimate,
        times=times,
        connect=_mean(measured.connect),
        authentication=_mean(measured.authentication),
        operation=_mean(measured.operation),
        failures={name: count for name, count in ordered if count},
        error_share=failed / ended if ended else 0.0,
        loop=loop,
        busy=busy,
        cautions=tuple(_point_cautions(measured, times, loop, busy, ended)),
    )


def rate_estimate(measured: Measured) -> Estimate | None:
    """The rate with its uncertainty, from the means of batches of seconds.

    Neighbouring seconds are not independent (clients that began together answer together), so
    they are taken together to some ten batches. None if there are fewer than LEAST_SECONDS.
    """
    seconds = measured.per_second[: int(measured.window + 0.05)]
    if len(seconds) < LEAST_SECONDS:
        return None
    length = max(1, len(seconds) // _BATCHES)
    number = len(seconds) // length
    # What does not fill a batch is left out at the beginning, which is nearest to the warm-up.
    kept = np.array(seconds[len(seconds) - number * length :], dtype=float)
    batches = kept.reshape(number, length).mean(axis=1)
    error = float(batches.std(ddof=1)) / math.sqrt(number)
    return Estimate(measured.successes / measured.window, error, number - 1)


def _times(total: Distribution, rate: float, estimate: Estimate | None) -> Times | None:
    if not total.count:
        return None
    mean_error = low = high = None
    effective = float(total.count)
    if estimate is not None and rate > 0 and total.count > 1:
        alone = total.deviation / math.sqrt(total.count)
        # In a closed loop X = N/(R+Z): what makes the rate waver is a wavering response time,
        # and the mean of it is not known better, relatively, than the rate is.
        mean_error = max(alone, total.mean * estimate.error / rate)
        if mean_error > 0:
            effective = max(1.0, total.count * (alone / mean_error) ** 2)
        # A quantile's interval by ranks: it asks nothing of the shape of the distribution.
        reach = _Z95 * math.sqrt(0.95 * 0.05 / effective)
        low = total.quantile(max(0.0, 0.95 - reach))
        high = total.quantile(0.95 + reach) if 0.95 + reach < 1 else total.largest
    return Times(
        count=total.count,
        mean=total.mean,
        p50=total.quantile(0.5),
        p95=total.quantile(0.95),
        p99=total.quantile(0.99),
        largest=total.largest,
        mean_error=mean_error,
        p95_low=low,
        p95_high=high,
        effective=effective,
    )


def _mean(encoded: str) -> float | None:
    part = distribution.of(encoded)
    return part.mean if part.count else None


def _is_busy(load: GeneratorLoad) -> bool:
    return load.process > BUSY_PROCESS or load.machine > BUSY_MACHINE


def _loop(measured: Measured, times: Times | None, ended: int, failed: int) -> LoopCheck | None:
    # The times of failures are not known, so beside more than a few the sum cannot be right.
    if times is None or measured.achieved < 1 or failed > 0.01 * ended or measured.window <= 0:
        return None
    spent = times.mean + measured.point.think
    cycle = measured.achieved * measured.window / max(ended, 1)
    return LoopCheck(cycle, spent) if spent > 0 else None


def _point_cautions(
    measured: Measured,
    times: Times | None,
    loop: LoopCheck | None,
    busy: Iterable[GeneratorLoad],
    ended: int,
) -> Iterable[str]:
    if measured.incomplete:
        yield f"The figures are not of the whole load: {measured.incomplete}."
    if measured.achieved < measured.point.clients:
        yield f"Only {measured.achieved} of {measured.point.clients} clients were there."
    for load in busy:
        yield (
            f"The load host {load.host} was the bottleneck: process {load.name} took "
            f"{share(load.process)} of a core, the machine was busy to {share(load.machine)}. "
            "The server may carry more than this point shows."
        )
    own = measured.failures.get(Failure.OWN_LIMIT, 0)
    if own:
        yield f"{own} operations failed at a limit of the load hosts themselves."
    if times is None:
        yield "Nothing succeeded in the window."
    elif ended < measured.achieved:
        yield (
            f"Fewer operations ended in the window ({ended}) than there were clients: the window "
            "is shorter than a response, so times and rate are of the quick ones. Measure longer."
        )
    elif loop is not None and abs(loop.gap) > _LAW_TOLERANCE:
        yield (
            f"Clients / rate is {loop.cycle:.3g} s, response and think time are "
            f"{loop.measured:.3g} s: the load was not steady, or time is lost in the load hosts."
        )
    if len(measured.per_second) < LEAST_SECONDS and times is not None:
        yield (
            f"The window has fewer than {LEAST_SECONDS} whole seconds: "
            "how uncertain the rate is cannot be told."
        )


def _cautions(points: tuple[PointResult, ...]) -> Iterable[str]:
    bound = [one for one in points if one.generator_bound]
    if bound:
        hosts = sorted({load.host for one in bound for load in one.busy})
        where = f" ({', '.join(hosts)})" if hosts else ""
        yield (
            f"At {len(bound)} of {len(points)} points the load hosts{where} were the bottleneck: "
            "what these points show is a lower bound. Add load hosts or processes."
        )
    fewer = sum(one.achieved < one.offered for one in points)
    if fewer:
        yield f"At {fewer} of {len(points)} points fewer clients were there than wanted."
    if any(one.measured.incomplete for one in points):
        yield "Some points are incomplete; they are in no fit and no comparison."


def _way(one: PointResult) -> tuple[bool, float]:
    """What must be the same on one curve beside its name: sessions and think time."""
    return one.point.keep_alive, one.point.think


def _over_clients(one: PointResult) -> tuple[Kind, int, bool, float]:
    return one.point.kind, one.point.entries, *_way(one)


def _over_entries(one: PointResult) -> tuple[Kind, int, bool, float]:
    return one.point.kind, one.offered, *_way(one)


def _curves(points: tuple[PointResult, ...]) -> Iterable[Curve]:
    ordered = sorted(points, key=_over_clients)
    for (kind, entries, _alive, _think), group in groupby(ordered, key=_over_clients):
        members = tuple(sorted(group, key=lambda one: (one.offered, one.point.number)))
        good = [one for one in members if one.scales]
        fit = fits.usl(
            [float(one.achieved) for one in good],
            [one.rate for one in good],
            [one.rate_estimate.error if one.rate_estimate else None for one in good],
        )
        yield Curve(kind, entries, members, fit, sum(one.generator_bound for one in good))


def _size_curves(points: tuple[PointResult, ...]) -> Iterable[SizeCurve]:
    ordered = sorted(points, key=_over_entries)
    for (kind, clients, _alive, _think), group in groupby(ordered, key=_over_entries):
        members = tuple(sorted(group, key=lambda one: (one.point.entries, one.point.number)))
        if len({one.point.entries for one in members}) < 2:
            continue
        good = [(one.point.entries, one.times.mean) for one in members if one.scales and one.times]
        fit = fits.line([float(size) for size, _time in good], [time for _size, time in good])
        yield SizeCurve(kind, clients, members, fit)
