"""The role ``data_mounts``: what it writes, what it keeps secret, and when it does nothing.

On the machine of the tests nothing is mounted: the role runs in check mode.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

Run = Callable[..., Any]
KEY = "AAAAC3NzaC1lZDI1NTE5AAAAINJl8KNXGFk9LSPpm0RdRhyDmKMjLCgkuUnlewAc1AFt"
SECRET_TEXT = "QUJDREVGR0g="
CIFS = {
    "name": "k3",
    "share": "//cam.example.org/my movies",
    "where": "/srv/cloudlet-test/k3",
    "username": "reader",
    "password": "{{ the_password }}",
    "domain": "LAB",
}
SSHFS = {
    "name": "em",
    "host": "login.example.org",
    "user": "em",
    "path": "/gpfs/em",
    "where": "/srv/cloudlet-test/em",
    "known_hosts": [f"login.example.org ssh-ed25519 {KEY}"],
}


def _role(tasks: str, sets: list[str], **settings: Any) -> list[dict[str, Any]]:
    facts = {"os_family": "Debian", "cloudlet_sets": sets, "cacheable": True}
    given = {**settings, **({"cloudlet_tasks": tasks} if tasks else {})}
    role = {"name": "cloudlet.deploy.data_mounts"}
    return [
        {"ansible.builtin.set_fact": facts},
        {"ansible.builtin.include_role": role, "vars": given},
    ]


def _key(tmp_path: Path) -> Path:
    path = tmp_path / "em.key"
    # In two parts, as no file of ours looks as if it held a key.
    begin, end = (f"-----{word} RSA " + "PRIVATE KEY-----" for word in ("BEGIN", "END"))
    path.write_text(f"{begin}\n{SECRET_TEXT}\n{end}\n")
    path.chmod(0o600)
    return path


def _both(tmp_path: Path) -> dict[str, Any]:
    return {
        "data_mounts_cifs": [CIFS],
        "data_mounts_sshfs": [{**SSHFS, "key_file": str(_key(tmp_path))}],
    }


@pytest.mark.one_core
@pytest.mark.parametrize("tasks", ["", "needs"])
def test_where_nothing_is_wanted_nothing_is_done(run_tasks: Run, tasks: str) -> None:
    results = run_tasks(_role(tasks, []), check=True)
    assert results.returncode == 0, results.output
    assert not any("changes" in one for one in results)


@pytest.mark.one_core
def test_what_was_mounted_before_is_undone(run_tasks: Run) -> None:
    results = run_tasks(_role("", ["data_mounts"]), check=True)
    assert results.returncode == 0, results.output
    assert [one["changes"] for one in results if "changes" in one] == [[], [], [], []]


def test_what_is_written(run_tasks: Run, tmp_path: Path) -> None:
    results = run_tasks(
        _role("", [], **_both(tmp_path)),
        check=True,
        diff=True,
        extra_vars={"the_password": "s,e cret\"1'"},
    )
    assert results.returncode == 0, results.output
    (files,) = [one for one in results if "generation" in one]
    texts = {
        one["after_header"]: one["after"]
        for one in files["diff"]
        if "attributes" not in one["after_header"]
    }
    made = {one["name"] for one in files["changes"] if one["kind"] == "directory"}
    assert {"/srv/cloudlet-test", CIFS["where"], SSHFS["where"]} <= made
    units = {Path(name.split()[0]).name: text for name, text in texts.items()}
    mount = units["srv-cloudlet\\x2dtest-k3.mount"]
    assert "\nWhat=//cam.example.org/my movies\nWhere=/srv/cloudlet-test/k3\nType=cifs\n" in mount
    (options,) = re.findall(r"^Options=(.*)$", mount, re.MULTILINE)
    assert options.startswith("ro,vers=3.1.1,") and ",soft," in options
    # This machine has no SELinux, and the kernel would refuse the label.
    assert "context" not in options
    service = units["cloudlet-sshfs-srv-cloudlet\\x2dtest-em.service"]
    (start,) = re.findall(r"^ExecStart=(.*)$", service, re.MULTILINE)
    assert "em@login.example.org:/gpfs/em /srv/cloudlet-test/em -o reconnect," in start
    for unit in (mount, service):
        assert unit.startswith("# cloudlet-deploy data_mounts\n")
        assert "Before=remote-fs.target\n" in unit
        assert "WantedBy=remote-fs.target multi-user.target\n" in unit
        assert "{{" not in unit and "Requires" not in unit
    assert "Restart=always\n" in service and "TimeoutStartSec=30\n" in service
    assert "TimeoutSec=30\n" in mount and "LazyUnmount=yes\n" in mount
    listed = units["mounts"]
    assert [line.split("\t")[0] for line in listed.splitlines()] == ["k3", "em"]
    assert {len(line.split("\t")) for line in listed.splitlines()} == {8}


def test_secrets_are_told_to_nobody(run_tasks: Run, tmp_path: Path) -> None:
    results = run_tasks(
        _role("", [], **_both(tmp_path)),
        check=True,
        diff=True,
        extra_vars={"the_password": "Geheim,\"1'"},
        options=("-v",),
    )
    assert results.returncode == 0, results.output
    # What Ansible prints, and what a callback gets.
    for told in (results.output, str(list(results))):
        assert "k3.credentials" in told and "em.key" in told
        assert "Geheim" not in told and SECRET_TEXT not in told


@pytest.mark.one_core
def test_mounts_that_cannot_be_are_refused_before_anything_is_done(
    run_tasks: Run, tmp_path: Path
) -> None:
    unsafe = {**CIFS, "password": "Geheim", "options": ["hard"]}
    missing = {**SSHFS, "key_file": str(tmp_path / "none")}
    results = run_tasks(
        _role("", [], data_mounts_cifs=[unsafe], data_mounts_sshfs=[missing]), check=True
    )
    assert results.returncode != 0
    assert "has in k3 the option hard: leave it out" in results[-1]["msg"]
    assert f"the key_file {tmp_path}/none, which cannot be read" in results[-1]["msg"]
    assert not any("changes" in one for one in results)
    assert "Geheim" not in results.output


@pytest.mark.one_core
def test_status_looks_at_each_mount(run_tasks: Run, tmp_path: Path) -> None:
    results = run_tasks(_role("needs", [], **_both(tmp_path)), extra_vars={"the_password": "x"})
    assert results.returncode == 0, results.output
    needs = results[-1]["ansible_facts"]["cloudlet_needs"]["data_mounts"]
    assert needs["packages"] == ["cifs-utils", "sshfs"]
    assert needs["units"][0] == "cloudlet-data-mounts.timer" and len(needs["units"]) == 3
    assert not needs.get("names"), "the servers are none of this host's own names"
    assert [one["argv"][1:] for one in needs["probes"]] == [["check", "0", n] for n in ("k3", "em")]
