"""A campaign as JSON, to be kept and compared with later, and as CSV for other tools.

What is read is checked against the dataclasses themselves, value by value, so that a broken
file is told by the place where it is broken and nothing half-read goes on.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from cloudlet_deploy.errors import CheckFailedError
from cloudlet_deploy.smoke import histogram
from cloudlet_deploy.smoke.analysis import Analysis, PointResult
from cloudlet_deploy.smoke.types import Campaign, Failure, Measured

SCHEMA = 1

#: More than a thousand points come to; a longer file is none of ours.
_LARGEST_BYTES = 200_000_000
_HISTOGRAMS = ("total", "connect", "authentication", "operation")


class _Broken(ValueError):
    """What is wrong and where, in words."""


def to_dict(campaign: Campaign) -> dict[str, Any]:
    """The JSON form, with its schema number."""
    return {"schema": SCHEMA, "campaign": asdict(campaign)}


def dumps(campaign: Campaign) -> str:
    """The JSON text; ASCII, so that no name of a server's can break the file."""
    return json.dumps(to_dict(campaign), indent=1, allow_nan=False) + "\n"


def loads(text: str, where: str) -> Campaign:
    """The campaign of a JSON text that is called ``where``.

    Raises CheckFailedError if it is broken, or of a newer schema.
    """
    try:
        document = json.loads(text)
        schema = document["schema"] if isinstance(document, dict) else None
        if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
            raise _Broken("it has no schema number")
        if schema > SCHEMA:
            raise CheckFailedError(
                f"{where} has schema {schema}, this release knows up to {SCHEMA}.",
                next_step="Use the newer release that wrote it.",
            )
        campaign = _read(Campaign, document.get("campaign"), "campaign")
        assert isinstance(campaign, Campaign)
        _check(campaign)
    except (ValueError, KeyError, OverflowError, RecursionError) as error:
        said = f"no {error}" if isinstance(error, KeyError) else str(error) or "it nests too deep"
        raise CheckFailedError(
            f"{where} is no campaign of a scaling test: {said}",
            next_step="Name the campaign.json that 'cloudlet-deploy smoke' wrote.",
        ) from error
    return campaign


def load(path: Path) -> Campaign:
    """The campaign in a file.

    Raises CheckFailedError if it cannot be read, is broken, or is of a newer schema.
    """
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise ValueError("it is far too long")
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise CheckFailedError(
            f"{path} cannot be read: {said}",
            next_step="Name the campaign.json that 'cloudlet-deploy smoke' wrote.",
        ) from error
    return loads(text, str(path))


def measured(values: Mapping[str, Any]) -> Measured:
    """A point as the engine tells it. Raises ValueError for one that is broken."""
    found = _read(Measured, values, "measured")
    assert isinstance(found, Measured)
    return found


def _check(campaign: Campaign) -> None:
    """What types do not say."""
    for index, measured in enumerate(campaign.points):
        for name in _HISTOGRAMS:
            try:
                histogram.decoded(getattr(measured, name))
            except Exception as error:  # hdrh, zlib, base64 and ctypes each have their own
                raise _Broken(f"campaign.points[{index}].{name} is no histogram") from error
        counts = (measured.successes, *measured.failures.values(), *measured.per_second)
        if min(counts) < 0 or measured.achieved < 0 or measured.window < 0:
            raise _Broken(f"campaign.points[{index}] has a negative number")


def _read(kind: Any, value: Any, where: str) -> Any:
    """``value`` as ``kind``. Keys that are not known are left out: they are a later release's."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        if value is None and NoneType in inner:
            return None
        return _read(next(one for one in inner if one is not NoneType), value, where)
    if is_dataclass(kind):
        return _read_object(kind, value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise _Broken(f"{where} is not a list")
        return tuple(_read(inner[0], one, f"{where}[{at}]") for at, one in enumerate(value))
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise _Broken(f"{where} is not an object")
        return {key: _read(inner[1], one, f"{where}.{key}") for key, one in value.items()}
    return _read_plain(kind, value, where)


def _read_object(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise _Broken(f"{where} is not an object")
    hints = get_type_hints(kind)
    found = {}
    for one in fields(kind):
        if one.name in value:
            found[one.name] = _read(hints[one.name], value[one.name], f"{where}.{one.name}")
        elif one.default is MISSING and one.default_factory is MISSING:
            raise _Broken(f"{where}.{one.name} is missing")
    return kind(**found)


def _read_plain(kind: Any, value: Any, where: str) -> Any:
    if isinstance(kind, type) and issubclass(kind, Enum):
        try:
            return kind(value)
        except ValueError as error:
            raise _Broken(f"{where} is {value!r:.40}, which is not known") from error
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise _Broken(f"{where} is not a number")
        return value
    if type(value) is not kind:
        raise _Broken(f"{where} is not of type {kind.__name__}")
    return value


#: Columns of the CSV, a row for each point. Times in seconds, rates in Hz, shares from 0 to 1.
_CSV = (
    *("number", "kind", "entries", "clients", "achieved", "overload", "keep_alive", "think_s"),
    *("window_s", "successes", "rate_hz", "rate_error_hz", "error_share"),
    *("mean_s", "mean_error_s", "p50_s", "p95_s", "p95_low_s", "p95_high_s", "p99_s", "max_s"),
    *("connect_mean_s", "authentication_mean_s", "operation_mean_s"),
    *("clients_by_rate_s", "time_and_think_s", "generator_process", "generator_machine"),
    *("generator_bound", "incomplete"),
)


def csv_text(analysis: Analysis) -> str:
    """One row for each point; a column for each error class. Empty where there is no value.

    ``rate_error_hz`` and ``mean_error_s`` are standard errors; ``p95_low_s`` and ``p95_high_s``
    the 95 % interval of the 95th percentile.
    """
    classes = [f"failures_{one.value}" for one in Failure]
    known = {one.value for one in Failure}
    more = {f"failures_{name}" for one in analysis.points for name in one.failures} - set(classes)
    stream = io.StringIO()
    writer = csv.DictWriter(
        stream, [*_CSV, *classes, *sorted(more)], restval="", lineterminator="\n"
    )
    writer.writeheader()
    for one in analysis.points:
        row = dict.fromkeys((f"failures_{name}" for name in known), 0) | _row(one)
        writer.writerow({key: _cell(value) for key, value in row.items()})
    return stream.getvalue()


def _row(one: PointResult) -> dict[str, object]:
    point, measured, times, loop = one.point, one.measured, one.times, one.loop
    busiest = max(measured.generators, key=lambda load: load.process, default=None)
    row: dict[str, object] = {
        "number": point.number,
        "kind": point.kind.value,
        "entries": point.entries,
        "clients": point.clients,
        "achieved": one.achieved,
        "overload": int(point.overload),
        "keep_alive": int(point.keep_alive),
        "think_s": point.think,
        "window_s": measured.window,
        "successes": measured.successes,
        "rate_hz": one.rate,
        "rate_error_hz": one.rate_estimate.error if one.rate_estimate else None,
        "error_share": one.error_share,
        "connect_mean_s": one.connect,
        "authentication_mean_s": one.authentication,
        "operation_mean_s": one.operation,
        "generator_process": busiest.process if busiest else None,
        "generator_machine": max((load.machine for load in measured.generators), default=None),
        "generator_bound": int(one.generator_bound),
        "incomplete": measured.incomplete,
    }
    if times is not None:
        row |= {"mean_s": times.mean, "mean_error_s": times.mean_error, "max_s": times.largest}
        row |= {"p50_s": times.p50, "p95_s": times.p95, "p99_s": times.p99}
        row |= {"p95_low_s": times.p95_low, "p95_high_s": times.p95_high}
    if loop is not None:
        row |= {"clients_by_rate_s": loop.cycle, "time_and_think_s": loop.measured}
    return row | {f"failures_{name}": number for name, number in one.failures.items()}


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    # A spreadsheet would run a text that begins like a formula.
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value
