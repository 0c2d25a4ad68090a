"""The tuning model on hosts that are known: reference tables, what binds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cloudlet_deploy import tuning
from cloudlet_deploy.tuning import HostReading, Load, Scalar, Seen, Shape
from tests.unit import tuning_hosts
from tests.unit.tuning_hosts import (
    DATA_SERVER,
    DATA_SERVER_SHAPE,
    LAPTOP,
    PAPER,
    PAPER_SHAPE,
    advised,
    by_variable,
)

_REFERENCE = pytest.mark.parametrize("name", sorted(tuning_hosts.REFERENCES))


def _with(reading: HostReading, **settings: Seen) -> HostReading:
    return replace(reading, settings={**reading.settings, **settings})


# --- what is kept -------------------------------------------------------------------------


@_REFERENCE
def test_a_reference_host_has_the_table_that_is_kept(name: str) -> None:
    """See tuning_hosts for how to write it anew."""
    kept = tuning_hosts.golden_path(name).read_text(encoding="utf-8")
    assert tuning_hosts.table(tuning_hosts.REFERENCES[name]) == kept


def test_the_documentation_has_every_setting_as_the_code_has_it() -> None:
    page = tuning_hosts.DOCS.read_text(encoding="utf-8")
    assert tuning_hosts.docs_page(page) == page
    assert page.count("\n| `") == len(tuning.RULES)


def test_every_setting_of_an_answer_is_among_the_rules() -> None:
    known = [rule.variable for rule in tuning.RULES]
    assert len(known) == len(set(known))
    globus = replace(PAPER_SHAPE, flavour="globus")
    seen = _with(LAPTOP, kernel_conntrack_max=Seen(effective=1))
    answers = [
        advised(seen, 100),
        advised(seen, 100, globus, bestman_nofile=2_000_000),
    ]
    found = {variable for advice in answers for variable in by_variable(advice)}
    assert found == set(known)
    for advice in answers:
        order = [known.index(one.variable) for one in advice.settings]
        assert order == sorted(order)


# --- the facts' own numbers ---------------------------------------------------------------


def test_the_facts_numbers_for_2000_clients() -> None:
    found = {
        variable: one.recommended for variable, one in by_variable(advised(PAPER, 2000)).items()
    }
    assert found == {
        "bestman_heap_mb": 5256,
        "bestman_stack_kb": 256,
        "bestman_container_threads": 2518,
        "bestman_acceptors": 8,
        "bestman_accept_queue": 4000,
        "bestman_fs_concurrency": 64,
        "bestman_event_log": False,
        "bestman_nofile": 65536,
        "bestman_tasks_max": 6060,
        "hdfs_fuse_heap_mb": 1024,
        "kernel_somaxconn": 8192,
        "kernel_max_syn_backlog": 8192,
        "kernel_abort_on_overflow": "off",
        "kernel_pid_max": 65536,
        "kernel_max_map_count": 65530,
    }
    name_node = replace(LAPTOP, components=frozenset({"hdfs"}), groups=frozenset({"hdfs_namenode"}))
    found = {v: one.recommended for v, one in by_variable(advised(name_node, 2000)).items()}
    assert (found["hdfs_namenode_handlers"], found["hdfs_rpc_backlog"]) == (72, 8192)


def test_the_papers_host_carries_2000_clients_and_not_4000() -> None:
    assert advised(PAPER, 2000).carried == 2000
    short = advised(PAPER, 4000)
    assert 2000 < short.carried < 4000
    assert short.binding == "RAM"
    assert "13559 MB" in short.limit
    assert f"enough for {short.carried}." in short.limit
    plain = replace(PAPER, components=frozenset({"bestman"}))
    assert 2000 < advised(plain, 4000).carried < 4000


def test_the_erratum_is_told_where_the_number_is_used() -> None:
    heap = by_variable(advised(PAPER, 2000))["bestman_heap_mb"]
    assert "2.5 KB is a slip" in heap.reason
    assert "erratum" in heap.source
    long = tuning.advise(PAPER, Load(500, entries=1000), PAPER_SHAPE, {})
    heap = by_variable(long)["bestman_heap_mb"]
    assert heap.recommended == 256 + 5 * 500
    assert "5 MB" in heap.reason
    assert "erratum" in heap.source


@pytest.mark.parametrize(
    ("clients", "variable", "value"),
    [
        (500, "bestman_event_log", True),
        (501, "bestman_event_log", False),
        (1000, "hdfs_fuse_heap_mb", 512),
        (1001, "hdfs_fuse_heap_mb", 1024),
        (3276, "hdfs_datanode_transfer_threads", 4096),
        (3277, "hdfs_datanode_transfer_threads", 8192),
        (4096, "kernel_somaxconn", 8192),
        (4097, "kernel_somaxconn", 16384),
        (32_000, "kernel_somaxconn", 65535),
        (102, "bestman_heap_mb", 512),
        (103, "bestman_heap_mb", 514),
        (7680, "bestman_nofile", 65536),
        (7681, "bestman_nofile", 65544),
    ],
)
def test_where_a_value_steps(clients: int, variable: str, value: Scalar) -> None:
    everything = replace(LAPTOP, memory_mb=2**22, nofile_hard=None)
    advice = advised(everything, clients)
    assert (advice.carried, by_variable(advice)[variable].recommended) == (clients, value)


# --- what binds ---------------------------------------------------------------------------

_LARGE = replace(PAPER, memory_mb=2**20, nofile_hard=None)


def _unsettable(value: int) -> Seen:
    return Seen(effective=value, settable=False, cause="it is the machine's")


@pytest.mark.parametrize(
    ("reading", "clients", "shape", "binding", "carried"),
    [
        (replace(_LARGE, nofile_hard=20_000), 2000, PAPER_SHAPE, "open files", 1988),
        (replace(_LARGE, nofile_hard=20_000), 9000, Shape(doors=3), "open files", 5964),
        (replace(_LARGE, nofile_hard=4000), 2000, PAPER_SHAPE, "open files", 0),
        (_LARGE, 500_000, PAPER_SHAPE, "accept queue", 32_767),
        (replace(PAPER, memory_mb=1000), 10, PAPER_SHAPE, "RAM", 0),
        (_with(_LARGE, kernel_pid_max=_unsettable(1018)), 2000, PAPER_SHAPE,
         "process numbers", 800),
        (_with(_LARGE, kernel_max_map_count=_unsettable(12_036)), 2000, PAPER_SHAPE,
         "memory maps", 800),
        (_with(_LARGE, bestman_tasks_max=_unsettable(518)), 2000, PAPER_SHAPE, "tasks", 400),
        (replace(DATA_SERVER, memory_mb=3048, reserved_mb=1024), 8000, DATA_SERVER_SHAPE,
         "RAM", 403),
        (DATA_SERVER, 8000, replace(DATA_SERVER_SHAPE, hdfs_dsi=True), "RAM", 1667),
        (replace(DATA_SERVER, memory_mb=2**22), 200_000, DATA_SERVER_SHAPE, "data ports", 65_600),
    ],
)  # fmt: skip
def test_what_ends_first(
    reading: HostReading, clients: int, shape: Shape, binding: str, carried: int
) -> None:
    advice = advised(reading, clients, shape)
    assert (advice.binding, advice.carried) == (binding, carried)
    assert binding in advice.limit
    one = advised(reading, max(1, carried), shape)
    assert {s.variable: s.recommended for s in one.settings} == {
        s.variable: s.recommended for s in advice.settings
    }


def test_a_host_without_room_for_one_client_says_so_and_gets_the_settings_for_one() -> None:
    advice = advised(replace(PAPER, memory_mb=1000), 10)
    assert advice.limit.startswith("Not even 1 client fits, for want of RAM: this host needs ")
    assert by_variable(advice)["bestman_heap_mb"].recommended == 512


def test_open_files_are_cut_to_the_hard_limit_where_that_is_enough() -> None:
    nofile = by_variable(advised(replace(PAPER, nofile_hard=20_000), 1000))["bestman_nofile"]
    assert nofile.recommended == 20_000
    assert "12096 are used" in nofile.reason


def test_listings_beyond_all_measure_end_at_the_largest_heap() -> None:
    whale = replace(_LARGE, memory_mb=2**30)
    advice = tuning.advise(whale, Load(1000, entries=1_000_000), PAPER_SHAPE, {})
    assert (advice.binding, advice.carried) == ("Java heap", 209)
    advice = tuning.advise(whale, Load(1, entries=10**9), PAPER_SHAPE, {})
    assert advice.carried == 0
    assert by_variable(advice)["bestman_heap_mb"].recommended == 2**20


# --- the kernel ---------------------------------------------------------------------------


def test_a_kernel_setting_is_never_brought_below_what_the_host_had() -> None:
    seen = Seen(configured=16384, effective=16384, before=512)
    tuned = by_variable(advised(_with(PAPER, kernel_max_syn_backlog=seen), 2000))
    assert tuned["kernel_max_syn_backlog"].recommended == 8192
    untouched = by_variable(
        advised(_with(PAPER, kernel_max_syn_backlog=Seen(effective=16384)), 2000)
    )
    assert untouched["kernel_max_syn_backlog"].recommended == 16384
    assert untouched["kernel_max_syn_backlog"].now == 16384


def test_queues_are_no_longer_than_a_somaxconn_that_cannot_be_raised() -> None:
    barred = replace(_with(LAPTOP, kernel_somaxconn=_unsettable(128)), container="podman")
    advice = advised(barred, 100)
    found = by_variable(advice)
    assert found["kernel_somaxconn"].recommended == 8192
    assert not found["kernel_somaxconn"].settable
    assert found["bestman_accept_queue"].recommended == 128
    assert "net.core.somaxconn is 128 here" in found["bestman_accept_queue"].reason
    assert found["hdfs_rpc_backlog"].recommended == 128
    (warning,) = (w for w in advice.warnings if "somaxconn" in w)
    assert warning.endswith("raise it to 8192 on the machine that runs this container.")


def test_other_kernel_settings_that_cannot_be_raised_are_warnedby_variable() -> None:
    barred = _with(LAPTOP, kernel_rmem_max=_unsettable(1), kernel_wmem_max=_unsettable(2**30))
    (warning,) = (w for w in advised(barred, 100).warnings if "cannot be raised" in w)
    assert warning.endswith("do it by hand: kernel_rmem_max.")


@pytest.mark.parametrize(
    ("reading", "given", "absent"),
    [
        (PAPER, {"kernel_somaxconn"}, {"kernel_rmem_max", "kernel_conntrack_max"}),
        (DATA_SERVER, {"kernel_somaxconn", "kernel_rmem_max", "kernel_conntrack_max"}, set()),
        (
            replace(DATA_SERVER, components=frozenset({"hdfs"}),
                    groups=frozenset({"hdfs_datanode"})),
            {"kernel_rmem_max", "kernel_default_qdisc"},
            {"kernel_somaxconn", "hdfs_fuse_heap_mb", "gridftp_nofile", "hdfs_rpc_backlog"},
        ),
        (
            replace(PAPER, components=frozenset({"firewall"}),
                    groups=frozenset({"hdfs_checkpoint"})),
            {"kernel_pid_max", "kernel_max_map_count"},
            {"kernel_somaxconn", "kernel_rmem_max", "bestman_heap_mb", "hdfs_fuse_heap_mb"},
        ),
        (_with(PAPER, kernel_conntrack_max=Seen()), set(), {"kernel_conntrack_max"}),
    ],
)  # fmt: skip
def test_a_host_gets_the_settings_of_what_it_is(
    reading: HostReading, given: set[str], absent: set[str]
) -> None:
    found = set(by_variable(advised(reading, 100)))
    assert given <= found
    assert not absent & found
    assert {"kernel_pid_max", "kernel_max_map_count"} <= found


# --- ports --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("present", "sessions", "expected"),
    [
        ("50000,51000", 500, "50000,51000"),
        ("50000,51000", 501, "50000,51001"),
        ("50000,51000", 5500, "50000,60999"),
        ("50000,51000", 5501, "49998,60999"),
        ("40000,59999", 100, "40000,59999"),
        ("62000,62100", 100, "60800,60999"),
        ("1024,65535", 32_256, "1024,65535"),
        ("50000,51000", 20_500, "20000,60999"),
        ("none", 100, "50000,51000"),
    ],
)
def test_a_range_of_ports_is_widened_where_it_must(
    present: str, sessions: int, expected: str
) -> None:
    reading = replace(
        _with(DATA_SERVER, gridftp_port_range=Seen(effective=present)), memory_mb=2**22
    )
    advice = tuning.advise(reading, Load(sessions, headroom=1), Shape(), {})
    assert by_variable(advice)["gridftp_port_range"].recommended == expected


def test_sessions_that_hold_a_java_machine_get_more_tasks() -> None:
    found = by_variable(advised(DATA_SERVER, 800, replace(DATA_SERVER_SHAPE, hdfs_dsi=True)))
    assert found["gridftp_connections_max"].recommended == 250
    assert found["gridftp_tasks_max"].recommended == str(64 * 250 + 64)
