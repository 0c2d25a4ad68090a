"""Status sees what became of a deployed site, and leaves it as it is.

The tests build on each other. Idle, the module takes about two minutes: one lab, one apply,
seven looks.
"""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from cloudlet_deploy import lab as labs
from cloudlet_deploy.lab import ca
from tests.lab.conftest import DOOR, SERVERS, TRANSFER, TestLab
from tests.lab.snapshot import difference
from tests.lab.test_bad_input import look

pytestmark = pytest.mark.lab

GRIDFTP_CONF = "/etc/gridftp.d/cloudlet.conf"
JETTY = "/etc/bestman2/conf/WEB-INF/jetty.xml"
HOST_CERTIFICATE = "/etc/grid-security/hostcert.pem"
HOST_KEY = "/etc/grid-security/hostkey.pem"


def status(lab: TestLab, code: int) -> dict[str, Any]:
    """The document of a status that must exit with ``code``."""
    done = lab.cli("status", "--output", "json")
    assert done.returncode == code, done.stdout + done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def by_host(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {host["host"]: host for host in document["hosts"]}


def problems(host: dict[str, Any]) -> set[tuple[str, str]]:
    """Check and level of each finding; each says what to do."""
    assert all(problem["next_step"] for problem in host["problems"])
    return {(problem["check"], problem["status"]) for problem in host["problems"]}


def test_hosts_that_were_never_applied_say_so(lab: TestLab) -> None:
    for host in by_host(status(lab, 2)).values():
        assert not host["applied"]
        assert problems(host) == {("files", "drift")}


def test_after_an_apply_all_is_fine_and_looking_changes_nothing(lab: TestLab) -> None:
    run = json.loads(lab.apply("--output", "json").stdout)["run"]
    before = look(lab, *SERVERS)
    found = status(lab, 0)
    done = lab.cli("preflight")
    assert done.returncode == 0, done.stdout
    after = look(lab, *SERVERS)
    for host in SERVERS:
        assert not difference(before[host], after[host]), host
    assert found["left"] == []
    hosts = by_host(found)
    assert set(hosts) == set(SERVERS)
    for host in hosts.values():
        assert problems(host) == set()
        assert all(entry["healthy"] for entry in host["health"])
        assert all(entry["active"] and entry["enabled"] is True for entry in host["units"])
        assert all(host["packages"].values())
        kinds = {entry["kind"]: entry["days_left"] for entry in host["certificates"]}
        assert set(kinds) == {"certificate", "ca", "crl"}
        assert min(kinds.values()) > 300
    assert {entry["kind"] for host in hosts.values() for entry in host["health"]} == {
        *("srm", "gridftp"),
    }
    assert {entry["run"] for host in hosts.values() for entry in host["sets"]} == {run}


def test_each_disorder_is_named(lab: TestLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ca, "_LIFE", timedelta(days=12, hours=1))
    pki = ca.Pki(lab.site / ".lab" / "pki")
    (pki.host(TRANSFER) / "hostcert.pem").unlink()
    pki.ensure((TRANSFER,))
    for path in (HOST_CERTIFICATE, HOST_KEY):
        text = (pki.host(TRANSFER) / Path(path).name).read_text()
        lab.run(TRANSFER, f"cat >{path}", stdin=text)
    lab.run(TRANSFER, f"echo '# the canary word' >>{GRIDFTP_CONF}")
    lab.run(DOOR, f"rm {JETTY}; systemctl stop bestman2; chmod 640 {HOST_KEY}")
    document = status(lab, 5)
    assert "canary" not in json.dumps(document)
    assert "PRIVATE KEY" not in json.dumps(document)
    hosts = by_host(document)
    assert problems(hosts[TRANSFER]) == {("file", "drift"), ("certificate", "warning")}
    drift = {entry["path"]: entry["kind"] for entry in hosts[TRANSFER]["drift"]}
    assert drift == dict.fromkeys((HOST_CERTIFICATE, HOST_KEY, GRIDFTP_CONF), "changed")
    (warning,) = [p for p in hosts[TRANSFER]["problems"] if p["check"] == "certificate"]
    assert "in 12 days" in warning["detail"]
    assert problems(hosts[DOOR]) == {("service", "failed"), ("unit", "failed"), ("file", "drift")}
    drift = {entry["path"]: entry["kind"] for entry in hosts[DOOR]["drift"]}
    assert drift == {JETTY: "missing", HOST_KEY: "attributes"}
    details = " ".join(problem["detail"] for problem in hosts[DOOR]["problems"])
    assert "bestman2.service is inactive (dead)" in details
    assert f"srm {DOOR}:8443: nothing answers there" in details


def test_prometheus_can_read_it(lab: TestLab) -> None:
    done = lab.cli("status", "--output", "prometheus")
    assert done.returncode == 5, done.stderr
    found = {
        (sample.name, sample.labels.get("host"), sample.labels.get("path")): sample.value
        for family in text_string_to_metric_families(done.stdout)
        for sample in family.samples
    }
    assert found["cloudlet_status_exit_code", None, None] == 5
    assert found["cloudlet_service_healthy", DOOR, None] == 0
    assert found["cloudlet_service_healthy", TRANSFER, None] == 1
    end = found["cloudlet_certificate_expiry_time_seconds", TRANSFER, HOST_CERTIFICATE]
    left = end - found["cloudlet_status_time_seconds", None, None]
    assert 11 * 86400 < left < 13 * 86400


def test_a_host_that_is_down_is_told(lab: TestLab, monkeypatch: pytest.MonkeyPatch) -> None:
    labs.kill(lab.name, DOOR)
    monkeypatch.setenv("COLUMNS", "80")
    done = lab.cli("status")
    labs.start(lab.name, DOOR)
    assert done.returncode == 3, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if line[0] != " "] == [
        f"{DOOR}  unreachable",
        next(line for line in lines if line.startswith(f"{TRANSFER}  drift  12 files, ")),
        "1 host not reached",
        "1 host not as applied",
        "next: 'cloudlet-deploy plan' shows how apply mends drift; what another hand",
        "wrote is kept aside on the host.",
    ]
    assert "it does not answer" in done.stdout


def test_a_host_that_left_the_inventory_is_named_with_what_it_holds(lab: TestLab) -> None:
    path = lab.site / "hosts.yml"
    inventory = yaml.safe_load(path.read_text())
    del inventory["bestman"]
    path.write_text(yaml.safe_dump(inventory))
    connection = lab.site / "lab_connection.yml"
    known = yaml.safe_load(connection.read_text())
    del known["all"]["hosts"][DOOR]
    connection.write_text(yaml.safe_dump(known))
    found = status(lab, 2)
    assert list(by_host(found)) == [TRANSFER]
    (left,) = found["left"]
    assert left["host"] == DOOR
    held = {(entry["kind"], entry["name"]) for entry in left["holds"]}
    assert {
        *[("file", JETTY), ("unit", "bestman2.service"), ("package", "openjdk-17-jre-headless")],
    } <= held
