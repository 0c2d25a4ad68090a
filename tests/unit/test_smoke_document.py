"""A campaign survives its file, its schema is the published one, and broken files are told."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudlet_deploy import content
from cloudlet_deploy.errors import CheckFailedError
from cloudlet_deploy.smoke import document, types
from cloudlet_deploy.smoke.analysis import analyse
from cloudlet_deploy.smoke.types import Campaign, Failure, Recovery, Thresholds
from tests.unit.smoke_campaigns import campaign, full, quick

SCHEMA = json.loads(
    (Path(content.root()) / "docs" / "reference" / "smoke.schema.json").read_text(encoding="utf-8")
)
_QUICK = quick()
_TEXT = st.text(max_size=30)
_AMOUNT = st.floats(0, 1e6, allow_nan=False)


@st.composite
def campaigns(draw: st.DrawFn) -> Campaign:
    """Campaigns with any text, also what no server should send."""
    points = draw(st.lists(st.sampled_from(_QUICK.points), max_size=3))
    shifted = [
        replace(
            one,
            achieved=draw(st.integers(0, 10_000)),
            failures=draw(st.dictionaries(st.sampled_from(list(Failure)), st.integers(0, 10**9))),
            examples=draw(st.dictionaries(_TEXT, _TEXT, max_size=3)),
            per_second=tuple(draw(st.lists(st.integers(0, 10**6), max_size=5))),
            incomplete=draw(_TEXT),
        )
        for one in points
    ]
    recovery = draw(
        st.none() | st.builds(Recovery, st.none() | _AMOUNT, _AMOUNT, st.integers(0, 99), _TEXT)
    )
    wanted = draw(st.builds(Thresholds, *[st.none() | _AMOUNT] * 2, st.none() | st.floats(0, 1)))
    return replace(campaign(shifted, wanted, recovery), site=draw(_TEXT), remarks=(draw(_TEXT),))


@settings(max_examples=60, deadline=None)
@given(campaigns())
def test_a_campaign_survives_its_file(given_one: Campaign) -> None:
    text = document.dumps(given_one)
    assert text.isascii()
    assert document.loads(text, "x") == given_one
    jsonschema.validate(json.loads(text), SCHEMA)
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("campaign", types.Campaign),
        ("endpoint", types.Endpoint),
        ("point", types.Point),
        ("measured", types.Measured),
        ("generator", types.GeneratorLoad),
        ("recovery", types.Recovery),
        ("thresholds", types.Thresholds),
        ("setting", types.SettingInForce),
        ("host", types.HostFacts),
    ],
)
def test_the_schema_names_every_field(name: str, kind: Any) -> None:
    assert set(SCHEMA["$defs"][name]["properties"]) == {one.name for one in fields(kind)}


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "campaign.json"
    path.write_text(document.dumps(_QUICK), encoding="utf-8")
    assert document.load(path) == _QUICK


def _broken(change: Any) -> str:
    whole = document.to_dict(_QUICK)
    whole = json.loads(json.dumps(whole))
    change(whole["campaign"])
    return json.dumps(whole)


def _set(key: str, value: Any, at: str = "") -> Any:
    def change(inside: dict[str, Any]) -> None:
        place: Any = inside["points"][2] if at == "measured" else inside
        place = place["point"] if at == "point" else place
        place[key] = value

    return change


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no campaign"),
        ("[]", "no schema number"),
        ('{"schema": true}', "no schema number"),
        ('{"schema": 1}', "campaign is not an object"),
        ("[" * 100_000, "no campaign"),
        (_broken(lambda inside: inside.pop("points")), "campaign.points is missing"),
        (_broken(_set("points", {})), "campaign.points is not a list"),
        (_broken(_set("achieved", "7", "measured")), "points[2].achieved is not of type int"),
        (_broken(_set("achieved", True, "measured")), "points[2].achieved is not of type int"),
        (_broken(_set("achieved", -1, "measured")), "points[2] has a negative number"),
        (_broken(_set("successes", -1, "measured")), "points[2] has a negative number"),
        (_broken(_set("total", "HISTFA", "measured")), "points[2].total is no histogram"),
        (_broken(_set("failures", [], "measured")), "points[2].failures is not an object"),
        (_broken(_set("window", float("nan"), "measured")), "points[2].window is not a number"),
        (_broken(_set("window", 10**400, "measured")), "no campaign"),
        (_broken(lambda c: c["points"][2]["point"].update(kind="rm")), "point.kind is 'rm'"),
    ],
)
def test_a_broken_file_is_told_by_name_and_place(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CheckFailedError) as caught:
        document.load(path)
    assert str(path) in caught.value.message
    assert said in caught.value.message
    assert "cloudlet-deploy smoke" in caught.value.next_step


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "campaign.json"
    path.write_text('{"schema": 2, "anything": []}', encoding="utf-8")
    with pytest.raises(CheckFailedError, match=r"campaign\.json has schema 2.*knows up to 1") as e:
        document.load(path)
    assert "newer release" in e.value.next_step


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing.json"):
        with pytest.raises(CheckFailedError, match="cannot be read"):
            document.load(path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CheckFailedError, match="cannot be read"):
        document.load(tmp_path / "binary")


def test_keys_of_later_releases_are_left_out() -> None:
    assert document.loads(_broken(_set("weather", "fine")), "x") == _QUICK


def test_the_csv_has_a_row_for_each_point() -> None:
    whole = full()
    rows = list(csv.DictReader(io.StringIO(document.csv_text(analyse(whole)))))
    assert len(rows) == len(whole.points)
    first, last = rows[0], rows[-1]
    assert (first["kind"], first["clients"], first["entries"]) == ("ls", "10", "10")
    assert float(first["rate_hz"]) == pytest.approx(whole.points[0].successes / 60, rel=1e-4)
    assert float(first["p95_low_s"]) <= float(first["p95_s"]) <= float(first["p95_high_s"])
    assert (last["overload"], int(last["failures_refused"]) > 0) == ("1", True)
    assert all(f"failures_{one.value}" in first for one in Failure)


def test_a_spreadsheet_runs_nothing_of_the_csv() -> None:
    evil = replace(_QUICK.points[0], incomplete="=cmd|' /C calc'!A0", failures={"new": 3})
    (row,) = csv.DictReader(io.StringIO(document.csv_text(analyse(campaign([evil])))))
    assert row["incomplete"].startswith("'=cmd")
    assert row["failures_new"] == "3"
