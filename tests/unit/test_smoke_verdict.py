"""Thresholds hold or not, for the reason given; nothing incomplete passes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloudlet_deploy.errors import ExitCode
from cloudlet_deploy.smoke.analysis import analyse
from cloudlet_deploy.smoke.types import (
    Campaign,
    Failure,
    GeneratorLoad,
    Kind,
    Measured,
    Recovery,
    Thresholds,
)
from cloudlet_deploy.smoke.verdict import Finding, Verdict, judge
from tests.unit.smoke_campaigns import Door, campaign, encoded, full, point, quick, simulate


def judged(given: Campaign, **changes: object) -> Verdict:
    return judge(analyse(replace(given, **changes)))  # type: ignore[arg-type]


def only(verdict: Verdict) -> Finding:
    (finding,) = verdict.findings
    return finding


def of(*points: Measured, **wanted: float | int) -> Verdict:
    return judged(campaign(points, Thresholds(**wanted)))  # type: ignore[arg-type]


def failing(clients: int, share: float, *, entries: int = 10) -> Measured:
    """A point with that share of refused operations."""
    whole = simulate(replace(point(clients, entries), warm_up=5.0, window=20.0), Door())
    failed = round(whole.successes * share / (1 - share))
    return replace(whole, failures={Failure.REFUSED: failed})


def test_all_that_was_demanded_holds() -> None:
    verdict = judged(full())
    assert [one.name for one in verdict.findings] == [
        *("rate", "p95", "errors", "clients", "recovery")
    ]
    assert verdict.held and verdict.exit_code is ExitCode.DONE
    assert verdict.carries.startswith("The door carries 1,000 clients that list 10 entries each: ")
    assert "served again within 12.4 s: recovered" in verdict.recovery


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        (Thresholds(least_rate=80), "rate"),
        (Thresholds(worst_p95=20), "p95"),
        (Thresholds(least_clients=1001), "clients"),
        (Thresholds(recovery=12), "recovery"),
    ],
)
def test_each_threshold_can_fail_alone(wanted: Thresholds, name: str) -> None:
    verdict = judged(full(), thresholds=wanted)
    finding = only(verdict)
    assert (finding.name, finding.held) == (name, False)
    assert verdict.exit_code is ExitCode.CHECK_FAILED


def test_a_threshold_that_is_met_exactly_holds() -> None:
    one = simulate(replace(point(50), window=20.0), Door())
    rate = one.successes / one.window
    assert only(of(one, least_rate=rate)).held
    assert not only(of(one, least_rate=rate * 1.001)).held
    flat = replace(one, total=encoded([2.0] * 50))
    assert only(of(flat, worst_p95=2.001)).held
    assert not only(of(flat, worst_p95=1.99)).held


def test_the_share_of_errors_counts_at_every_point_and_names_the_worst() -> None:
    points = [failing(50, 0.0), failing(200, 0.02), failing(500, 0.05)]
    bad = only(of(*points, error_share=0.03))
    assert not bad.held and bad.got.startswith("5")
    assert "500 clients, 10 entries" in bad.words and "refused" in bad.words
    assert only(of(*points, error_share=0.06)).held


def test_clients_are_borne_up_to_the_first_point_that_is_not() -> None:
    points = [failing(50, 0.0), failing(200, 0.0), failing(500, 0.2), failing(900, 0.0)]
    got = only(of(*points, least_clients=300))
    assert (got.held, got.got) == (False, "200")
    assert "Within 1 % errors" in got.words
    both = of(*points, least_clients=900, error_share=0.25)
    assert both.held
    assert only(of(failing(50, 0.5), least_clients=1)).got == "none"


def test_clients_that_were_not_there_are_not_borne() -> None:
    fewer = replace(failing(500, 0.0), achieved=420)
    assert only(of(fewer, least_clients=421)).got == "420"


def test_the_overload_and_gridftp_are_no_part_of_the_demands() -> None:
    worst = replace(failing(2000, 0.9), point=replace(point(2000), overload=True))
    slow = simulate(replace(point(10, 10, Kind.MLSC), window=20.0), Door(service=9))
    verdict = of(failing(50, 0.0), worst, slow, error_share=0.01, worst_p95=5)
    assert verdict.held


@pytest.mark.parametrize(
    "wanted",
    [
        Thresholds(least_rate=0.1),
        Thresholds(worst_p95=100),
        Thresholds(error_share=1),
        Thresholds(least_clients=1),
        Thresholds(recovery=100),
    ],
)
def test_without_data_a_threshold_does_not_hold_and_says_why(wanted: Thresholds) -> None:
    ping = simulate(replace(point(10, 0, Kind.PING), window=20.0), Door())
    finding = only(judged(campaign([ping], wanted)))
    assert (finding.held, finding.got) == (False, "no data")
    assert finding.words.endswith(".")


def test_one_point_without_a_success_leaves_no_p95() -> None:
    dead = replace(failing(500, 0.5), successes=0, total=encoded([]))
    finding = only(of(failing(50, 0.0), dead, worst_p95=100))
    assert (finding.held, finding.got) == (False, "no data")
    assert "500 clients" in finding.words


def test_a_missed_rate_that_load_hosts_limited_says_so() -> None:
    one = replace(failing(50, 0.0), generators=(GeneratorLoad("w", "load1", 0.99, 0.5),))
    assert "load hosts were the bottleneck" in only(of(one, least_rate=1e6)).words
    assert "bottleneck" not in only(of(one, least_rate=1)).words


def test_nothing_incomplete_passes() -> None:
    assert quick().thresholds == Thresholds() and judged(quick()).held
    cut = judged(quick(), incomplete="interrupted by the user")
    assert not cut.held
    assert only(cut).words == "Interrupted by the user."
    lost = replace(quick().points[0], incomplete="worker-2 was lost")
    assert not judged(quick(), points=(lost, *quick().points[1:])).held
    assert not judged(campaign([])).held


def test_a_door_that_answers_nobody_never_passes() -> None:
    dead = replace(failing(50, 0.5), successes=0, total=encoded([]))
    verdict = judged(campaign([dead]))
    assert only(verdict).name == "served"
    assert verdict.carries == "The door does not carry 50 clients: 100 % of their listings failed."


def test_a_hung_door_never_passes() -> None:
    hung = judged(quick(), recovery=Recovery(None, 120.0, 40, "timeout"))
    assert hung.exit_code is ExitCode.CHECK_FAILED
    assert "hung" in hung.recovery and "Restart the door." in hung.recovery
    assert only(hung).got == "hung"
    assert judged(quick(), recovery=Recovery(3.0, 120.0, 4)).held


def test_words_tell_what_the_curve_does() -> None:
    assert "Its rate is greatest near" in judged(full()).carries
    assert "4 are needed" in judged(quick()).carries
    level = [simulate(replace(point(n), warm_up=30.0), Door()) for n in (100, 200, 400, 800)]
    assert "Its rate is level from 100 clients on" in judged(campaign(level)).carries
    loads = (GeneratorLoad("w", "load1", 0.99, 0.5),)
    bound = [replace(one, generators=loads) for one in level]
    assert "so this may be theirs" in judged(campaign(bound)).carries
    ping = simulate(replace(point(10, 0, Kind.PING), window=20.0), Door())
    assert "was not measured" in judged(campaign([ping])).carries
