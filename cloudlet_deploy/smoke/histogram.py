"""Response times in HDR histograms: exact to three digits from 1 µs to an hour.

Locust rounds what it records, so these are our own; they travel in HdrHistogram's encoding.
"""

from __future__ import annotations

from collections.abc import Iterable

from hdrh.histogram import HdrHistogram

_LOWEST_US, _HIGHEST_US, _DIGITS = 1, 3_600_000_000, 3


def new() -> HdrHistogram:
    """An empty histogram of microseconds."""
    return HdrHistogram(_LOWEST_US, _HIGHEST_US, _DIGITS)


def record(histogram: HdrHistogram, seconds: float) -> None:
    """Count one duration; what lies outside the range counts as its nearest end."""
    histogram.record_value(min(max(round(seconds * 1e6), _LOWEST_US), _HIGHEST_US))


def encoded(histogram: HdrHistogram) -> str:
    """Its portable form."""
    return str(histogram.encode(), "ascii")


def decoded(text: str) -> HdrHistogram:
    """The histogram of a portable form."""
    return HdrHistogram.decode(text.encode("ascii"))


def merged(texts: Iterable[str]) -> str:
    """The sum of several, in portable form."""
    total = new()
    for text in texts:
        total.decode_and_add(text.encode("ascii"))
    return encoded(total)
