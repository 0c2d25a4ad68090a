"""What holds of the tuning model for any host, load and site."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cloudlet_deploy import tuning
from cloudlet_deploy.tuning import Advice, HostReading, Load, Pin, Shape
from tests.unit.tuning_cases import CLIENTS, LOADS, SHAPES, amount, readings, worked_out

_MANY = settings(max_examples=60, deadline=None)


def _values(advice: Advice) -> dict[str, tuning.Scalar]:
    return {one.variable: one.recommended for one in advice.settings}


@_MANY
@given(readings(), LOADS, CLIENTS, SHAPES)
def test_more_clients_never_lower_a_value(
    reading: HostReading, load: Load, other: int, shape: Shape
) -> None:
    fewer, more = sorted((load.clients, other))
    small = tuning.advise(reading, replace(load, clients=fewer), shape, {})
    large = tuning.advise(reading, replace(load, clients=more), shape, {})
    assert small.carried <= large.carried
    after = _values(large)
    for variable, value in _values(small).items():
        least = amount(value)
        if least is not None:
            assert (amount(after[variable]) or 0) >= least, variable


def _needed_mb(reading: HostReading, load: Load, shape: Shape, clients: int) -> float:
    """Memory for so many clients, worked out apart from the model."""
    n = -(-clients // shape.doors)
    sessions = math.ceil(round(load.headroom * clients / shape.transfer_servers, 6))
    at_transfer = -(-clients // shape.transfer_servers)
    door, transfer = "bestman" in reading.components, "gridftp" in reading.components
    needed = [0.0]
    mount = 0
    if "hdfs_fuse" in reading.components:
        serves = door or not transfer or "hdfs_namenode" in reading.groups
        here = max(n if serves else 0, at_transfer if transfer else 0)
        mount = 1024 if here > 1000 else 512
    if transfer:
        needed.append(mount + sessions * (500 if shape.hdfs_dsi else 12))
    if door:
        heap = max(512, math.ceil(round(256 + max(2.5, 0.005 * load.entries) * n, 6)))
        threads = math.ceil(round(load.headroom * n, 6)) + min(8, 2 * reading.cores) + 10
        taken = heap + math.ceil(threads / 4) + 1024 + mount
        taken += math.ceil(sessions * (500 if shape.hdfs_dsi else 10.4)) * transfer
        needed.append(taken)
    return max(needed)


@_MANY
@given(readings(), LOADS, SHAPES)
def test_a_host_carries_what_its_memory_holds_and_no_more(
    reading: HostReading, load: Load, shape: Shape
) -> None:
    advice = tuning.advise(reading, load, shape, {})
    free = reading.memory_mb - reading.reserved_mb
    assert 0 <= advice.carried <= advice.asked == load.clients
    if advice.carried and reading.components & {"bestman", "gridftp"}:
        assert _needed_mb(reading, load, shape, advice.carried) <= free
    if advice.binding == "RAM":
        assert _needed_mb(reading, load, shape, advice.carried + 1) > free
    assert bool(advice.limit) == bool(advice.binding) == (advice.carried < advice.asked)
    if advice.binding:
        assert advice.binding in advice.limit
        assert str(advice.carried or "Not even 1") in advice.limit


@_MANY
@given(readings(), LOADS, SHAPES)
def test_the_words_of_each_formula_come_to_its_value(
    reading: HostReading, load: Load, shape: Shape
) -> None:
    for one in tuning.advise(reading, load, shape, {}).settings:
        if one.variable == "gridftp_port_range":
            continue  # words only: tried in test_tuning_model.py
        assert str(worked_out(one)) == str(one.recommended), one


@_MANY
@given(readings(), LOADS, SHAPES)
def test_settings_that_move_together_do(reading: HostReading, load: Load, shape: Shape) -> None:
    advice = tuning.advise(reading, load, shape, {})
    values = {variable: amount(value) or 0 for variable, value in _values(advice).items()}
    seen = reading.settings.get("kernel_somaxconn")
    for queue in ("bestman_accept_queue", "hdfs_rpc_backlog"):
        if queue in values:
            assert values[queue] <= values["kernel_somaxconn"]
            if seen and not seen.settable:
                assert values[queue] <= int(seen.effective or 0)
    if "bestman_container_threads" in values:
        threads = values["bestman_container_threads"]
        assert values["bestman_tasks_max"] >= threads
        assert values["kernel_max_map_count"] >= 2 * threads
        assert values["bestman_stack_kb"] >= 144
        assert threads > values.get("bestman_acceptors", 0) + 10
        if advice.carried:
            assert values["bestman_nofile"] >= 8 * math.ceil(advice.carried / shape.doors) + 4096
    if "gridftp_connections_max" in values:
        assert values["gridftp_tasks_max"] >= values["gridftp_connections_max"] + 64
        assert values["gridftp_port_range"] >= 2 * values["gridftp_connections_max"]
    for variable, seen in reading.settings.items():
        if variable.startswith("kernel_") and variable in values:
            assert values[variable] >= int(seen.effective or 0), variable


@_MANY
@given(readings(), LOADS, SHAPES)
def test_a_second_tune_finds_nothing_to_change(
    reading: HostReading, load: Load, shape: Shape
) -> None:
    once = tuning.advise(reading, load, shape, {})
    done = dict(reading.settings)
    for one in once.settings:
        if one.settable and (one.variable in done or not one.variable.startswith("kernel_conn")):
            before = one.now if one.component == "kernel" else None
            done[one.variable] = tuning.Seen(one.recommended, one.recommended, before)
    if "hdfs_fuse_heap_mb" not in reading.settings:
        done.pop("hdfs_fuse_heap_mb", None)
    again = tuning.advise(replace(reading, settings=done), load, shape, {})
    assert _values(again) == _values(once)
    assert again.carried == once.carried


@_MANY
@given(readings(), LOADS, SHAPES, st.data())
def test_what_is_shown_is_short_and_in_plain_units(
    reading: HostReading, load: Load, shape: Shape, data: st.DataObject
) -> None:
    advice = tuning.advise(reading, load, shape, {})
    units = {"_mb": "MB", "_kb": "KB", "mem": "bytes", "mem_max": "bytes"}
    for one in advice.settings:
        assert len(one.reason) <= 90 and one.reason.endswith("."), one.reason
        assert all((one.title, one.formula, one.source, one.applied, one.verified)), one
        suffix = next((s for s in units if one.variable.endswith(s)), None)
        assert one.unit == (units[suffix] if suffix else ""), one.variable
    for warning in advice.warnings:
        assert warning.count(". ") == 0 and warning.endswith("."), warning
    # Pinning what is recommended changes nothing and is objected to by nobody.
    one = data.draw(st.sampled_from(advice.settings))
    pinned = tuning.advise(reading, load, shape, {one.variable: Pin(one.recommended, "x:1")})
    assert _values(pinned) == _values(advice)
    assert [s.objection for s in pinned.settings if s.objection] == []


@pytest.mark.parametrize(
    ("load", "shape"),
    [
        (Load(0), Shape()),
        (Load(-1), Shape()),
        (Load(1, entries=0), Shape()),
        (Load(1, headroom=0.9), Shape()),
        (Load(1, headroom=math.nan), Shape()),
        (Load(1, headroom=math.inf), Shape()),
        (Load(1), Shape(doors=0)),
        (Load(1), Shape(transfer_servers=0)),
    ],
)
def test_a_load_that_is_none_is_refused(load: Load, shape: Shape) -> None:
    reading = HostReading("h", frozenset({"bestman"}), frozenset({"bestman"}), 8192, 8)
    with pytest.raises(ValueError, match=r"fewer than 1|not within"):
        tuning.advise(reading, load, shape, {})
