"""Laws that made the data are found again, and none is told where the data do not bear it."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudlet_deploy.smoke import fits
from cloudlet_deploy.smoke.fits import Line, NoFit, Shape, Usl

CLIENTS = [10.0, 50, 100, 200, 400, 800, 1200, 1600, 2000, 2500]
_MANY = settings(max_examples=60, deadline=None)


def usl_rate(n: float, single: float, contention: float, coherence: float) -> float:
    """The law written down apart from the code."""
    return single * n / (1 + contention * (n - 1) + coherence * n * (n - 1))


def fitted(
    single: float, contention: float, coherence: float, noise: float = 0.0, seed: int = 1
) -> Usl:
    draw = random.Random(seed)
    exact = [usl_rate(n, single, contention, coherence) for n in CLIENTS]
    rates = [x * max(0.05, draw.gauss(1, noise)) for x in exact]
    law = fits.usl(CLIENTS, rates, [max(noise, 0.01) * x for x in exact])
    assert isinstance(law, Usl)
    return law


@_MANY
@given(
    single=st.floats(0.01, 100),
    contention=st.floats(0.0, 0.2),
    knee=st.floats(150, 1500),
)
def test_a_law_without_noise_is_found_exactly(
    single: float, contention: float, knee: float
) -> None:
    coherence = (1 - contention) / knee**2
    peak = usl_rate(knee, single, contention, coherence)
    if usl_rate(2500, single, contention, coherence) > 0.9 * peak:
        return  # hardly falls: the data need not bear a knee
    law = fitted(single, contention, coherence)
    assert law.shape is Shape.KNEE
    assert law.knee == pytest.approx(knee, rel=0.01)
    assert law.peak == pytest.approx(peak, rel=0.01)
    assert law.single == pytest.approx(single, rel=0.02)
    assert law.contention == pytest.approx(contention, abs=0.005)
    assert law.coherence == pytest.approx(coherence, rel=0.02)


@pytest.mark.parametrize("seed", range(5))
def test_noise_of_three_percent_moves_the_knee_little(seed: int) -> None:
    knee = math.sqrt((1 - 0.02) / 1.5e-6)
    law = fitted(0.5, 0.02, 1.5e-6, noise=0.03, seed=seed)
    assert law.knee == pytest.approx(knee, rel=0.2)
    assert law.knee_low is not None and law.knee_high is not None
    assert law.knee_low < law.knee < law.knee_high < 2 * knee


def test_the_interval_of_the_knee_holds_the_true_one_most_of_the_time() -> None:
    knee = math.sqrt((1 - 0.02) / 1.5e-6)
    laws = [fitted(0.5, 0.02, 1.5e-6, noise=0.03, seed=seed) for seed in range(60)]
    held = [law.knee_low <= knee <= (law.knee_high or math.inf) for law in laws if law.knee_low]
    assert len(held) >= 54
    assert sum(held) >= 0.88 * len(held)


def test_a_curve_that_only_flattens_is_seldom_given_a_knee() -> None:
    laws = [fitted(0.5, 0.01, 0.0, noise=0.03, seed=seed) for seed in range(100)]
    assert sum(law.knee is not None for law in laws) <= 3


@pytest.mark.parametrize(
    ("contention", "shape"), [(0.0, Shape.RISES), (0.002, Shape.FLATTENS), (1.0, Shape.LEVEL)]
)
def test_without_a_knee_the_shape_is_told(contention: float, shape: Shape) -> None:
    law = fitted(1.0, contention, 0.0, noise=0.01)
    assert (law.shape, law.knee, law.peak) == (shape, None, None)
    assert (law.least, law.most) == (10, 2500)


def test_a_knee_beyond_what_was_measured_is_not_told() -> None:
    law = fitted(0.025, 0.0, 1 / 4000**2)
    assert law.knee is None
    assert law.coherence > 0


def test_a_curve_that_falls_from_the_first_point_has_its_knee_before_it() -> None:
    law = fitted(10.0, 0.0, 1 / 5**2)
    assert (law.shape, law.knee) == (Shape.FALLS, None)


def test_three_concurrencies_are_too_few_however_often_measured() -> None:
    few = fits.usl([50, 200, 500] * 4, [1.0, 4, 9] * 4)
    assert few == NoFit("too few points: 3 concurrencies with successes, 4 are needed")
    assert isinstance(fits.usl([50, 200, 500, 900], [1.0, 4, 9, 0]), NoFit)
    assert isinstance(fits.usl([], []), NoFit)


@_MANY
@given(
    st.lists(
        st.tuples(st.integers(0, 5000), st.floats(0, 1e5), st.none() | st.floats(0, 1e5)),
        max_size=12,
    )
)
def test_any_data_give_a_law_within_its_bounds_or_none(
    rows: list[tuple[int, float, float | None]],
) -> None:
    law = fits.usl([float(n) for n, _x, _e in rows], [x for _n, x, _e in rows],
                   [e for _n, _x, e in rows])  # fmt: skip
    if isinstance(law, NoFit):
        return
    assert law.single > 0 and law.coherence >= 0
    assert 0 <= law.contention <= 1 + 1e-9
    if law.knee is not None:
        assert law.least <= law.knee <= law.most
        assert law.peak == pytest.approx(law.rate(law.knee))


def test_the_same_data_give_the_same_law() -> None:
    assert fitted(0.5, 0.02, 1.5e-6, 0.03) == fitted(0.5, 0.02, 1.5e-6, 0.03)


@_MANY
@given(st.floats(0, 60), st.floats(0.0001, 1))
def test_a_straight_line_is_found_exactly(base: float, each: float) -> None:
    sizes = [10.0, 100, 200, 1000]
    line = fits.line(sizes, [base + each * size for size in sizes])
    assert isinstance(line, Line)
    assert line.base == pytest.approx(base, abs=1e-6 + 1e-6 * each)
    assert line.each == pytest.approx(each)
    assert line.explained == pytest.approx(1)
    assert line.time(500) == pytest.approx(base + 500 * each)


def test_what_is_not_straight_explains_less() -> None:
    sizes = [10.0, 100, 200, 1000]
    curved = fits.line(sizes, [size**3 for size in sizes])
    none = fits.line(sizes, [2.0, 1.0, 1.0, 2.0])
    assert isinstance(curved, Line) and isinstance(none, Line)
    assert 0.9 < curved.explained < 0.99
    assert none.explained < 0.5
    assert curved.each_error > 0


def test_two_sizes_always_lie_on_a_line_so_it_is_none() -> None:
    assert fits.line([10, 1000, 10], [1, 2, 1]) == NoFit(
        "too few points: 2 directory sizes, 3 are needed"
    )
