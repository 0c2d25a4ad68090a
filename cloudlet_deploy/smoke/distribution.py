"""What a histogram of response times says: mean, quantiles, spread. Pure; quick by numpy.

HdrHistogram's own Python walks through all 23,552 counters for each question.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cloudlet_deploy.smoke import histogram


@dataclass(frozen=True)
class Distribution:
    """Durations in seconds, ascending, each with how often it was seen."""

    #: The middle of each class, for the mean; and its upper end, for quantiles, so that a
    #: quantile is never told as less than it was.
    middles: NDArray[np.float64]
    ends: NDArray[np.float64]
    counts: NDArray[np.int64]

    @property
    def count(self) -> int:
        """How many durations there are."""
        return int(self.counts.sum())

    @property
    def mean(self) -> float:
        """Their mean in seconds; NaN if there are none."""
        return float(self.middles @ self.counts) / self.count if self.count else math.nan

    @property
    def deviation(self) -> float:
        """Their standard deviation in seconds; NaN if there are fewer than two."""
        if self.count < 2:
            return math.nan
        squares = float(((self.middles - self.mean) ** 2) @ self.counts)
        return math.sqrt(squares / (self.count - 1))

    @property
    def largest(self) -> float:
        """The longest in seconds; NaN if there are none."""
        return float(self.ends[-1]) if self.count else math.nan

    def quantile(self, share: float) -> float:
        """The shortest duration that at least ``share`` (0 to 1) of all do not exceed."""
        if not self.count:
            return math.nan
        rank = max(1, math.ceil(round(share * self.count, 6)))
        found = int(np.searchsorted(np.cumsum(self.counts), min(rank, self.count)))
        return float(self.ends[found])


def of(encoded: str) -> Distribution:
    """The distribution of a histogram of microseconds in its portable form."""
    whole = histogram.decoded(encoded)
    counters = np.frombuffer(whole.counts, dtype=np.uint64).astype(np.int64)
    used = np.flatnonzero(counters)
    # HdrHistogram's layout: buckets of doubling width, each with half of the sub-buckets
    # but the first, which has them all.
    half = whole.sub_bucket_half_count
    bucket = (used >> whole.sub_bucket_half_count_magnitude) - 1
    inside = (used & (half - 1)) + np.where(bucket < 0, 0, half)
    shift = np.maximum(bucket, 0) + whole.unit_magnitude
    low = inside << shift
    width = np.left_shift(1, shift)
    return Distribution(
        middles=(low + (width - 1) / 2) / 1e6,
        ends=(low + width - 1) / 1e6,
        counts=counters[used],
    )
