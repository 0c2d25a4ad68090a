"""The role ``kernel``: what it hands on, when it does nothing, and what becomes of its ledger.

On the machine of the tests nothing is set: the role runs in check mode, the module over a
directory that stands for /proc/sys.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from oldest_python import PYTHON

from cloudlet_deploy import content
from cloudlet_deploy.site import schema
from tests.contract.rendering import Evaluate

Run = Callable[..., Any]
SOMAXCONN, RMEM = "net.core.somaxconn", "net.ipv4.tcp_rmem"
DEFAULTS = content.roles()["kernel"] / "defaults" / "main.yml"
VARS = yaml.safe_load((content.roles()["kernel"] / "vars" / "main.yml").read_text())


def _role(**settings: Any) -> list[dict[str, Any]]:
    role = {"ansible.builtin.include_role": {"name": "cloudlet.deploy.kernel"}, "vars": settings}
    return [role]


def _read(name: str) -> str:
    return " ".join(Path("/proc/sys", *name.split(".")).read_text().split())


@pytest.mark.one_core
@pytest.mark.parametrize("settings", [{}, {"cloudlet_tasks": "needs"}, {"kernel_somaxconn": 0}])
def test_where_nothing_is_wanted_nothing_is_done(run_tasks: Run, settings: dict[str, Any]) -> None:
    results = run_tasks(_role(**settings), check=True)
    assert results.returncode == 0, results.output
    assert len(results) <= 3, results
    assert not any("changes" in one for one in results)


@pytest.mark.parametrize("facts", [{"cloudlet_sets": ["kernel"]}, {"cloudlet_sysctls": True}])
def test_what_was_set_before_is_undone(run_tasks: Run, facts: dict[str, Any]) -> None:
    told = {"ansible.builtin.set_fact": {**facts, "cacheable": True}}
    # As host_check sets them: below ansible_facts.
    results = run_tasks([told, *_role()], check=True)
    assert results.returncode == 0, results.output
    assert [one["changes"] for one in results if "changes" in one] == [[], []]


def test_the_file_says_what_is_set_and_each_variable_does(run_tasks: Run) -> None:
    """With values that this machine has, so that check mode is let through to the file."""
    numbers = {
        option: name
        for table in ("__kernel_numbers", "__kernel_last_numbers")
        for name, template in VARS[table].items()
        for option in [template.strip("{} ")]
    }
    options = set(schema.role_specs()["kernel"].options)
    assert options == {*numbers, "kernel_state", "kernel_abort_on_overflow"}
    there = {
        option: _read(name)
        for option, name in numbers.items()
        if Path("/proc/sys", *name.split(".")).exists()
    }
    wanted = {
        option: value if option == "kernel_default_qdisc" else int(value.split()[-1])
        for option, value in there.items()
    }
    overflow = "net.ipv4.tcp_abort_on_overflow"
    wanted["kernel_abort_on_overflow"] = "on" if _read(overflow) == "1" else "off"
    results = run_tasks(_role(**wanted), check=True, diff=True)
    assert results.returncode == 0, results.output
    runtime, files = [one for one in results if "changes" in one]
    assert runtime["changes"] == []
    expected = {numbers[option]: value for option, value in there.items()}
    expected[overflow] = _read(overflow)
    assert runtime["wanted"] == expected
    diffs = {
        one["after_header"]: one["after"]
        for one in files["diff"]
        if "attributes" not in one["after_header"]
    }
    (text,) = (diffs[path] for path in diffs if "sysctl.d" in path)
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines == [f"{name} = {value}" for name, value in sorted(expected.items())]
    modules = any("modules-load.d" in path for path in diffs)
    assert modules is ("kernel_conntrack_max" in there)


def test_words_that_yaml_takes_for_others_mean_the_same(evaluate: Evaluate) -> None:
    words = {"on": "1", True: "1", "off": "0", False: "0", "leave": None}
    plain = {**VARS, **yaml.safe_load(DEFAULTS.read_text())}
    settings = [{**plain, "kernel_abort_on_overflow": word} for word in words]
    found = evaluate({"values": "__kernel_values"}, settings)
    for (word, value), one in zip(words.items(), found, strict=True):
        expected = {} if value is None else {"net.ipv4.tcp_abort_on_overflow": value}
        assert one["values"] == expected, word


@pytest.mark.one_core
def test_a_value_is_checked_before_the_file_is_written(run_tasks: Run) -> None:
    results = run_tasks(_role(kernel_tcp_rmem=1), check=True)
    assert results.returncode != 0
    assert f"{RMEM}: the wanted maximum 1 is below the default" in results[-1]["msg"]
    assert results[-1]["next_step"].startswith("Want at least")
    assert not any("generation" in one for one in results)


# ---- the module through Ansible, on the oldest Python ---------------------------------------


def _module(base: Path, **arguments: Any) -> dict[str, Any]:
    full = {"component": "kernel", "tree": str(base / "sys"), "state_dir": str(base / "state")}
    return {"cloudlet.deploy.sysctl_set": {**full, **arguments}, "ignore_errors": True}


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    """A directory with ``sys``, where two settings are files."""
    for name, value in ((SOMAXCONN, "4096"), (RMEM, "4096\t131072\t6291456")):
        path = tmp_path.joinpath("sys", *name.split("."))
        path.parent.mkdir(parents=True)
        path.write_text(f"{value}\n")
    return tmp_path


def test_settings_come_and_go_as_planned(run_tasks: Run, kernel: Path) -> None:
    want = {"values": {SOMAXCONN: 8192}, "maxima": {RMEM: 16777216}}
    tasks = [
        {**_module(kernel, **want), "check_mode": True},
        _module(kernel, **want),
        _module(kernel, **want),
        _module(kernel, values={"net.core.rmem_max": 1}),
        {**_module(kernel, state="absent"), "check_mode": True},
        _module(kernel, state="absent"),
        _module(kernel, state="followed", generations={}),
        {"cloudlet.deploy.sysctl_set": {"state": "present"}, "ignore_errors": True},
    ]
    results = run_tasks(tasks, python=PYTHON)
    planned, made, again, unknown, going, gone, followed, incomplete = results
    assert planned["changes"] == made["changes"] != []
    assert made["changes"][0] == {
        "kind": "sysctl", "name": SOMAXCONN, "action": "set", "detail": "4096 -> 8192",
    }  # fmt: skip
    assert made["wanted"] == {SOMAXCONN: "8192", RMEM: "4096 131072 16777216"}
    assert again["changes"] == [] and again["changed"] is False
    assert unknown["failed"] and "net.core.rmem_max: wanted 1, found nothing" in unknown["msg"]
    assert unknown["next_step"] and unknown["changes"] == []
    assert going["changes"] == gone["changes"]
    assert [one["action"] for one in gone["changes"]] == ["restore", "restore"]
    assert followed["changed"] is False
    assert incomplete["failed"] and "component" in incomplete["msg"]


@pytest.mark.one_core
def test_a_truncated_ledger_is_refused_by_name(run_tasks: Run, kernel: Path) -> None:
    want = _module(kernel, values={SOMAXCONN: 8192})
    run_tasks([want], python=PYTHON)
    ledger = kernel / "state" / "ledger.json"
    whole = ledger.read_text()
    ledger.write_text(whole[:40])
    tasks = [_module(kernel, values={SOMAXCONN: 1}), _module(kernel, state="absent")]
    for one in run_tasks([*tasks, {**tasks[0], "check_mode": True}], python=PYTHON):
        assert one["failed"] and f"{ledger} cannot be read" in one["msg"], one
    assert (kernel / "sys/net/core/somaxconn").read_text() == "8192\n"
    assert ledger.read_text() == whole[:40]
