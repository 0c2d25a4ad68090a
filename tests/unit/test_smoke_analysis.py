"""The figures of a point are those that its operations give, and what is doubtful is said."""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudlet_deploy.smoke import distribution, fits
from cloudlet_deploy.smoke.analysis import analyse, rate_estimate, result
from cloudlet_deploy.smoke.types import Failure, GeneratorLoad, Kind, Measured
from tests.unit.smoke_campaigns import (
    PAPER_DOOR,
    Door,
    campaign,
    encoded,
    full,
    point,
    quick,
    simulate,
)

_MANY = settings(max_examples=40, deadline=None)


def measured(times: list[float], **changes: object) -> Measured:
    """A window of 20 s in which operations of these seconds succeeded."""
    length = len(times)
    seconds = tuple(length // 20 + (at < length % 20) for at in range(20))
    plain = replace(
        simulate(replace(point(8), warm_up=1.0, window=20.0), Door()),
        successes=length, failures={}, examples={}, per_second=seconds,
        total=encoded(times), connect=encoded(0.001 for _ in times),
        authentication=encoded(0.002 for _ in times), operation=encoded(0.003 for _ in times),
    )  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]


@_MANY
@given(st.lists(st.floats(1e-5, 3000), min_size=1, max_size=200))
def test_a_distribution_is_that_of_the_plain_numbers(times: list[float]) -> None:
    found, ordered = distribution.of(encoded(times)), sorted(times)
    assert found.count == len(times)
    assert found.mean == pytest.approx(statistics.fmean(times), rel=0.002)
    assert found.largest == pytest.approx(max(times), rel=0.002, abs=2e-6)
    for share in (0.0, 0.5, 0.95, 0.99, 1.0):
        exact = ordered[max(1, math.ceil(round(share * len(times), 6))) - 1]
        assert found.quantile(share) == pytest.approx(exact, rel=0.002, abs=2e-6)
    if len(times) > 1:
        spread = statistics.stdev(times)
        assert found.deviation == pytest.approx(spread, rel=0.01, abs=0.002 * max(times))


def test_an_empty_distribution_has_no_numbers() -> None:
    empty = distribution.of(encoded([]))
    assert empty.count == 0
    assert all(math.isnan(one) for one in (empty.mean, empty.largest, empty.quantile(0.5)))


def test_a_point_has_its_rate_times_and_parts() -> None:
    one = result(measured([0.1 * number for number in range(1, 101)]))
    assert one.rate == 5
    assert one.times is not None
    assert one.times.p50 == pytest.approx(5.0, rel=0.002)
    assert one.times.p95 == pytest.approx(9.5, rel=0.002)
    assert one.times.p99 == pytest.approx(9.9, rel=0.002)
    assert one.times.largest == pytest.approx(10, rel=0.002)
    assert one.times.mean == pytest.approx(5.05, rel=0.002)
    parts = (one.connect, one.authentication, one.operation)
    assert parts == pytest.approx((0.001, 0.002, 0.003), rel=0.002)
    assert (one.offered, one.achieved, one.error_share, one.failures) == (8, 8, 0, {})


def test_failures_are_counted_the_most_frequent_first() -> None:
    failures = {Failure.REFUSED: 2, Failure.RESET: 20, Failure.BUSY: 0}
    one = result(measured([1.0] * 78, failures=failures))
    assert list(one.failures.items()) == [("reset", 20), ("refused", 2)]
    assert one.error_share == pytest.approx(0.22)
    assert one.loop is None, "failures take time too, which is not known"
    assert not one.scales


def test_a_point_without_success_says_so_and_has_no_times() -> None:
    one = result(measured([], failures={Failure.TIMEOUT: 5}))
    assert (one.rate, one.times, one.connect, one.error_share) == (0, None, None, 1)
    assert "Nothing succeeded in the window." in one.cautions
    nothing = result(measured([], window=0.0, per_second=()))
    assert (nothing.rate, nothing.error_share, nothing.rate_estimate) == (0, 0, None)


@pytest.mark.parametrize("door", [Door(), PAPER_DOOR, Door(crosstalk=0.001)])
@pytest.mark.parametrize("think", [0.0, 3.0])
def test_the_law_of_the_closed_loop_holds_for_a_closed_loop(door: Door, think: float) -> None:
    what = replace(point(200), think=think, warm_up=60.0, window=200.0)
    one = result(simulate(what, door))
    assert one.loop is not None
    assert one.loop.gap == pytest.approx(0, abs=0.05)
    assert not one.cautions


def test_clients_that_did_nothing_break_the_law_and_that_is_told() -> None:
    whole = simulate(replace(point(200), warm_up=10.0), Door())
    one = result(replace(whole, achieved=300))
    assert one.loop is not None and one.loop.gap > 0.4
    assert any(words.startswith("Clients / rate is") for words in one.cautions)


@pytest.mark.parametrize(
    ("process", "machine", "busy"),
    [(0.85, 0.9, False), (0.86, 0.2, True), (0.2, 0.91, True), (0.0, 0.0, False)],
)
def test_a_busy_load_host_is_named(process: float, machine: float, busy: bool) -> None:
    loads = (GeneratorLoad("w1", "a", 0.1, 0.1), GeneratorLoad("w2", "load2", process, machine))
    one = result(measured([1.0] * 100, generators=loads))
    assert one.generator_bound is busy
    assert [load.name for load in one.busy] == (["w2"] if busy else [])
    assert any("load2" in words for words in one.cautions) is busy
    whole = analyse(campaign([one.measured]))
    assert any("load hosts (load2)" in words for words in whole.cautions) is busy


def test_own_limits_fewer_clients_and_short_windows_are_told() -> None:
    limit = result(measured([1.0] * 99, failures={Failure.OWN_LIMIT: 1}))
    assert limit.generator_bound
    assert any("limit of the load hosts" in words for words in limit.cautions)
    fewer = result(measured([1.0] * 100, achieved=5))
    assert any("Only 5 of 8 clients" in words for words in fewer.cautions)
    short = result(measured([19.0] * 5))
    assert any("window is shorter than a response" in words for words in short.cautions)
    brief = result(measured([1.0] * 12, window=3.0, per_second=(4, 4, 4)))
    assert brief.rate_estimate is None
    assert any("fewer than 5 whole seconds" in words for words in brief.cautions)


def test_an_incomplete_point_is_in_no_fit() -> None:
    points = [simulate(replace(point(n), number=n), Door()) for n in (10, 50, 100, 200)]
    assert isinstance(analyse(campaign(points)).curves[0].fit, fits.Usl)
    points[1] = replace(points[1], incomplete="a worker was lost")
    broken = analyse(campaign(points))
    assert isinstance(broken.curves[0].fit, fits.NoFit)
    assert any("incomplete" in words for words in broken.cautions)


def test_the_interval_of_a_rate_holds_the_true_rate_about_as_often_as_it_says() -> None:
    held = 0
    for seed in range(200):
        draw = random.Random(seed)
        seconds = tuple(sum(draw.random() < 0.05 for _client in range(400)) for _ in range(40))
        one = measured([1.0] * sum(seconds), window=40.0, per_second=seconds)
        estimate = rate_estimate(one)
        assert estimate is not None
        held += abs(estimate.value - 20) <= estimate.half
    assert 180 <= held <= 199


def test_seconds_that_come_in_waves_make_a_rate_less_sure() -> None:
    even = rate_estimate(measured([1.0] * 200, per_second=(10,) * 20))
    waves = rate_estimate(measured([1.0] * 200, per_second=(0, 0, 0, 40) * 5))
    assert even is not None and waves is not None
    assert even.error == 0
    assert waves.half > 1
    assert result(measured([1.0] * 200, per_second=(0, 0, 0, 40) * 5)).times is not None


def test_a_wavering_rate_leaves_fewer_independent_operations() -> None:
    draw = random.Random(3)
    times = [draw.expovariate(1) for _ in range(200)]
    steady = result(measured(times)).times
    waves = result(measured(times, per_second=(0, 0, 0, 40) * 5)).times
    assert steady is not None and waves is not None
    assert steady.effective == pytest.approx(200)
    assert waves.effective < 150
    assert waves.p95_low is not None and waves.p95_high is not None
    assert waves.p95_low <= waves.p95 <= waves.p95_high
    assert steady.p95_low is not None and waves.p95_low <= steady.p95_low


def test_curves_go_over_clients_and_over_entries() -> None:
    said = analyse(full())
    assert [(one.kind.value, one.entries, len(one.points)) for one in said.curves] == [
        *(("ls", 10, 9), ("ls", 100, 4), ("ls", 200, 4), ("ls", 1000, 4)),
        *(("mlsc", 10, 4), ("mlsc", 100, 4), ("mlsc", 1000, 4), ("ping", 0, 4)),
    ]
    assert [(one.kind.value, one.clients) for one in said.size_curves] == [
        *(("ls", 25), ("ls", 50), ("ls", 100), ("ls", 200)),
        *(("mlsc", 5), ("mlsc", 10), ("mlsc", 20), ("mlsc", 40)),
    ]
    small = said.curves[0].fit
    assert isinstance(small, fits.Usl)
    assert small.most == 1000, "the overload is in no fit"
    for curve in said.size_curves:
        assert isinstance(curve.fit, fits.Line) and curve.fit.explained > 0.99
    best = said.best()
    assert best is not None and best.offered == 50


def test_one_way_to_use_the_door_is_one_curve() -> None:
    new, kept = point(50), replace(point(50), keep_alive=True)
    said = analyse(campaign([simulate(one, Door()) for one in (new, kept)]))
    assert [len(one.points) for one in said.curves] == [1, 1]


def test_the_quick_profile_claims_no_knee_and_has_its_line() -> None:
    said = analyse(quick())
    assert all(isinstance(one.fit, fits.NoFit) for one in said.curves)
    (line,) = (one.fit for one in said.size_curves)
    assert isinstance(line, fits.Line)
    assert line.each == pytest.approx(0.0045, rel=0.2)


def test_the_papers_door_gives_the_papers_line() -> None:
    wanted = [replace(point(n), warm_up=100.0, window=200.0) for n in (200, 500, 1000, 2000)]
    said = analyse(campaign([simulate(one, PAPER_DOOR) for one in wanted]))
    for one in said.points:
        assert one.rate == pytest.approx(one.offered / 40, rel=0.05)
    law = said.curves[0].fit
    assert isinstance(law, fits.Usl) and law.shape is fits.Shape.RISES


def test_an_empty_campaign_says_nothing() -> None:
    said = analyse(campaign([]))
    assert (said.points, said.curves, said.size_curves, said.cautions) == ((), (), (), ())
    assert said.best(Kind.MLSC) is None
