"""How far processing is behind, as ``status`` judges and shows it."""

from __future__ import annotations

from typing import Any

import pytest

from cloudlet_deploy.cli import _status_view
from cloudlet_deploy.run import prometheus
from cloudlet_deploy.run.findings import Level
from cloudlet_deploy.run.status import span
from tests.unit.test_status import NOW, judged, of, report, samples, width

__all__ = ["width"]  # a fixture


def watch(**more: Any) -> dict[str, Any]:
    """A directory whose processing keeps up, but for what ``more`` says."""
    at = NOW.timestamp()
    whole = {
        "name": "k3",
        "component": "data_watch",
        "limit": 180,
        "problem": "",
        "raw": {"path": "GridSquare_1/Data/m_9.tiff", "time": at - 5},
        "output": {"path": "m_8_dw.mrc", "time": at - 40},
        "movies": 9,
        "outputs": 8,
        "processed": 8,
        "waiting": 1,
        "skipped": 0,
        "lag": 5.0,
        "ahead": 0.0,
    }
    assert more.keys() <= whole.keys()
    return {**whole, **more}


AWAY = {"name": "k3", "component": "data_watch", "limit": 180, "problem": "/srv/k3 is not mounted"}


@pytest.mark.parametrize(
    ("entry", "level", "code", "words", "step"),
    [
        (watch(), Level.OK, 0, "", ""),
        (watch(lag=180.0), Level.OK, 0, "", ""),
        (watch(lag=180.1), Level.FAILED, 5, "1 movie waits for output, for 180 s (limit 180 s)",
         "what it waits for"),
        (watch(lag=8000.0, waiting=2), Level.FAILED, 5, "2 movies wait for output, for 2 h 13 min",
         "what it waits for"),
        (watch(lag=181.0, processed=0, output=None), Level.FAILED, 5, "; no output",
         "None of the 8 files of output has the name of a movie"),
        (watch(lag=181.0, processed=0, outputs=0, output=None), Level.FAILED, 5, "; no output",
         "what it waits for"),
        (watch(ahead=61.0), Level.WARNING, 0, "61 s in the future", "clock"),
        (watch(ahead=60.0), Level.OK, 0, "", ""),
        (AWAY, Level.FAILED, 5, "k3: /srv/k3 is not mounted", "mount"),
    ],
)  # fmt: skip
def test_each_finding_has_its_level(
    entry: dict[str, Any], level: Level, code: int, words: str, step: str
) -> None:
    found = judged(door=report(watches=[entry]))
    (host,) = found.hosts
    assert (host.level, found.exit_code, len(host.problems)) == (level, code, bool(words))
    for problem in host.problems:
        assert words in problem.detail
        assert step in problem.next_step


def test_movie_output_and_lag_are_shown_once_be_it_well_or_not(
    width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {
        "fine": watch(),
        "late": watch(lag=200.0, skipped=3),
        "idle": watch(waiting=0, lag=0.0, skipped=1),
        "empty": watch(movies=0, raw=None, output=None, waiting=0, lag=0.0),
        "away": AWAY,
    }
    shown = {}
    for name, entry in told.items():
        _status_view.show(judged(door=report(watches=[entry])))
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= width
        assert sum(line.startswith("  lag ") for line in lines) == 1
        shown[name] = " ".join(" ".join(lines).split())
    seen = "newest movie 5 s ago, GridSquare_1/Data/m_9.tiff; newest output 40 s ago, m_8_dw.mrc"
    assert f"k3: 1 movie waits for output, for 5 s (limit 180 s); {seen}" in shown["fine"]
    assert f"for 200 s (limit 180 s); {seen}; 3 older movies without output" in shown["late"]
    assert f"k3: nothing waits (limit 180 s); {seen}; 1 older movie without" in shown["idle"]
    assert "k3: no movie (limit 180 s)" in shown["empty"]
    assert "lag failed k3: /srv/k3 is not mounted" in shown["away"]


def test_json_and_prometheus_tell_it() -> None:
    found = judged(door=report(watches=[watch(), {**AWAY, "name": "talos"}]))
    (host,) = _status_view.as_data(found)["hosts"]
    assert host["watches"] == [watch(), {**AWAY, "name": "talos"}]
    told = samples(prometheus.text(found, "/srv/my-site"))
    assert of(told["cloudlet_watch_lag_seconds"]) == [5]
    assert of(told["cloudlet_watch_lag_seconds"], watch="k3", host="door.example.org") == [5]
    assert of(told["cloudlet_watch_readable"], watch="k3") == [1]
    assert of(told["cloudlet_watch_readable"], watch="talos") == [0]
    assert of(told["cloudlet_watch_limit_seconds"]) == [180, 180]
    assert of(told["cloudlet_watch_movies_waiting"]) == [1]
    assert of(told["cloudlet_watch_movies_skipped"]) == [0]
    assert of(told["cloudlet_watch_newest_movie_time_seconds"]) == [NOW.timestamp() - 5]
    assert of(told["cloudlet_watch_newest_output_time_seconds"]) == [NOW.timestamp() - 40]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"), (599, "599 s"), (600, "10 min"), (7100, "118 min"), (7200, "2 h 0 min"),
        (90_000, "25 h 0 min"),
    ],
)  # fmt: skip
def test_spans_are_told_in_the_unit_that_matters(seconds: float, words: str) -> None:
    assert span(seconds) == words
