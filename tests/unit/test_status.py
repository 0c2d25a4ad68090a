"""What hosts report becomes findings, an exit code, a table, JSON and Prometheus' text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from cloudlet_deploy.cli import _status_view, render
from cloudlet_deploy.errors import ExitCode
from cloudlet_deploy.run import prometheus, status
from cloudlet_deploy.run.events import Change, Status
from cloudlet_deploy.run.findings import Level
from cloudlet_deploy.run.left import left_hosts
from cloudlet_deploy.run.looking import Looked
from cloudlet_deploy.run.outcome import ComponentOutcome, Failure
from cloudlet_deploy.run.record import Record

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DOOR, DATA = "door.example.org", "data1.example.org"


def expiring(days: float, kind: str = "certificate", life: float = 365) -> dict[str, Any]:
    end = NOW + timedelta(days=days)
    return {
        "path": f"/etc/grid-security/{kind}.pem",
        "kind": kind,
        "component": "grid_trust",
        "name": "/O=Grid/CN=door.example.org",
        "begin": int((end - timedelta(days=life)).timestamp()),
        "end": int(end.timestamp()),
    }


def unit(**more: Any) -> dict[str, Any]:
    fine = {"exists": True, "active": True, "enabled": True, "state": "active (running)"}
    return {"unit": "bestman2.service", "component": "bestman", **fine, **more}


def health(**more: Any) -> dict[str, Any]:
    fine = {"healthy": True, "explanation": "", "version": "2.3.0", "seconds": 0.11}
    where = {"kind": "srm", "host": DOOR, "port": 8443, "component": "bestman"}
    return {**where, **fine, **more}


def drifted(path: str, kind: str = "changed", **more: Any) -> dict[str, Any]:
    entry = {"component": "bestman", "path": path, "kind": kind, "detail": "", "secret": False}
    return {**entry, "restarts": [], **more}


def report(**more: Any) -> dict[str, Any]:
    """A host on which all is well, but for what ``more`` says."""
    whole = {
        "applied": True,
        "sets": [
            {"set": "bestman", "generation": 3, "run": "20261123T110000Z-abcdef", "release": None,
             "files": 7, "unfinished": False},
        ],
        "problems": [],
        "lease": None,
        "drift": [],
        "pending": {"restart": {}, "reload": {}},
        "units": [unit()],
        "health": [health()],
        "certificates": [expiring(200), expiring(200, "ca"), expiring(20, "crl", life=30)],
        "packages": {"sudo": "1.9"},
        "programs": {"java": "openjdk 17.0.2"},
        "probes": [],
        "watches": [],
    }  # fmt: skip
    assert more.keys() <= whole.keys()
    return {**whole, **more}


def judged(**reports: dict[str, Any]) -> status.SiteStatus:
    looked = Looked({f"{name}.example.org": told for name, told in reports.items()}, {})
    return status.judged(looked.reports, looked, {}, now=NOW)


def failing(host: str, state: Status, message: str = "Connection timed out") -> Failure:
    return Failure(host, "host_check", "Look", state, message)


@pytest.mark.parametrize(
    ("more", "level", "code", "words"),
    [
        ({}, Level.OK, 0, ""),
        ({"certificates": [expiring(29)]}, Level.WARNING, 0, "in 29 days"),
        ({"probes": [{"component": "firewall", "what": "rules are gone", "next_step": "Apply."}]},
         Level.DRIFT, 2, "rules are gone"),
        ({"certificates": [expiring(31)]}, Level.OK, 0, ""),
        ({"certificates": [expiring(7, "crl", life=30)]}, Level.WARNING, 0, "revocation list"),
        ({"certificates": [expiring(8, "crl", life=30)]}, Level.OK, 0, ""),
        ({"certificates": [expiring(-0.1, "crl", life=30)]}, Level.FAILED, 5, "expired on"),
        ({"certificates": [expiring(-1)]}, Level.FAILED, 5, "expired on 2026-11-22"),
        ({"certificates": [{"path": "/x", "kind": "ca", "component": "grid_trust",
                            "error": "missing"}]}, Level.FAILED, 5, "/x missing"),
        ({"drift": [drifted("/etc/rc", detail="content")]}, Level.DRIFT, 2,
         "/etc/rc was edited by another hand: content"),
        ({"drift": [drifted("/etc/rc", "missing")]}, Level.DRIFT, 2, "/etc/rc is gone"),
        ({"drift": [drifted("/k", secret=True)]}, Level.DRIFT, 2, "secret /k was edited"),
        ({"pending": {"restart": {"bestman2.service": ["bestman"]}, "reload": {}}},
         Level.DRIFT, 2, "must restart"),
        ({"units": [unit(enabled=False)]}, Level.DRIFT, 2, "would not start at boot"),
        ({"units": [unit(enabled="static")]}, Level.OK, 0, ""),
        ({"units": [unit(active=False, state="failed (exit-code)")]}, Level.FAILED, 5,
         "bestman2.service is failed (exit-code)"),
        ({"units": [unit(exists=False, active=False, enabled=False)]}, Level.FAILED, 5,
         "not on the host"),
        ({"health": [health(healthy=False, explanation="nothing answers", next_step="Look.")]},
         Level.FAILED, 5, "srm door.example.org:8443: nothing answers"),
        ({"packages": {"sudo": ""}}, Level.DRIFT, 2, "sudo is not installed"),
        ({"lease": {"run": "R", "holder": "run R (apply) of alice"}}, Level.WARNING, 0,
         "run R (apply) of alice holds the host"),
        ({"problems": ["/m is damaged"]}, Level.FAILED, 5, "/m is damaged"),
        ({"applied": False, "health": [health(healthy=False)]}, Level.DRIFT, 2, "never applied"),
    ],
)  # fmt: skip
def test_each_finding_has_its_level(
    more: dict[str, Any], level: Level, code: int, words: str
) -> None:
    found = judged(door=report(**more))
    (host,) = found.hosts
    assert (host.level, found.exit_code) == (level, code)
    assert len(host.problems) == bool(words)
    for problem in host.problems:
        assert words in problem.detail
        assert problem.next_step


def test_hosts_that_tell_nothing() -> None:
    looked = Looked(
        {DOOR: report()},
        {
            DATA: failing(DATA, Status.UNREACHABLE),
            "old.example.org": failing("old.example.org", Status.FAILED, "the host runs BeOS."),
        },
    )
    found = status.judged([DOOR, DATA, "old.example.org", "client"], looked, {}, now=NOW)
    assert [host.level for host in found.hosts] == [Level.OK, Level.UNREACHABLE, Level.FAILED]
    assert found.exit_code is ExitCode.UNREACHABLE
    # The host's name stands before it already.
    assert found.hosts[1].problems[0].detail == "it does not answer: Connection timed out"


# --- hosts that left ----------------------------------------------------------------------


def record(number: int, host: str, *changes: Change, **more: Any) -> Record:
    values: dict[str, Any] = {
        "run_id": f"20261123T1200{number:02}Z-abcdef",
        "command": "apply",
        "site": "my-site",
        "user": "root",
        "controller": "here",
        "started": f"2026-11-23T12:00:{number:02}Z",
        "ansible": "2.19",
        "phase": "change",
        "sources": ("/srv/my-site",),
        "components": (ComponentOutcome(host, "bestman", Status.CHANGED, changes),),
    }
    return Record(**{**values, **more})


FILE, UNIT = ("file", "/etc/rc"), ("unit", "x.service")


def test_a_host_that_left_is_named_with_what_it_holds() -> None:
    records = [
        record(3, "gone", Change(*UNIT, "stop"), Change(*UNIT, "disable")),
        record(1, "gone", Change(*FILE, "create"), Change(*UNIT, "enable")),
        record(2, "gone", Change(*FILE, "change"), Change(*UNIT, "restart")),
        record(4, "gone", Change(*FILE, "remove"), phase="plan"),
        record(5, "here", Change(*FILE, "create")),
        record(6, "elsewhere", Change(*FILE, "create"), sources=("/srv/other",)),
        record(7, "undone", Change(*FILE, "create")),
        record(8, "undone", Change(*FILE, "remove")),
        record(9, "gone", Change("sysctl", "net.core.somaxconn", "set")),
        record(10, "gone", Change("sysctl", "vm.max_map_count", "set")),
        record(11, "gone", Change("sysctl", "vm.max_map_count", "restore")),
    ]
    (left,) = left_hosts(records, ["/srv/my-site"], {"here"})
    assert (left.host, left.holds) == ("gone", (FILE, ("sysctl", "net.core.somaxconn")))
    assert left.run == records[-1].run_id


# --- how it looks -------------------------------------------------------------------------


@pytest.fixture(params=[80, 60])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setenv("COLUMNS", str(request.param))
    render.console.cache_clear()
    yield request.param
    render.console.cache_clear()


def bad_site() -> status.SiteStatus:
    long = "/etc/systemd/system/globus-gridftp-server.service.d/" + "deep/" * 12 + "cloudlet.conf"
    looked = Looked(
        {
            "fine.example.org": report(),
            DOOR: report(
                drift=[drifted(long, detail="mode 0666, not 0644", restarts=["a.service"])],
                units=[unit(active=False, state="failed (exit-code)")],
                certificates=[expiring(12)],
            ),
        },
        {DATA: failing(DATA, Status.UNREACHABLE)},
    )
    left = left_hosts([record(1, "gone", Change(*FILE, "create"))], ["/srv/my-site"], ())
    return status.judged(["fine.example.org", DOOR, DATA], looked, {}, left, NOW)


def test_the_table_fits_and_the_worst_comes_first(
    width: int, capsys: pytest.CaptureFixture[str]
) -> None:
    _status_view.show(bad_site(), everything=False)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert [line for line in lines if line != line.rstrip()] == []
    order = [line.split()[0] for line in lines if line and line[0] != " "]
    assert order[:4] == [DATA, DOOR, "fine.example.org", "gone"]
    checks = re.findall(r"^  (\w+) +(failed|drift|warning)", "\n".join(lines), re.MULTILINE)
    assert checks == [
        ("unit", "failed"), ("file", "drift"), ("certificate", "warning"), ("left", "warning"),
    ]  # fmt: skip
    whole = re.sub(r"\s+", "", "".join(lines))
    assert "deep/" * 12 + "cloudlet.conf" in whole
    assert "1 host not reached" in lines


def test_everything_is_shown_if_asked_for(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    _status_view.show(judged(door=report()))
    short = capsys.readouterr().out
    _status_view.show(judged(door=report()), everything=True)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    for words in ("generation 3", "bestman2.service", "200 days left", "sudo 1.9", "openjdk 17"):
        assert any(words in line for line in lines), words
        assert words not in short


def test_json_tells_all_of_it() -> None:
    data = json.loads(json.dumps(_status_view.as_data(bad_site())))
    assert [host["status"] for host in data["hosts"]] == ["ok", "failed", "unreachable"]
    assert data["hosts"][1]["certificates"][0]["days_left"] == 12
    assert data["hosts"][2]["applied"] is None
    assert data["left"][0]["holds"] == [{"kind": "file", "name": "/etc/rc"}]


# --- Prometheus ---------------------------------------------------------------------------


def samples(text: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Samples by name and labels, as Prometheus' own parser reads them."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(text):
        assert family.type == "gauge"
        assert family.documentation
        found[family.name] = {}
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            assert labels not in found[sample.name], "told twice"
            assert sample.timestamp is None
            found[sample.name][labels] = sample.value
    return found


def of(found: dict[Any, float], **labels: str) -> list[float]:
    return [value for key, value in found.items() if labels.items() <= dict(key).items()]


def test_prometheus_reads_what_was_found() -> None:
    found = samples(prometheus.text(bad_site(), "/srv/my-site"))
    assert of(found["cloudlet_host_reachable"], host=DATA) == [0]
    assert of(found["cloudlet_host_reachable"], host=DOOR, site="/srv/my-site") == [1]
    assert of(found["cloudlet_unit_active"], host=DOOR) == [0]
    assert of(found["cloudlet_drift_files"], host=DOOR, kind="changed") == [1]
    assert of(found["cloudlet_drift_files"], host=DOOR, kind="missing") == [0]
    assert of(found["cloudlet_service_response_seconds"], host=DOOR) == [0.11]
    assert of(found["cloudlet_host_left"], host="gone") == [1]
    assert of(found["cloudlet_status_exit_code"]) == [3]
    (end,) = of(found["cloudlet_certificate_expiry_time_seconds"], host=DOOR)
    assert end == (NOW + timedelta(days=12)).timestamp()
    # The same families whatever was found: an alert on an absent one would never fire.
    calm = samples(prometheus.text(status.SiteStatus((), (), NOW), "x"))
    assert calm.keys() == found.keys()


@given(st.text(), st.text(min_size=1), st.text())
@example("C:\\new", '"', "a\nb\\")
def test_any_text_in_a_label_comes_back(site: str, name: str, version: str) -> None:
    told = judged(door=report(packages={name: version}))
    found = samples(prometheus.text(told, site))
    expected = {"site": site, "host": DOOR, "package": name, "version": version}
    assert list(found["cloudlet_package_info"]) == [tuple(sorted(expected.items()))]
