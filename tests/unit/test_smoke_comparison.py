"""Two runs are told apart where they differ, and not where noise does it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudlet_deploy.smoke.analysis import Analysis, analyse
from cloudlet_deploy.smoke.comparison import Comparison, Outcome, combined, compare
from cloudlet_deploy.smoke.types import Failure, GeneratorLoad, Measured
from tests.unit.smoke_campaigns import Door, campaign, encoded, point, quick, simulate

_SOME = settings(max_examples=40, deadline=None)
_TURNED = {Outcome.BETTER: Outcome.WORSE, Outcome.WORSE: Outcome.BETTER}


def made(rates: list[int], time: float = 1.0, clients: int = 50) -> Measured:
    """A point with so many successes in each second, each of about ``time`` seconds."""
    total = [time * (0.8 + 0.4 * (at % 10) / 9) for at in range(sum(rates))]
    what = replace(point(clients), warm_up=0.0, window=float(len(rates)))
    plain = replace(simulate(replace(what, window=5.0), Door()), point=what, achieved=clients)
    return replace(plain, window=what.window, successes=sum(rates), failures={},
                   per_second=tuple(rates), total=encoded(total))  # fmt: skip


def said(*points: Measured, run_id: str = "20261018T090000Z-5ca1ab") -> Analysis:
    return analyse(campaign(points, run_id=run_id))


_RATES = st.lists(st.integers(40, 60), min_size=10, max_size=30)


@_SOME
@given(_RATES, st.floats(0.01, 30))
def test_the_same_data_twice_are_the_same(rates: list[int], time: float) -> None:
    one = said(made(rates, time))
    found = compare(one, one)
    assert found.outcome is Outcome.SAME
    assert {each.outcome for each in found.points[0].differences} == {Outcome.SAME}
    assert (found.only_now, found.only_before, found.remarks) == ((), (), ())


@_SOME
@given(_RATES, st.integers(2, 5))
def test_a_shift_far_beyond_the_noise_is_seen(rates: list[int], times: int) -> None:
    slow, quick_one = made(rates), made([times * one for one in rates])
    better = compare(said(quick_one), said(slow))
    worse = compare(said(slow), said(quick_one))
    assert (better.outcome, worse.outcome) == (Outcome.BETTER, Outcome.WORSE)
    longer = compare(said(made(rates, 1.0 * times)), said(slow))
    assert longer.outcome is Outcome.WORSE


@_SOME
@given(_RATES, _RATES, st.floats(0.5, 2), st.integers(0, 400))
def test_exchanging_the_two_exchanges_better_and_worse(
    now: list[int], before: list[int], time: float, failed: int
) -> None:
    ours = replace(made(now, time), failures={Failure.RESET: failed} if failed else {})
    one, other = said(ours), said(made(before))
    there, back = compare(one, other), compare(other, one)
    assert back.outcome is _TURNED.get(there.outcome, there.outcome)
    for ahead, behind in zip(there.points[0].differences, back.points[0].differences, strict=True):
        assert behind.outcome is _TURNED.get(ahead.outcome, ahead.outcome)
        assert (ahead.before, ahead.after) == (behind.after, behind.before)


def test_runs_of_one_door_are_seldom_told_apart() -> None:
    runs = [analyse(quick(seed=seed)) for seed in range(13)]
    found = [compare(runs[at], runs[at + 1]).outcome for at in range(12)]
    assert found.count(Outcome.SAME) >= 11


@pytest.mark.parametrize(("service", "outcome"), [(0.4, Outcome.BETTER), (0.65, Outcome.WORSE)])
def test_a_door_that_became_another_is_told_apart(service: float, outcome: Outcome) -> None:
    found = compare(analyse(quick(Door(service=service), seed=5)), analyse(quick(seed=6)))
    assert found.outcome is outcome
    assert found.words.startswith(f"{outcome.value.capitalize()} than the baseline: of 5 points")


def test_a_sure_difference_that_is_too_small_to_matter_is_none() -> None:
    steady = [100] * 20
    assert compare(said(made([104] * 20)), said(made(steady))).outcome is Outcome.SAME
    assert compare(said(made([106] * 20)), said(made(steady))).outcome is Outcome.BETTER


def test_more_errors_are_worse_even_where_the_rest_is_not() -> None:
    good = made([50] * 20)
    bad = replace(good, failures={Failure.REFUSED: 200})
    found = compare(said(bad), said(good))
    assert found.outcome is Outcome.WORSE
    (errors,) = (one for one in found.points[0].differences if one.quantity == "errors")
    assert errors.words == "0 % → 16.7 %"


def test_few_more_errors_are_no_difference_however_sure() -> None:
    good = made([2000] * 20)
    few = replace(good, failures={Failure.REFUSED: 300})
    assert compare(said(few), said(good)).outcome is Outcome.SAME
    more = replace(good, failures={Failure.REFUSED: 600})
    assert compare(said(more), said(good)).outcome is Outcome.WORSE


def test_quicker_for_some_and_less_in_all_is_mixed() -> None:
    found = compare(said(made([25] * 20, 0.5)), said(made([50] * 20, 1.0)))
    assert found.outcome is Outcome.MIXED


def test_no_success_at_all_against_some() -> None:
    none = replace(made([0] * 20), failures={Failure.TIMEOUT: 50})
    some = made([5] * 20)
    assert compare(said(none), said(some)).outcome is Outcome.WORSE
    assert compare(said(some), said(none)).outcome is Outcome.BETTER
    assert compare(said(none), said(none)).outcome is Outcome.SAME


def test_points_that_do_not_match_are_named() -> None:
    now = said(made([50] * 20, clients=50), made([50] * 20, clients=60))
    before = said(made([50] * 20, clients=50), made([50] * 20, clients=700))
    thinking = replace(before.campaign.points[0], point=replace(point(50), think=2.0))
    found = compare(now, said(*before.campaign.points, thinking))
    assert [one.label for one in found.points] == ["50 clients, 10 entries"]
    assert found.only_now == ("60 clients, 10 entries",)
    assert found.only_before == (
        "700 clients, 10 entries",
        "50 clients, 10 entries, think time 2.00 s",
    )


def test_another_think_time_or_session_is_another_load() -> None:
    one = made([50] * 20)
    for changed in ({"think": 2.0}, {"keep_alive": True}, {"overload": True}):
        other = replace(one, point=replace(one.point, **changed))
        found = compare(said(one), said(other))
        assert (found.points, len(found.only_now), len(found.only_before)) == ((), 1, 1)


def test_what_cannot_be_compared_is_said_and_counts_for_nothing() -> None:
    good, better = made([50] * 20), made([90] * 20)
    for broken, why in (
        (replace(better, incomplete="lost"), "incomplete"),
        (replace(better, achieved=30), "30 clients were there"),
        (replace(better, window=3.0, per_second=(90, 90, 90)), "too short"),
    ):
        found = compare(said(broken), said(good))
        assert found.outcome is Outcome.UNKNOWN
        assert why in found.points[0].remarks[0]
        assert found.words.startswith("Nothing can be said")
    assert compare(said(good), said()).outcome is Outcome.UNKNOWN


def test_load_hosts_that_were_the_bottleneck_are_kept_in_mind() -> None:
    busy = replace(made([50] * 20), generators=(GeneratorLoad("w", "load1", 0.99, 0.5),))
    found: Comparison = compare(said(busy), said(made([50] * 20)))
    assert "Load hosts" in found.points[0].remarks[0]
    assert any("this run at: 50 clients" in one for one in found.remarks)


def test_another_site_and_an_incomplete_baseline_are_told() -> None:
    one = said(made([50] * 20))
    other = replace(one.campaign, site="elsewhere", doors=(), incomplete="interrupted")
    remarks = compare(one, analyse(other)).remarks
    assert [any(word in each for each in remarks) for word in ("elsewhere", "doors", "end")] == [
        *(True, True, True)
    ]


def test_several_outcomes_come_to_one() -> None:
    better, worse, same, unknown = Outcome.BETTER, Outcome.WORSE, Outcome.SAME, Outcome.UNKNOWN
    assert combined([better, same, unknown]) is better
    assert combined([worse, same]) is worse
    assert combined([better, worse]) is Outcome.MIXED
    assert combined([Outcome.MIXED, better]) is Outcome.MIXED
    assert combined([same, unknown]) is same
    assert combined([unknown]) is unknown and combined([]) is unknown
