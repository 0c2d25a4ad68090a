"""``tune`` without hosts: what it writes into a site, when it takes that back, and its words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudlet_deploy.cli import _flow, _tuning, _undoing, main, render
from cloudlet_deploy.errors import ExitCode, UsageError
from cloudlet_deploy.run.events import Status
from cloudlet_deploy.run.looking import Looked
from cloudlet_deploy.run.outcome import ComponentOutcome, Failure, RunOutcome

DOOR, TRANSFER = "srm.example.org", "gridftp1.example.org"
#: What the hosts have before anything is tuned.
UNTUNED: dict[str, dict[str, Any]] = {
    DOOR: {
        "bestman_heap_mb": 1024,
        "bestman_container_threads": 256,
        "bestman_accept_queue": 512,
        "bestman_nofile": 65536,
        "kernel_somaxconn": 4096,
    },
    TRANSFER: {"gridftp_connections_max": 100, "gridftp_port_range": "50000,51000"},
}


def report(values: dict[str, Any], **more: Any) -> dict[str, Any]:
    settings = {
        name: {
            "configured": None if name.startswith("kernel_") else value,
            "effective": value,
            "before": None,
            "settable": True,
            "cause": "",
            "in_use": None,
        }
        for name, value in values.items()
    }
    return {
        "memory_mb": 8192,
        "cores": 8,
        "kernel": "6.1",
        "container": "",
        "nic_mbps": 1000,
        "nofile_hard": 524288,
        "java_version": 17,
        "settings": settings,
        "problems": [],
        **more,
    }


class Hosts:
    """Hosts that take what the site says when it is applied, or refuse."""

    def __init__(self) -> None:
        self.reports = {host: report(values) for host, values in UNTUNED.items()}
        self.reports[TRANSFER]["memory_mb"] = 65536
        self.failures: dict[str, Failure] = {}
        self.outcome = "made"
        self.applied: list[tuple[str, ...]] = []

    def look(self, prepared: Any, playbook: str, hosts: Any = None) -> Looked:
        assert playbook == "tuning"
        there = {h: r for h, r in self.reports.items() if h not in self.failures}
        return Looked(there, self.failures)

    def carry_out(
        self, prepared: Any, plan: Any, journal: Any, how: Any, consent: Any, **_: Any
    ) -> _undoing.Done:
        self.applied.append(plan.components)
        whole = RunOutcome(complete=True)
        if self.outcome == "refused":
            lost = Failure(DOOR, "bestman", "Configure", Status.FAILED, "no")
            stopped = RunOutcome(failures=(lost,), complete=True)
            return _undoing.Done(stopped, None, ExitCode.TASK_FAILED)
        consent("1 to change")
        for host, reported in self.reports.items():
            for name, seen in reported["settings"].items():
                value = prepared.site.hosts[host].effective(name)
                if value is not None and value.value not in (None, 0, ""):
                    seen.update(configured=value.value, effective=value.value)
        if self.outcome == "broken":
            lost = Failure(DOOR, "bestman", "Start", Status.FAILED, "no")
            broken = RunOutcome(failures=(lost,), complete=True)
            return _undoing.Done(whole, broken, ExitCode.TASK_FAILED)
        part = ComponentOutcome(DOOR, "bestman", Status.CHANGED)
        made = RunOutcome(components=(part,), complete=True)
        return _undoing.Done(whole, made, ExitCode.DONE)


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hosts]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "80")
    render.console.cache_clear()
    made = Hosts()
    monkeypatch.setattr(_tuning, "look", made.look)
    monkeypatch.setattr(_undoing, "carry_out", made.carry_out)
    yield made
    render.console.cache_clear()


@pytest.fixture
def site(tmp_path: Path, hosts: Hosts, capsys: pytest.CaptureFixture[str]) -> Path:
    path = tmp_path / "site"
    made = main(
        ["init", str(path), "--kind", "storage-element", "--door", DOOR, "--transfer", TRANSFER]
    )
    assert made == 0
    capsys.readouterr()
    return path


def files(directory: Path) -> dict[str, bytes]:
    found = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in found}


def tune(site: Path, *args: str) -> int:
    return main(["tune", "-i", str(site), *args])


def told(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    captured = capsys.readouterr()
    assert max(map(len, captured.out.splitlines()), default=0) <= 80
    return " ".join(captured.out.split()), " ".join(captured.err.split())


def test_values_are_written_applied_and_verified(site: Path, hosts: Hosts) -> None:
    assert tune(site, "--clients", "2000", "--yes") == 0
    assert hosts.applied == [("kernel", "gridftp", "bestman")]
    text = (site / "host_vars" / DOOR / "zz_tuned.yml").read_text()
    assert "bestman_heap_mb: 5256\n" in text and "kernel_somaxconn: 8192\n" in text
    before = files(site)
    assert tune(site, "--clients", "2000", "--yes") == 0  # nothing is left to be done
    assert len(hosts.applied) == 1 and files(site) == before
    assert tune(site, "--clients", "2000", "--check") == 0
    assert tune(site, "--clients", "1500", "--check") == 2
    assert files(site) == before


def test_revert_takes_the_files_away(site: Path, hosts: Hosts) -> None:
    before = files(site)
    tune(site, "--clients", "2000", "--yes")
    assert files(site) != before
    assert tune(site, "--revert", "--yes") == 0
    assert files(site) == before and len(hosts.applied) == 2
    assert tune(site, "--revert", "--yes") == 0
    assert len(hosts.applied) == 2


def test_check_and_explain_and_verify_write_nothing(
    site: Path, hosts: Hosts, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(site)
    assert tune(site, "--clients", "2000", "--check") == 2
    assert tune(site, "--clients", "2000", "--explain", "bestman_heap_mb") == 0
    assert "max(2.5, 0.005 x entries)" in told(capsys)[0]
    assert tune(site, "--verify") == 0
    assert files(site) == before and hosts.applied == []


def test_what_was_declined_leaves_the_site_as_it_was(
    site: Path, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(site)

    def declined(*_: Any, **__: Any) -> None:
        assert files(site) != before  # the plan is that of the new values
        raise UsageError("Declined; nothing was changed.")

    monkeypatch.setattr(_undoing, "ask", declined)
    assert tune(site, "--clients", "2000") == 64
    assert files(site) == before
    monkeypatch.undo()


def test_a_plan_that_a_host_refuses_leaves_the_site_as_it_was(site: Path, hosts: Hosts) -> None:
    before = files(site)
    hosts.outcome = "refused"
    assert tune(site, "--clients", "2000", "--yes") == 1
    assert files(site) == before


def test_what_was_begun_stays_in_the_site_so_that_apply_can_finish_it(
    site: Path, hosts: Hosts
) -> None:
    hosts.outcome = "broken"
    assert tune(site, "--clients", "2000", "--yes") == 1
    assert (site / "host_vars" / DOOR / "zz_tuned.yml").exists()


def test_an_edited_file_is_refused_before_a_host_is_asked(
    site: Path, hosts: Hosts, capsys: pytest.CaptureFixture[str]
) -> None:
    tune(site, "--clients", "2000", "--yes")
    mine = site / "host_vars" / DOOR / "zz_tuned.yml"
    mine.write_text(mine.read_text().replace("5256", "5257"))
    hosts.failures[TRANSFER] = Failure(TRANSFER, "", "reach", Status.UNREACHABLE, "no route")
    for call in (["--clients", "2000"], ["--verify"], ["--revert"]):
        assert tune(site, "--yes", *call) == 4
        assert "was edited or cut short" in told(capsys)[1]


def test_values_that_do_not_validate_leave_the_site_as_it_was(
    site: Path, hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(site)

    def refused(*_: Any) -> Any:
        raise UsageError("no")

    monkeypatch.setattr(_flow, "reloaded", refused)
    assert tune(site, "--clients", "2000", "--yes") == 64
    assert files(site) == before


def test_a_host_that_carries_less_is_tuned_for_that_and_exits_with_5(
    site: Path, hosts: Hosts, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune(site, "--clients", "4000", "--yes") == 5
    out, _ = told(capsys)
    assert "4000 were asked for. The limit is RAM" in out
    assert tune(site, "--clients", "4000", "--check") == 5  # nothing would change, and yet


def test_what_cannot_be_set_is_not_written_and_not_effective(
    site: Path, hosts: Hosts, capsys: pytest.CaptureFixture[str]
) -> None:
    hosts.reports[DOOR]["settings"]["kernel_somaxconn"].update(settable=False, cause="read-only")
    assert tune(site, "--clients", "2000", "--yes") == 5
    assert "kernel_somaxconn" not in (site / "host_vars" / DOOR / "zz_tuned.yml").read_text()
    out, _ = told(capsys)
    assert "kernel_somaxconn 8192 - 4096 not effective read-only" in out


def test_a_pin_is_left_and_told(
    site: Path, hosts: Hosts, capsys: pytest.CaptureFixture[str]
) -> None:
    own = site / "group_vars" / "bestman.yml"
    own.write_text(own.read_text() + "bestman_heap_mb: 700\n")
    assert tune(site, "--clients", "2000", "--yes") == 0
    assert "heap" not in (site / "host_vars" / DOOR / "zz_tuned.yml").read_text()
    assert "5256 (pinned: 700)" in told(capsys)[0]


BAD_INPUT = [
    (["--clients", "0"], 64, "0 is not in the range"),
    (["--clients", "-3"], 64, "-3 is not in the range"),
    (["--clients", "1000001"], 64, "1000001 is not in the range"),
    (["--clients", "many"], 64, "'many' is not a valid integer"),
    ([], 64, "For how many clients?"),
    (["--verify", "--revert"], 64, "exclude each other"),
    (["--verify", "--clients", "7"], 64, "needs no --clients"),
    (["--clients", "7", "--explain", "bestman_heap"], 64, "Did you mean bestman_heap_mb?"),
    (["--clients", "7", "--limit", "nobody"], 64, "nobody"),
    (["--clients", "7", "-e", "bestman_state=absent"], 4, "no host is a door"),
]


@pytest.mark.parametrize("bad", BAD_INPUT, ids=lambda bad: " ".join(bad[0]) or "nothing")
def test_bad_input(
    site: Path,
    hosts: Hosts,
    capsys: pytest.CaptureFixture[str],
    bad: tuple[list[str], int, str],
) -> None:
    arguments, code, words = bad
    before = files(site)
    assert tune(site, "--yes", *arguments) == code
    assert words in told(capsys)[1]
    assert files(site) == before and hosts.applied == []


def test_a_host_that_does_not_answer_stops_all(
    site: Path, hosts: Hosts, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(site)
    hosts.failures[TRANSFER] = Failure(TRANSFER, "", "reach", Status.UNREACHABLE, "no route")
    assert tune(site, "--clients", "2000", "--yes") == 3
    assert "nothing was changed on any host" in told(capsys)[1]
    assert files(site) == before and hosts.applied == []


def test_a_host_without_anything_of_ours_is_not_tuned(
    site: Path, hosts: Hosts, capsys: pytest.CaptureFixture[str]
) -> None:
    for seen in hosts.reports[DOOR]["settings"].values():
        seen.update(configured=None, effective=None)
    assert tune(site, "--clients", "2000", "--yes") == 5
    assert f"{DOOR} has nothing of this site yet" in told(capsys)[1]


def test_the_values_can_be_kept_elsewhere(
    site: Path, hosts: Hosts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, kept = files(site), tmp_path / "kept.yml"
    assert tune(site, "--clients", "2000", "--yes", "--write-to", str(kept)) == 0
    assert f"-i{kept}" in told(capsys)[0].replace(" ", "")
    assert files(site) == before
    assert tune(site, "--verify", "--write-to", str(kept)) == 0
    assert tune(site, "--revert", "--yes", "--write-to", str(kept)) == 0
    assert not kept.exists()


def test_the_document(site: Path, hosts: Hosts, capsys: pytest.CaptureFixture[str]) -> None:
    assert tune(site, "--clients", "2000", "--yes", "--output", "json") == 0
    document = json.loads(capsys.readouterr().out)
    (door,) = (one for one in document["hosts"] if one["host"] == DOOR)
    assert (door["asked"], door["carried"], door["binding"]) == (2000, 2000, None)
    heap = next(s for s in door["settings"] if s["variable"] == "bestman_heap_mb")
    assert heap["differs"] and heap["recommended"] == 5256 and heap["inputs"]["N"] == 2000
    (verified,) = (one for one in document["verified"] if one["host"] == DOOR)
    assert {s["state"] for s in verified["settings"]} == {"effective"}
