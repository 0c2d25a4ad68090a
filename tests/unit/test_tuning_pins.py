"""Pins and warnings of the tuning model."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloudlet_deploy import tuning
from cloudlet_deploy.tuning import HostReading, Load, Pin, Scalar, Shape
from tests.unit.tuning_hosts import DATA_SERVER, DATA_SERVER_SHAPE, PAPER, advised, by_variable

# --- pins ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "value", "objection"),
    [
        (
            "bestman_container_threads",
            256,
            "It is 256, and 2518 is recommended for 2000 clients: "
            "idle clients then lock out the others.",
        ),
        ("bestman_container_threads", "256", "It is 256, and 2518 is"),
        ("bestman_container_threads", 3000, ""),
        ("bestman_container_threads", "{{ x }}", "which the model cannot compare with 2518."),
        ("bestman_container_threads", 90_000, "may then take 29804 MB of 8192."),
        ("bestman_heap_mb", 1024, "It is 1024 MB, and 5256 MB is recommended"),
        ("bestman_heap_mb", 5300, ""),
        ("bestman_heap_mb", 7000, "All services together may then take 9678 MB of 8192."),
        ("bestman_stack_kb", 128, "Java 17 does not start with less than 144 KB."),
        ("bestman_accept_queue", 8192, ""),
        (
            "bestman_accept_queue",
            10_000,
            "The kernel cuts it to net.core.somaxconn, which is 8192.",
        ),
        ("bestman_accept_queue", 50, "It is 50, and 4000 is"),
        ("bestman_nofile", 2_000_000, "systemd cuts it to 1048576, its own hard limit."),
        ("bestman_fs_concurrency", 40, "It is 40, and 64 is"),
        ("bestman_event_log", True, "It is on, and off is"),
        ("bestman_event_log", False, ""),
        ("bestman_tasks_max", "infinity", ""),
        ("kernel_somaxconn", 128, "It is 128, and 8192 is"),
        ("kernel_somaxconn", 0, "Left alone it stays 128, and 8192 is"),
        ("kernel_max_map_count", 0, ""),
        ("kernel_abort_on_overflow", "leave", ""),
        ("kernel_abort_on_overflow", "on", "It is on, and off is"),
    ],
)
def test_a_pin_wins_and_is_judged(variable: str, value: Scalar, objection: str) -> None:
    one = by_variable(advised(PAPER, 2000, **{variable: value}))[variable]
    assert one.pin == Pin(value, "host_vars/h.yml:3")
    assert one.wanted == value
    assert objection in one.objection
    assert bool(objection) == bool(one.objection)
    assert one.recommended == by_variable(advised(PAPER, 2000))[variable].recommended


@pytest.mark.parametrize(
    ("host", "shape", "variable"),
    [
        (PAPER, Shape(), "bestman_nofile"),
        (DATA_SERVER, DATA_SERVER_SHAPE, "gridftp_nofile"),
    ],
)
def test_a_pin_of_what_is_recommended_is_objected_to_by_nobody(
    host: HostReading, shape: Shape, variable: str
) -> None:
    """Not even where the machine allows less than the least that is recommended."""
    reading = replace(host, nofile_hard=512)
    best = by_variable(tuning.advise(reading, Load(100), shape, {}))[variable].recommended
    pins = {variable: Pin(best, "host_vars/h.yml:3")}
    one = by_variable(tuning.advise(reading, Load(100), shape, pins))[variable]
    assert (one.wanted, one.objection) == (best, "")


@pytest.mark.parametrize(
    ("variable", "value", "objection"),
    [
        ("gridftp_connections_max", -1, "Without a limit sessions end where memory does, at about"),
        ("gridftp_connections_max", 100, "It is 100, and 2500 is"),
        ("gridftp_connections_max", 30_000, "may then take 361024 MB of 261120."),
        ("gridftp_port_range", "50000,51000", "It is 50000,51000, and 50000,54999 is"),
        ("gridftp_port_range", "30000,39999", ""),
        ("gridftp_tasks_max", "infinity", ""),
        ("gridftp_tasks_max", "500", "It is 500, and 2564 is"),
        ("gridftp_nofile", 600_000, "systemd cuts it to 524288, its own hard limit."),
        ("kernel_default_qdisc", "", "Left alone it stays fq_codel, and fq is"),
    ],
)
def test_a_pin_of_a_transfer_server_is_judged(variable: str, value: Scalar, objection: str) -> None:
    advice = advised(DATA_SERVER, 8000, DATA_SERVER_SHAPE, **{variable: value})
    one = by_variable(advice)[variable]
    assert objection in one.objection
    assert bool(objection) == bool(one.objection)


def test_what_moves_together_follows_a_pin() -> None:
    base, pinned = (
        by_variable(advised(PAPER, 2000)),
        by_variable(advised(PAPER, 2000, kernel_somaxconn=128)),
    )
    assert pinned["bestman_accept_queue"].recommended == 128
    assert "net.core.somaxconn is 128 here" in pinned["bestman_accept_queue"].reason
    left = by_variable(advised(PAPER, 2000, kernel_somaxconn=0))
    assert left["bestman_accept_queue"].recommended == 128

    few = by_variable(advised(PAPER, 2000, bestman_container_threads=256))
    assert few["bestman_heap_mb"] == base["bestman_heap_mb"]
    assert few["bestman_tasks_max"] == base["bestman_tasks_max"]
    many = by_variable(advised(PAPER, 2000, bestman_container_threads=20_000))
    assert many["bestman_tasks_max"].recommended == 41_024
    assert many["kernel_max_map_count"].recommended == 90_000
    assert many["kernel_pid_max"].recommended == 80_000
    assert many["bestman_heap_mb"] == base["bestman_heap_mb"]

    assert "kernel_nr_open" not in base
    files = by_variable(advised(PAPER, 2000, bestman_nofile=2_000_000))
    assert files["kernel_nr_open"].recommended == 2_000_000

    sessions = by_variable(
        advised(DATA_SERVER, 400, DATA_SERVER_SHAPE, gridftp_connections_max=1000)
    )
    assert sessions["gridftp_port_range"].recommended == "50000,51999"
    assert sessions["gridftp_tasks_max"].recommended == "1064"


# --- warnings -----------------------------------------------------------------------------

_ROOMY = replace(PAPER, memory_mb=2**20, nofile_hard=None, java_version=17, settings={})


@pytest.mark.parametrize(
    ("reading", "load", "shape", "words"),
    [
        (_ROOMY, Load(2501), Shape(flavour="globus"), "the Globus container hangs"),
        (_ROOMY, Load(2500), Shape(flavour="globus"), ""),
        (_ROOMY, Load(5000), Shape(flavour="globus", doors=2), ""),
        (_ROOMY, Load(100, entries=1001), Shape(), "more than 1000 entries"),
        (_ROOMY, Load(100, entries=1000), Shape(), ""),
        (_ROOMY, Load(100), Shape(selection="load_probe", transfer_servers=11), "load of 11"),
        (_ROOMY, Load(100), Shape(selection="load_probe", transfer_servers=10), ""),
        (_ROOMY, Load(100), Shape(transfer_servers=100), ""),
        (_ROOMY, Load(501), Shape(mapping="gums"), "GUMS may end before the door"),
        (_ROOMY, Load(500), Shape(mapping="gums"), ""),
        (replace(_ROOMY, memory_mb=8192), Load(2000), Shape(), "or add 2320 MB."),
        (replace(_ROOMY, java_version=None), Load(100), Shape(), "version of Java is not known"),
        (replace(_ROOMY, java_version=7), Load(100), Shape(), "Java 7 is older"),
        (replace(DATA_SERVER, java_version=None), Load(9000), Shape(flavour="globus"), ""),
    ],
)
def test_warnings(reading: HostReading, load: Load, shape: Shape, words: str) -> None:
    warnings = tuning.advise(reading, load, shape, {}).warnings
    assert len(warnings) == bool(words)
    assert all(words in warning for warning in warnings)
