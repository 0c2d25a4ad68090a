"""``runs``: what earlier runs did."""

from __future__ import annotations

import click


@click.group("runs")
def command() -> None:
    """Show what earlier runs did."""
