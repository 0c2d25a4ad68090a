"""Numbers with their units, as a person reads them. Pure."""

from __future__ import annotations

import math
import re

#: Control and direction marks: a server's text must not act on a terminal or turn a line round.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
#: What stands where there is no number.
NONE = "\N{EN DASH}"


def duration(seconds: float | None) -> str:
    """Three significant digits, in ms below a second."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    if abs(seconds) < 0.9995:
        return f"{_three(seconds * 1000)} ms"
    return f"{_three(seconds)} s"


def hertz(rate: float) -> str:
    """A rate in Hz."""
    return f"{_three(rate)} Hz"


def megabits(rate: float) -> str:
    """A rate in Mb/s, of a network."""
    return f"{_three(rate)} Mb/s"


def megabytes(rate: float) -> str:
    """A rate in MB/s, of a file system."""
    return f"{_three(rate)} MB/s"


def share(value: float) -> str:
    """A share from 0 to 1 in percent; one that is not zero is never written as zero."""
    if 0 < value < 0.0001:
        return "<0.01 %"
    # All and nearly all are different things.
    percent = min(value * 100, 99.99) if value < 1 else value * 100
    digits = 2 if 0 < percent < 1 or 99 < percent < 100 else 1
    return f"{percent:.{digits}f}".rstrip("0").rstrip(".") + " %"


def change(value: float) -> str:
    """A change as a signed share: ``+12.3 %``."""
    return f"{value * 100:+,.1f} %".replace("-", "\N{MINUS SIGN}")


def count(number: int) -> str:
    """A whole number with its thousands apart."""
    return f"{number:,}"


def clean(text: str, longest: int = 400) -> str:
    """Text of a server, fit to be shown: nothing that acts, and not without end."""
    seen = _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", text[: longest + 1])
    return seen if len(text) <= longest else seen[:longest] + "…"


def _three(value: float) -> str:
    if not math.isfinite(value):
        return NONE
    if value == 0:
        return "0"
    if abs(value) < 1000:
        value = float(f"{value:.3g}")  # so that 0.9999 has the digits of 1.00
    digits = max(0, 2 - math.floor(math.log10(abs(value)) + 1e-9))
    return f"{value:,.{min(digits, 6)}f}"
