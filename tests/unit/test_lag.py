"""How far processing is behind, over directories as instruments and pipelines fill them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import in_time, lag

NOW = 1_800_000_000.0


class Session:
    """A directory of movies and one of output; ages in seconds."""

    def __init__(self, path: Path) -> None:
        self.raw, self.output = path / "raw", path / "out"
        self.raw.mkdir()
        self.output.mkdir()
        self.raw_pattern, self.output_pattern = "*.tiff", "*_dw.mrc"
        self.mounts: list[str] = []

    def movie(self, name: str, age: float) -> None:
        self._file(self.raw / name, age)

    def made(self, name: str, age: float) -> None:
        self._file(self.output / name, age)

    def _file(self, path: Path, age: float) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (NOW - age, NOW - age))

    def look(self, patience: float = 20) -> dict[str, Any]:
        watch = {
            "name": "k3", "component": "data_watch", "limit": 180,
            "raw": str(self.raw), "raw_pattern": self.raw_pattern,
            "output": str(self.output), "output_pattern": self.output_pattern,
            "mounts": self.mounts,
        }  # fmt: skip
        (found,) = lag.look([watch], patience, now=lambda: NOW)
        assert isinstance(found, dict)
        return found


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(tmp_path)


def counts(found: dict[str, Any]) -> dict[str, Any]:
    keys = ("movies", "processed", "waiting", "skipped", "lag")
    return {key: found[key] for key in keys}


def test_without_a_movie_nothing_lags(session: Session) -> None:
    found = session.look()
    assert counts(found) == dict.fromkeys(("movies", "processed", "waiting", "skipped"), 0) | {
        "lag": 0.0
    }
    assert found["raw"] is found["output"] is None


def test_an_instrument_at_rest_has_no_lag(session: Session) -> None:
    for at in range(3):
        session.movie(f"m_{at}.tiff", 90_000 - at)
        session.made(f"m_{at}_dw.mrc", 89_000 - at)
    found = session.look()
    assert counts(found)["lag"] == 0.0
    assert found["raw"] == {"path": "m_2.tiff", "time": NOW - 89_998}
    assert found["output"] == {"path": "m_2_dw.mrc", "time": NOW - 88_998}


def test_the_lag_is_the_age_of_the_oldest_movie_since_the_last_processed_one(
    session: Session,
) -> None:
    for at, age in enumerate((500, 400, 300, 200, 100)):
        session.movie(f"m_{at}.tiff", age)
    session.made("m_0_dw.mrc", 250)
    # The second was passed over. Output that came late does not make its movie newer.
    session.made("m_2_dw.mrc", 1)
    found = session.look()
    assert counts(found) == {
        "movies": 5, "processed": 2, "waiting": 2, "skipped": 1, "lag": 200.0
    }  # fmt: skip
    assert found["output"]["path"] == "m_2_dw.mrc"


def test_where_nothing_was_ever_processed_the_oldest_movie_waits(session: Session) -> None:
    session.movie("a.tiff", 4000)
    session.movie("b.tiff", 10)
    session.made("other_dw.mrc", 5)
    found = session.look()
    assert (found["lag"], found["waiting"], found["outputs"], found["output"]) == (4000, 2, 1, None)


@pytest.mark.parametrize(
    ("output", "movie"),
    [
        ("000123_m_1_patch_dw.mrc", "m_1"),
        ("m_10_dw.mrc", None),  # a number that only begins with the movie's
        ("m_1_extra_dw.mrc", "m_1_extra"),  # the longer name wins
        ("21m_1_dw.mrc", "m_1"),
        ("m_1.mrc", None),  # no output by its pattern
        (".m_1_dw.mrc", None),  # being written
    ],
)
def test_output_belongs_to_the_movie_that_it_names(
    session: Session, output: str, movie: str | None
) -> None:
    session.movie("m_1_extra.tiff", 60)
    session.movie("m_1.tiff", 50)
    session.made(output, 1)
    found = session.look()
    expected = {None: (0, 2, 0), "m_1_extra": (1, 1, 0), "m_1": (1, 0, 1)}[movie]
    assert (found["processed"], found["waiting"], found["skipped"]) == expected


def test_patterns_reach_into_directories(session: Session) -> None:
    session.raw_pattern = "GridSquare_*/Data/*.tiff"
    session.movie("GridSquare_1/Data/a.tiff", 60)
    session.movie("GridSquare_2/Data/b.tiff", 30)
    session.movie("GridSquare_2/Other/c.tiff", 10)
    session.movie("d.tiff", 10)
    found = session.look()
    assert (found["movies"], found["raw"]["path"]) == (2, "GridSquare_2/Data/b.tiff")


def test_movies_and_output_may_share_a_directory(session: Session) -> None:
    session.output, session.raw_pattern = session.raw, "*.mrc"
    session.movie("a.mrc", 60)
    session.movie("a_dw.mrc", 30)
    assert counts(session.look()) == {
        "movies": 1, "processed": 1, "waiting": 0, "skipped": 0, "lag": 0.0
    }  # fmt: skip


def test_a_clock_that_is_ahead_is_told_and_is_no_lag(session: Session) -> None:
    session.movie("a.tiff", -90)
    found = session.look()
    assert (found["lag"], found["ahead"]) == (0.0, 90.0)


@pytest.mark.parametrize("gone", ["raw", "output"])
def test_a_directory_that_is_missing_is_named(session: Session, gone: str) -> None:
    path: Path = getattr(session, gone)
    path.rmdir()
    assert session.look()["problem"] == f"{path}: No such file or directory"


def test_an_empty_mount_point_is_not_taken_for_rest(session: Session) -> None:
    session.mounts = [str(session.raw.parent), "/elsewhere"]
    found = session.look()
    assert found["problem"] == f"{session.raw.parent} is not mounted"
    session.mounts = ["/elsewhere", str(session.raw) + "-2", str(session.raw)[:-1]]
    assert session.look()["problem"] == ""


def test_a_directory_that_hangs_holds_up_nobody(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    def hanging(path: str) -> Any:
        if path == str(session.raw):
            time.sleep(60)
        return real(path)

    monkeypatch.setattr(lag.os, "scandir", hanging)
    begun = time.monotonic()
    assert "no answer within 0.5 s" in session.look(0.5)["problem"]
    assert time.monotonic() - begun < 10
    assert not list(children())


def children() -> Iterator[int]:
    """Processes that this one has begun and that are still there."""
    for path in Path("/proc/self/task").glob("*/children"):
        yield from map(int, path.read_text().split())


def test_tasks_run_side_by_side_and_keep_their_order() -> None:
    begun = time.monotonic()

    def slow() -> int:
        time.sleep(1)
        return os.getpid()

    def refused() -> None:
        raise PermissionError(13, "Permission denied", "/secret")

    def broken() -> None:
        raise KeyError("x")

    first, second, third, fourth, fifth = in_time.each(
        [slow, slow, refused, broken, lambda: "x" * 300_000], 20
    )
    assert time.monotonic() - begun < 1.9
    assert os.getpid() != first.told != second.told
    assert third == in_time.Outcome(None, "/secret: Permission denied")
    assert fourth.problem == "KeyError: 'x'"
    assert fifth.told == "x" * 300_000
    assert in_time.one(lambda: os._exit(1), 5).problem == "it ended without an answer"
