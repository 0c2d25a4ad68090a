"""Verdicts on what is in force: nothing that was cut silently counts as set."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudlet_deploy.tuning.types import HostReading, Scalar, Seen
from cloudlet_deploy.tuning.verdict import State, judge

VARIABLES = ("bestman_nofile", "bestman_accept_queue", "kernel_somaxconn", "bestman_stack_kb")


def verdict(variable: str, wanted: Scalar, seen: Seen, **others: Seen) -> tuple[State, str]:
    reading = HostReading(
        *("door", frozenset({"bestman"}), frozenset({"bestman"}), 8192, 2),
        nofile_hard=20000,
        settings={variable: seen, **others},
    )
    (found,) = judge({variable: wanted}, reading)
    return found.state, found.cause


def test_what_runs_counts_and_not_what_the_file_says() -> None:
    assert verdict("bestman_stack_kb", 256, Seen(256, 256)) == (State.EFFECTIVE, "")
    state, cause = verdict("bestman_stack_kb", 256, Seen(256, 1024))
    assert (state, cause) == (State.NOT_EFFECTIVE, "it was given 256 and has 1024")


def test_a_limit_that_systemd_cut_silently_is_told_with_its_cause() -> None:
    state, cause = verdict("bestman_nofile", 65536, Seen(65536, 20000))
    assert state is State.NOT_EFFECTIVE
    assert "systemd cut it to 20000" in cause


def test_a_queue_that_the_kernel_cut_names_somaxconn() -> None:
    state, cause = verdict(
        "bestman_accept_queue", 8000, Seen(8000, 4096), kernel_somaxconn=Seen(None, 4096)
    )
    assert state is State.NOT_EFFECTIVE
    assert "net.core.somaxconn, which is 4096" in cause


def test_what_cannot_be_set_is_not_effective_whatever_the_file_says() -> None:
    seen = Seen(None, 212992, settable=False, cause="the kernel refuses it in a container")
    assert verdict("kernel_rmem_max", 16777216, seen) == (State.NOT_EFFECTIVE, seen.cause)
    absent = Seen(None, None, settable=False, cause="there is none in this network namespace")
    assert verdict("kernel_netdev_max_backlog", 2500, absent) == (
        State.NOT_EFFECTIVE,
        absent.cause,
    )


def test_a_file_of_before_is_not_applied() -> None:
    state, cause = verdict("bestman_stack_kb", 256, Seen(1024, 1024))
    assert (state, cause) == (State.NOT_APPLIED, "the file on the host says 1024")


def test_what_could_not_be_asked_is_not_seen() -> None:
    seen = Seen(256, None, cause="bestman2.service is not running")
    assert verdict("bestman_stack_kb", 256, seen) == (State.NOT_SEEN, seen.cause)


@pytest.mark.parametrize("variable", ["kernel_somaxconn", "kernel_default_qdisc"])
@pytest.mark.parametrize("nothing", [0, "", "leave"])
def test_what_is_left_alone_has_no_verdict(variable: str, nothing: Scalar) -> None:
    reading = HostReading(
        "door", frozenset(), frozenset(), 8192, 2, settings={variable: Seen(None, 4096)}
    )
    assert judge({variable: nothing}, reading) == ()


def test_java_rounds_its_heap_up_and_never_down() -> None:
    assert verdict("bestman_heap_mb", 5256, Seen(5256, 5258))[0] is State.EFFECTIVE
    assert verdict("bestman_heap_mb", 5256, Seen(5256, 5255))[0] is State.NOT_EFFECTIVE
    assert verdict("bestman_heap_mb", 5256, Seen(5256, 5289))[0] is State.NOT_EFFECTIVE


@given(
    st.sampled_from(VARIABLES),
    st.integers(1, 99999),
    st.one_of(st.none(), st.integers(1, 99999)),
    st.one_of(st.none(), st.integers(1, 99999)),
    st.booleans(),
)
def test_effective_means_that_it_is_there(
    variable: str, wanted: int, configured: int | None, effective: int | None, settable: bool
) -> None:
    state, cause = verdict(variable, wanted, Seen(configured, effective, settable=settable))
    assert (state is State.EFFECTIVE) == (effective == wanted)
    assert (state is State.EFFECTIVE) or cause
