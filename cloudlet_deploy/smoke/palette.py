"""The colours of reports and their figures."""

from __future__ import annotations

#: Colours by their role in a page's style sheet: what they are in files, and on a dark page.
#: The series are Okabe and Ito's, which colour-blind people tell apart, in an order that keeps
#: neighbours apart; each has a marker of its own as well.
PALETTE: dict[str, tuple[str, str]] = {
    "card": ("#fefefe", "#171b21"),
    "ink": ("#1b1f24", "#e4e7eb"),
    "soft": ("#59636e", "#9aa4af"),
    "grid": ("#dde1e6", "#2c333c"),
    "series-1": ("#0071b1", "#5ab4f0"),
    "series-2": ("#c8560b", "#f08a4b"),
    "series-3": ("#00815d", "#35c79b"),
    "series-4": ("#b0558c", "#e39ac7"),
    "series-5": ("#8a6a00", "#e0b93c"),
    "series-6": ("#4a4f9e", "#a7acf5"),
}
