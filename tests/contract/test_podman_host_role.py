"""The role ``podman_host``: what it hands on, and its modules through Ansible.

On the machine of the tests nothing is changed: roles run in check mode, and ``subid_set`` over
files in a directory.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from oldest_python import PYTHON

from cloudlet_deploy import content

pytestmark = pytest.mark.slow

Run = Callable[..., Any]
ROLE = content.roles()["podman_host"]
FACTS = {
    "ansible.builtin.set_fact": {
        "os_family": "Debian", "distribution": "Debian", "distribution_major_version": "12",
        "cacheable": True,
    }
}  # fmt: skip


def _role(**settings: Any) -> list[dict[str, Any]]:
    role = {"name": "cloudlet.deploy.podman_host"}
    return [FACTS, {"ansible.builtin.include_role": role, "vars": settings}]


def _files(etc: Path) -> Path:
    etc.mkdir()
    for name in ("subuid", "subgid"):
        (etc / name).write_text("admin:100000:65536\n")
    return etc


def _module(base: Path, **arguments: Any) -> dict[str, Any]:
    full = {"component": "podman_host", "state_dir": str(base / "state"), **arguments}
    full["directory"] = str(base / "etc")
    return {"cloudlet.deploy.subid_set": full, "ignore_errors": True}


def test_ids_come_and_go_as_planned(run_tasks: Run, tmp_path: Path) -> None:
    etc = _files(tmp_path / "etc")
    want = {"account": "cloudlet-test", "uids": [323456, "323457-323460"], "gids": [323400]}
    tasks = [
        _module(tmp_path, state="checked", **want),
        {**_module(tmp_path, **want), "check_mode": True},
        _module(tmp_path, **want),
        _module(tmp_path, **want),
        _module(tmp_path, account="cloudlet-test", users=["nobody-of-this-name"]),
        {**_module(tmp_path, state="absent"), "check_mode": True},
        _module(tmp_path, state="absent"),
        {"cloudlet.deploy.subid_set": {"state": "present"}, "ignore_errors": True},
    ]
    results = run_tasks(tasks, python=PYTHON)
    if "user namespaces cannot be made" in results[0].get("msg", ""):
        pytest.skip("cannot make user namespaces here")
    looked, planned, made, again, unknown, going, gone, incomplete = results
    assert looked["changes"] == [] and looked["changed"] is False
    assert looked["ids"] == planned["ids"] == made["ids"] == again["ids"]
    assert made["ids"]["uids"] == [[323456, 5]]
    assert planned["changes"] == made["changes"]
    assert made["changes"][1] == {
        "kind": "subid", "name": f"{etc}/subuid cloudlet-test:323456:5", "action": "create",
        "detail": "",
    }  # fmt: skip
    assert again["changes"] == [] and again["changed"] is False
    assert unknown["failed"] and "nobody-of-this-name of podman_host_approved" in unknown["msg"]
    assert unknown["next_step"] and unknown["changes"] == []
    assert going["changes"] == gone["changes"] and len(gone["changes"]) == 4
    assert incomplete["failed"] and "component" in incomplete["msg"]
    assert (etc / "subuid").read_text() == "admin:100000:65536\n" == (etc / "subgid").read_text()


def test_a_map_that_the_kernel_does_not_take_is_refused(run_tasks: Run, tmp_path: Path) -> None:
    etc = _files(tmp_path / "etc")
    # So many that no kernel's limit is near.
    want = {"account": "cloudlet-test", "uids": list(range(300_000, 310_000, 2))}
    check = {**_module(tmp_path, **want), "check_mode": True}
    for result in run_tasks([check, _module(tmp_path, **want)], python=PYTHON):
        if "user namespaces cannot be made" in result["msg"]:
            pytest.skip("cannot make user namespaces here")
        assert result["failed"] and "the kernel does not take the map of user ids" in result["msg"]
        assert "5002 lines" in result["msg"] and "share a line" in result["next_step"]
    assert (etc / "subuid").read_text() == "admin:100000:65536\n"
    assert not (tmp_path / "state" / "ledger.json").exists()


def test_a_bare_host_is_planned_to_the_end(run_tasks: Run) -> None:
    account = "cloudlet-test"
    settings = {
        "podman_host_account": account,
        "podman_host_delegated_uids": [323456],
        "selinux_accept_mode": "disabled",
    }
    results = run_tasks(_role(**settings), check=True, diff=True)
    if "user namespaces cannot be made" in results[-1].get("msg", ""):
        pytest.skip("cannot make user namespaces here")
    assert results.returncode == 0, results.output
    changes = [change for one in results for change in one.get("changes", [])]
    told = {(change["kind"], change["name"]): change["action"] for change in changes}
    assert told["account", account] in ("create", "change")
    assert told["subid", f"/etc/subuid {account}:323456:1"] == "create"
    assert told["directory", f"/var/lib/{account}"] == "create"
    assert changes[-1] == {
        "kind": "account", "name": account, "action": "change", "detail": "lingers",
    }  # fmt: skip
    assert not any(change["kind"] == "podman" for change in changes)
    files = {
        one["after_header"]: one["after"]
        for result in results
        for one in result.get("diff", [])
        if isinstance(one, dict) and "attributes" not in one.get("after_header", "attributes")
    }
    (program,) = (text for path, text in files.items() if "pod-id-map" in path)
    library = (ROLE / "../../plugins/module_utils/idmaps.py").read_text()
    assert program.startswith("#!/usr/bin/python3 -I\n") and program.rstrip().endswith(
        library.rstrip()
    )
    (document,) = (text for path, text in files.items() if "ids.json" in path)
    assert json.loads(document)["uids"] == [[323456, 1]]
    (storage,) = (text for path, text in files.items() if "storage.conf" in path)
    assert storage.splitlines()[1:] == ["[storage]", 'driver = "overlay"']


def test_what_lies_above_its_files_is_made_where_a_minimal_host_lacks_it() -> None:
    """And every mode is one that the oldest Podman leaves as it is."""
    described = yaml.safe_load((ROLE / "vars" / "main.yml").read_text())
    made = {one["path"]: one["mode"] for one in described["__podman_host_directories"]}
    program = "{{ __podman_host_program | dirname }}"
    assert {"{{ __podman_host_program | dirname | dirname }}", program} <= made.keys()
    assert made["{{ podman_host_home }}"] == "0711"


@pytest.mark.one_core
def test_nothing_is_planned_where_ids_are_refused(run_tasks: Run) -> None:
    results = run_tasks(_role(podman_host_approved_users=["root"]), check=True)
    assert results.returncode != 0
    assert "root (uid 0) is an account of the system" in results[-1]["msg"]
    assert not any(one.get("changes") for one in results)


@pytest.mark.one_core
def test_undoing_on_a_bare_host_changes_nothing(run_tasks: Run) -> None:
    results = run_tasks(_role(podman_host_state="absent"), check=True)
    assert results.returncode == 0, results.output
    assert [change for one in results for change in one.get("changes", [])] == []


@pytest.mark.one_core
def test_needs_are_told(run_tasks: Run) -> None:
    results = run_tasks(_role(cloudlet_tasks="needs"), check=True)
    assert results.returncode == 0, results.output
    needs = results[-1]["ansible_facts"]["cloudlet_needs"]["podman_host"]
    assert {"podman", "uidmap"} <= set(needs["packages"])
    assert [probe["argv"][0] for probe in needs["probes"]] == [
        yaml.safe_load((ROLE / "vars" / "main.yml").read_text())["__podman_host_program"],
        "test",
    ]
