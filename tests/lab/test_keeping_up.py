"""The camera's writer, mounts and a live session through its lane into real Slurm, in a hurry.

The tests build on each other: one lab, and one session, which the second test finds at work.
"""

from __future__ import annotations

import time

import pytest

from tests.lab import keeping_up
from tests.lab.conftest import TestLab, needs_devices
from tests.lab.conftest import lab as _lab

pytestmark = [pytest.mark.lab, needs_devices]
DEFINITION = keeping_up.DEFINITION
lab = _lab


@pytest.fixture(scope="module", autouse=True)
def prepared(lab: TestLab) -> None:
    keeping_up.prepare(lab)


def test_each_movie_is_processed_once_at_twenty_times_the_pilots_rate(lab: TestLab) -> None:
    camera = keeping_up.Camera(lab, 30)
    time.sleep(5)
    first = camera.look()
    assert (first.processed, first.problem) == (0, "") and first.waiting > 1, first
    # The first movie comes half a second after the begin; SSHFS may have shown it later.
    assert first.lag is not None and 3 < first.lag < first.at, first
    keeping_up.start_session(lab)
    looks = list(camera.looks(patience=60))
    assert looks[-1].processed == looks[-1].movies == camera.total, looks
    assert looks[-1].lag == 0
    assert max(keeping_up.lags(looks)) < keeping_up.LIMIT
    assert keeping_up.account(lab).faults() == []
    assert keeping_up.stuck(lab) == []


@pytest.mark.soak
def test_ten_minutes_and_a_cluster_that_is_cut_off_for_two(lab: TestLab) -> None:
    camera = keeping_up.Camera(lab, keeping_up.SOAK)
    looks = list(camera.looks(patience=300, cut=keeping_up.SOAK_CUT))
    cut = camera.cut
    assert cut is not None
    assert not [look for look in looks if look.problem and look.at < cut.at]
    assert max(keeping_up.lags(looks, cut.at)) < keeping_up.LIMIT
    assert keeping_up.recovery(looks, cut) is not None, looks
    assert looks[-1].processed == looks[-1].movies == camera.total, looks
    assert looks[-1].lag == 0
    found = keeping_up.account(lab)
    assert found.faults() == []
    delays = found.delays()[camera.before :]
    before, since = delays[: camera.written(cut.at - 30)], delays[camera.written(cut.at) :]
    # Status cannot tell the lag while the projects do not answer; the files' times do.
    assert max(before) < keeping_up.LIMIT and max(since) > cut.seconds - 30
    keeping_up.stop_session(lab)
    assert keeping_up.stuck(lab) == []
