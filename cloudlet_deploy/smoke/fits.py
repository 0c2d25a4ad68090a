"""Laws fitted to curves: the Universal Scalability Law, and time against directory size. Pure.

USL: ``X(N) = l N / (1 + a (N-1) + b N (N-1))``. Turned over it is a response law that is linear,
``N/X = d + c N + e N (N-1)`` with ``l = 1/(d+c)``, ``a = c l``, ``b = e l``: ``d`` is time that
does not depend on load, ``c`` the time of the resource that all share, ``e`` what clients cost
each other. With ``d, c, e >= 0`` that is a convex problem, so the fit has one best answer and no
starting value; ``0 <= a <= 1`` follows. The throughput is greatest at ``N* = sqrt((1-a)/b)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

_Array = NDArray[np.float64]

#: Concurrencies that are needed: three parameters, and one to contradict them.
LEAST_CONCURRENCIES = 4
#: Directory sizes that are needed: two always lie on a line.
LEAST_SIZES = 3

#: A rate is never taken to be known better than this: runs differ by more than their noise.
_LEAST_NOISE = 0.01
#: Where nobody says how uncertain a rate is.
_USUAL_NOISE = 0.05
#: chi-squared with one degree of freedom: 1 % of curves without a knee exceed it.
_BENDS_SURELY = 6.63
_RESAMPLES = 200
#: Less than one success in eleven days is none, and would overflow what is computed from it.
_NOTHING = 1e-6


class Shape(StrEnum):
    """What a curve of rate against concurrency does within what was measured."""

    #: The rate grows with the clients, nearly in proportion.
    RISES = "rises"
    #: It grows more and more slowly.
    FLATTENS = "flattens"
    #: It does not depend on the clients: the door is at its limit already with the fewest.
    LEVEL = "level"
    #: It is greatest at the knee and falls beyond it.
    KNEE = "knee"
    #: It falls from the fewest clients on.
    FALLS = "falls"


@dataclass(frozen=True)
class Usl:
    """The Universal Scalability Law of one curve. Clients, and successes per second (Hz)."""

    #: Rate of one client alone, Hz.
    single: float
    #: The share of the work that is serial (a), and the cost of coherence (b).
    contention: float
    coherence: float
    #: Clients at the greatest rate, its 95 % interval, and that rate in Hz. None: no knee seen.
    knee: float | None
    knee_low: float | None
    knee_high: float | None
    peak: float | None
    shape: Shape
    #: Fewest and most clients that the fit is made from.
    least: int
    most: int
    #: Root mean square of the relative residuals.
    residual: float

    def rate(self, clients: float) -> float:
        """The rate in Hz that the law gives for so many clients."""
        n = clients
        return self.single * n / (1 + self.contention * (n - 1) + self.coherence * n * (n - 1))


@dataclass(frozen=True)
class NoFit:
    """Why a law was not fitted."""

    reason: str


@dataclass(frozen=True)
class Line:
    """Response time R = base + each x entries, in seconds."""

    base: float
    each: float
    #: Standard error of ``each``.
    each_error: float
    #: Share of the variance that the line explains (R squared), from 0 to 1.
    explained: float
    sizes: int

    def time(self, entries: float) -> float:
        """Seconds that the line gives for so many entries."""
        return self.base + self.each * entries


def usl(
    clients: Sequence[float], rates: Sequence[float], errors: Sequence[float | None] | None = None
) -> Usl | NoFit:
    """The law that fits best; points without successes tell nothing of it and are left out.

    ``rates`` are in Hz and ``errors`` their standard errors in Hz (None where not known).
    """
    known = errors or [None] * len(rates)
    usable = [
        (n, x, e) for n, x, e in zip(clients, rates, known, strict=True) if n > 0 and x > _NOTHING
    ]
    distinct = len({round(n) for n, _x, _e in usable})
    if distinct < LEAST_CONCURRENCIES:
        return NoFit(
            f"too few points: {distinct} concurrencies with successes, "
            f"{LEAST_CONCURRENCIES} are needed"
        )
    n = np.array([one[0] for one in usable])
    x = np.array([one[1] for one in usable])
    share = np.array([_USUAL_NOISE if e is None else e / rate for _n, rate, e in usable])
    return _judged(n, x, np.maximum(share, _LEAST_NOISE))


def _judged(n: _Array, x: _Array, share: _Array) -> Usl:
    found = _solve(n, x, share)
    level = _solve(n, x, share, bends=False)
    misfit, without = (_chi2(each, n, x, share) for each in (found, level))
    # Where the law misses the points by more than their noise, the noise was told too small.
    stretch = max(1.0, misfit / max(len(n) - 3, 1))
    bends = (without - misfit) / stretch > _BENDS_SURELY
    fixed, shared, each_other = found if bends else level
    single = 1 / max(fixed + shared, 1e-12)
    law = Usl(
        *(single, shared * single, each_other * single),
        *(None, None, None, None),
        *(Shape.FLATTENS, int(n.min()), int(n.max())),
        residual=float(np.sqrt(np.mean((_rate((fixed, shared, each_other), n) / x - 1) ** 2))),
    )
    if not bends:
        return replace(law, shape=_shape_without_knee(law))
    knee = _knee(found)
    if knee > n.max():
        return replace(law, shape=_shape_without_knee(law))
    if knee < n.min():
        return replace(law, shape=Shape.FALLS)
    low, high = _interval(found, n, share * math.sqrt(stretch))
    return replace(
        law, shape=Shape.KNEE, knee=knee, knee_low=low, knee_high=high, peak=law.rate(knee)
    )


def _shape_without_knee(law: Usl) -> Shape:
    growth = law.rate(law.most) / law.rate(law.least)
    if growth < 1.1:
        return Shape.LEVEL
    return Shape.RISES if growth > 0.85 * law.most / law.least else Shape.FLATTENS


def _solve(
    n: _Array, x: _Array, share: _Array, *, bends: bool = True
) -> tuple[float, float, float]:
    """``d``, ``c`` and ``e`` of the response law; ``e`` is 0 unless it ``bends``."""
    time = n / x
    columns = [np.ones_like(n), n, n * (n - 1)][: 3 if bends else 2]
    # The columns differ by six orders of magnitude; scaled they do not.
    scales = np.array([column.max() for column in columns])
    matrix = np.stack(columns, axis=1) / scales / (time * share)[:, None]
    solved = nnls(matrix, 1 / share)[0] / scales
    values = [float(value) for value in solved]
    return values[0], values[1], values[2] if bends else 0.0


def _rate(law: tuple[float, float, float], n: _Array) -> _Array:
    fixed, shared, each_other = law
    return np.asarray(n / np.maximum(fixed + shared * n + each_other * n * (n - 1), 1e-12))


def _chi2(law: tuple[float, float, float], n: _Array, x: _Array, share: _Array) -> float:
    return float(np.sum(((x / _rate(law, n) - 1) / share) ** 2))


def _knee(law: tuple[float, float, float]) -> float:
    fixed, _shared, each_other = law
    return math.sqrt(fixed / each_other) if each_other > 0 else math.inf


def _interval(
    law: tuple[float, float, float], n: _Array, share: _Array
) -> tuple[float, float | None]:
    """The knee's 95 % interval, from curves drawn anew with the noise of the points.

    The seed is fixed: the same campaign has the same report. No upper end if more than one
    curve in forty has no knee at all.
    """
    draw = np.random.default_rng(6)
    fitted = _rate(law, n)
    knees = []
    for _again in range(_RESAMPLES):
        rates = fitted * np.maximum(1 + share * draw.standard_normal(len(n)), 0.01)
        knees.append(_knee(_solve(n, rates, share)))
    knees.sort()
    low, high = knees[_RESAMPLES // 40], knees[-1 - _RESAMPLES // 40]
    return low, high if math.isfinite(high) else None


def line(entries: Sequence[float], times: Sequence[float]) -> Line | NoFit:
    """The straight line of response time (s) against directory size, by least squares."""
    sizes = len(set(entries))
    if sizes < LEAST_SIZES:
        return NoFit(f"too few points: {sizes} directory sizes, {LEAST_SIZES} are needed")
    x, y = np.array(entries, dtype=float), np.array(times, dtype=float)
    spread = float(np.sum((x - x.mean()) ** 2))
    each = float(np.sum((x - x.mean()) * (y - y.mean()))) / spread
    base = float(y.mean()) - each * float(x.mean())
    left = float(np.sum((y - base - each * x) ** 2))
    total = float(np.sum((y - y.mean()) ** 2))
    return Line(
        base=base,
        each=each,
        each_error=math.sqrt(left / max(len(x) - 2, 1) / spread),
        explained=max(0.0, 1 - left / total) if total > 0 else 1.0,
        sizes=sizes,
    )
