"""Which signal of a block raises."""

from __future__ import annotations

import signal

import pytest

from cloudlet_deploy.run import signals


def stops() -> int:
    """How many of two signals raise."""
    count = 0
    for _ in range(2):
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            count += 1
    return count


@pytest.mark.parametrize(("each", "count"), [(False, 1), (True, 2)])
def test_what_cleans_up_is_stopped_once_and_a_question_each_time(each: bool, count: int) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with signals.raised(each=each):
        assert stops() == count
    assert signal.getsignal(signal.SIGTERM) is before
