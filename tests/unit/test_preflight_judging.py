"""What the controller makes of a preflight: clock, certificates, verdict and table."""

from __future__ import annotations

import datetime
import json
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.plugin_utils import preflight_controller

from cloudlet_deploy.cli import _preflight_view, render
from cloudlet_deploy.errors import ExitCode
from cloudlet_deploy.lab.ca import Pki
from cloudlet_deploy.run import preflight as judging
from cloudlet_deploy.run.events import Status
from cloudlet_deploy.run.findings import Level
from cloudlet_deploy.run.looking import Looked
from cloudlet_deploy.run.outcome import Failure

DOOR = "door.example.org"


@pytest.mark.parametrize(
    ("told", "level", "words"),
    [
        (1000.0, "ok", "agrees"),
        (1004.9, "ok", "agrees"),
        (1064.0, "ok", "59 s ahead of"),
        (1066.0, "warning", "61 s ahead of"),
        (939.0, "warning", "61 s behind"),
        (1306.0, "failed", "301 s ahead of"),
        (600.0, "failed", "400 s behind"),
    ],
)
def test_the_clock(told: float, level: str, words: str) -> None:
    # The call took from 1000 to 1005: no answer within that is known to be wrong.
    found = preflight_controller.clock_finding(1000.0, 1005.0, told)
    assert found["status"] == level
    assert words in found["detail"]
    assert bool(found["next_step"]) == (level != "ok")


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> str:
    pki = Pki(tmp_path_factory.mktemp("pki"))
    pki.ensure((DOOR,))
    return (pki.host(DOOR) / "hostcert.pem").read_text()


@pytest.mark.parametrize(
    ("host", "days", "level", "words"),
    [
        (DOOR, 0, "ok", "until"),
        (DOOR.upper(), 0, "ok", "until"),
        ("other.example.org", 0, "failed", f"is for {DOOR}, not for other.example.org"),
        (DOOR, 336, "warning", "in 29 days"),
        (DOOR, 366, "failed", "expired on"),
        (DOOR, -1, "failed", "valid from"),
    ],
)
def test_certificates(pem: str, host: str, days: int, level: str, words: str) -> None:
    now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days)
    entry = {"path": "/etc/c.pem", "source": "here.pem", "text": pem, "host": host}
    (found,) = preflight_controller.certificate_findings(
        {"grid_trust": {"certificates": [entry]}}, now
    )
    assert found["status"] == level
    assert words in found["detail"]


def test_what_is_no_certificate() -> None:
    entry = {"path": "/etc/c.pem", "source": "here.pem", "text": "no", "host": DOOR}
    (found,) = preflight_controller.certificate_findings({"x": {"certificates": [entry]}})
    assert found["detail"] == "here.pem is not a PEM certificate"


@pytest.mark.parametrize(
    ("name", "host", "same"),
    [
        (DOOR, DOOR, True),
        ("*.example.org", DOOR, True),
        ("*.example.org", "a.b.example.org", False),
        ("*.example.org", "example.org", False),
        ("door.example.com", DOOR, False),
    ],
)
def test_names_of_certificates(name: str, host: str, same: bool) -> None:
    assert preflight_controller.matches(name, host) == same


def found_of(*findings: tuple[str, str, str]) -> dict[str, Any]:
    entries = [
        {"check": check, "status": status, "detail": detail, "component": "bestman",
         "next_step": "" if status == "ok" else "Stop that process, or choose another."}
        for check, status, detail in findings
    ]  # fmt: skip
    return {"findings": entries}


def some_site() -> judging.Preflight:
    looked = Looked(
        {
            "fine": found_of(("clock", "ok", "agrees")),
            DOOR: found_of(
                ("ports", "failed", "port 8443 is taken by /opt/" + "very-long/" * 9 + "java"),
                ("memory", "warning", "little"),
            ),
        },
        {
            "down": Failure("down", "host_check", "Look", Status.UNREACHABLE, "timed out"),
            "old": Failure(
                "old", "host_check", "Look", Status.FAILED, "the host runs BeOS.", "Use another."
            ),
        },
    )
    return judging.judged(["fine", DOOR, "down", "old", "client"], looked, {})


def test_verdict() -> None:
    found = some_site()
    assert [(host.host, host.level) for host in found.hosts] == [
        ("fine", Level.OK),
        (DOOR, Level.FAILED),
        ("down", Level.UNREACHABLE),
        ("old", Level.FAILED),
    ]
    assert found.exit_code is ExitCode.UNREACHABLE
    assert [host.host for host in found.bad] == [DOOR, "down", "old"]
    without = judging.Preflight(tuple(h for h in found.hosts if h.host != "down"))
    assert without.exit_code is ExitCode.CHECK_FAILED
    assert judging.Preflight(found.hosts[:1]).exit_code is ExitCode.DONE
    warned = judging.judged(["a"], Looked({"a": found_of(("memory", "warning", "x"))}, {}), {})
    assert (warned.exit_code, warned.bad) == (ExitCode.DONE, ())


@pytest.mark.parametrize("width", [80, 60])
def test_the_table_fits_and_the_worst_comes_first(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    render.console.cache_clear()
    try:
        _preflight_view.show(some_site())
    finally:
        render.console.cache_clear()
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert [line.split()[0] for line in lines if line[0] != " "][:4] == [
        "down",
        DOOR,
        "old",
        "fine",
    ]
    assert "  system        failed   the host runs BeOS." in lines
    assert "                         next: Use another." in lines
    assert "fine  ok  2 checks fine" in lines
    json.dumps(_preflight_view.as_data(some_site()))
