"""The report on hops and mounts: one HTML page that needs nothing else, with its data beside it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cloudlet_deploy.errors import RunFailedError
from cloudlet_deploy.smoke import cloudlet
from cloudlet_deploy.smoke.page import rendered
from cloudlet_deploy.smoke.put import put
from cloudlet_deploy.smoke.words import NONE, duration, megabits, megabytes


@dataclass(frozen=True)
class Paths:
    """What was written."""

    report: Path
    measurement: Path
    rates: Path


def write(directory: Path, seen: cloudlet.Measurement) -> Paths:
    """Write ``cloudlet.html``, ``cloudlet.json`` and ``cloudlet.csv`` into a directory.

    Raises RunFailedError if they cannot be written.
    """
    paths = Paths(*(directory / f"cloudlet.{kind}" for kind in ("html", "json", "csv")))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        put(paths.measurement, cloudlet.dumps(seen))
        put(paths.rates, cloudlet.csv_text(seen))
        put(paths.report, page(seen))
    except OSError as error:
        raise RunFailedError(
            f"The report cannot be written: {error}",
            next_step=f"Look at the space and the permissions of {directory}.",
        ) from error
    return paths


def page(seen: cloudlet.Measurement) -> str:
    """The HTML page."""
    findings = cloudlet.judge(seen)
    return rendered(
        "cloudlet.html.j2",
        {"duration": duration, "megabits": megabits, "megabytes": megabytes},
        seen=seen,
        findings=findings,
        held=all(one.held for one in findings),
        began=f"{datetime.fromtimestamp(seen.began, UTC):%Y-%m-%d %H:%M UTC}",
        none_=NONE,
    )
