"""Preflight and plan look at bare hosts, name what is in the way, and change nothing.

Idle, the module takes about two minutes: one lab, two plans, five preflights.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from cloudlet_deploy import content
from cloudlet_deploy import lab as labs
from tests.lab.conftest import DOOR, SERVERS, TRANSFER, TestLab, set_values
from tests.lab.snapshot import difference
from tests.lab.test_bad_input import look, mount

pytestmark = pytest.mark.lab

PLAN_SCHEMA = Path(content.root()) / "docs" / "reference" / "plan.schema.json"


def preflight(lab: TestLab, code: int, *args: str) -> dict[str, dict[str, Any]]:
    """The document of a preflight that must exit with ``code``, by host."""
    done = lab.cli("preflight", "--output", "json", *args)
    assert done.returncode == code, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert document["exit_code"] == code
    return {host["host"]: host for host in document["hosts"]}


def faults(host: dict[str, Any]) -> dict[str, dict[str, str]]:
    """What is not ok on a host, by check; each has its remedy."""
    found = {check["check"]: check for check in host["checks"] if check["status"] != "ok"}
    assert all(check["next_step"] for check in found.values())
    return found


def test_bare_hosts_are_ready_and_stay_bare(lab: TestLab) -> None:
    bare = look(lab, *SERVERS)
    found = preflight(lab, 0)
    plan = lab.plan()
    after = look(lab, *SERVERS)
    for host in SERVERS:
        assert not difference(bare[host], after[host]), host
    assert set(found) == set(SERVERS)
    for host in found.values():
        assert host["status"] == "ok", faults(host)
        assert {check["check"] for check in host["checks"]} == {
            *("reach", "system", "clock", "memory", "space", "directories", "names", "ports"),
            *("accounts", "packages", "selinux", "certificates"),
        }
    assert plan["exit_code"] == 2
    jsonschema.validate(plan, json.loads(PLAN_SCHEMA.read_text()))


def test_what_is_in_the_way_is_named_with_its_remedy(lab: TestLab) -> None:
    lab.run(
        DOOR,
        "systemd-run --unit=squatter python3 -m http.server 8443;"
        # Podman mounts the file, so it can be written and not replaced.
        f" grep -v {DOOR} /etc/hosts >/root/hosts; echo 127.0.1.1 {DOOR} door >>/root/hosts;"
        " cat /root/hosts >/etc/hosts",
    )
    lab.run(TRANSFER, "useradd -u 5001 -M squatter; mkdir -p /var/log/gridftp")
    mount(lab, TRANSFER, "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/var/log/gridftp")
    set_values(lab.site / "host_vars" / f"{DOOR}.yml", bestman_heap_mb=1_000_000)
    found = preflight(lab, 5)
    door, transfer = faults(found[DOOR]), faults(found[TRANSFER])
    assert set(door) == {"ports", "names", "memory"}
    assert door["ports"]["detail"].startswith("port 8443 (bestman_port) is taken by python3 (pid ")
    assert door["ports"]["detail"].endswith(") of squatter.service")
    assert "127.0.1.1" in door["names"]["detail"]
    assert "1000000 for the heap of the door (bestman_heap_mb)" in door["memory"]["detail"]
    assert set(transfer) == {"accounts", "space"}
    clashes = {
        check["detail"]: check["component"]
        for check in found[TRANSFER]["checks"]
        if check["check"] == "accounts" and check["status"] == "failed"
    }
    assert clashes == {
        "Group grid wants the gid 5001, which group squatter has": "grid_trust",
        "Account grid wants the uid 5001, which account squatter has": "grid_trust",
    }
    assert transfer["space"]["detail"].startswith("/var/log/gridftp has 1 MiB free, 200 MiB")
    before = lab.snapshot(DOOR)
    refused = lab.cli("apply", "--yes", "--limit", DOOR)
    assert refused.returncode == 5, refused.stdout + refused.stderr
    assert f"{DOOR} (preflight): port 8443" in refused.stderr
    assert refused.stdout == "No host can be worked on; nothing was changed.\n"
    assert not difference(before, lab.snapshot(DOOR))
    (lab.site / "host_vars" / f"{DOOR}.yml").unlink()


def test_the_table_names_the_worst_first(lab: TestLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    labs.kill(lab.name, TRANSFER)
    done = lab.cli("preflight")
    labs.start(lab.name, TRANSFER)
    assert done.returncode == 3, done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if line[0] != " "] == [
        f"{TRANSFER}  unreachable",
        f"{DOOR}  failed  10 checks fine",
        "1 host not reached",
        "1 host cannot be deployed to",
    ]
    assert "  reach                  it does not answer: " in done.stdout
    assert "next: Stop that process, or choose another port in" in done.stdout


def test_a_host_without_privilege_is_told_what_it_lacks(lab: TestLab) -> None:
    lab.run(DOOR, "mv /etc/sudoers.d/admin /etc/sudoers.d-admin")
    found = preflight(lab, 5, "--limit", DOOR)
    assert list(found) == [DOOR]
    (check,) = found[DOOR]["checks"]
    assert (check["check"], check["status"]) == ("system", "failed")
    assert "could not run a command as root" in check["detail"]
    assert "--ask-become-pass" in check["next_step"]
