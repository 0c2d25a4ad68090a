"""``rollback`` and ``destroy`` before they go to any host: what they refuse, and whom they ask."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cloudlet_deploy import cli
from cloudlet_deploy.cli import _undoing, destroy
from cloudlet_deploy.cli.options import AnsibleOptions
from cloudlet_deploy.errors import ExitCode
from cloudlet_deploy.run.events import Status
from cloudlet_deploy.run.outcome import Failure

SITE = """\
all:
  vars: {bestman_port: no port, bestman_nonsense: 1%s}
  hosts: {other.example.org: {}}
  children:
    bestman: {hosts: {door.example.org: {}}}
    gridftp: {hosts: {data1.example.org: {}}}
"""


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site that no apply accepts."""
    (tmp_path / "grid-one").mkdir()
    (tmp_path / "grid-one" / "hosts.yml").write_text(SITE % "")
    return tmp_path / "grid-one"


def prepared_hosts(site: Path, limit: str | None = None) -> tuple[str, ...] | None:
    return _undoing.prepare(AnsibleOptions((site,), limit=limit), "destroy").plan.hosts


def test_hosts_with_roles_are_meant_unless_others_are_named(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepared_hosts(site) == ("door.example.org", "data1.example.org")
    assert "other.example.org" in capsys.readouterr().err
    assert prepared_hosts(site, "other.example.org") == ("other.example.org",)
    assert capsys.readouterr().err == ""


def test_the_site_is_called_as_its_directory_or_as_it_says(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def names(inventory: Path) -> tuple[str, ...]:
        return destroy._names(_undoing.prepare(AnsibleOptions((inventory,)), "destroy"))

    assert names(site) == ("grid-one",)
    assert names(site / "hosts.yml") == ("grid-one", "hosts.yml")
    monkeypatch.chdir(site)
    assert names(Path()) == ("grid-one",)
    (site / "hosts.yml").write_text(SITE % ", cloudlet_site_name: one")
    assert names(site) == ("one", "grid-one")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["destroy", "--confirm", "grid-two"], "'grid-two' is not the name of this site"),
        (["destroy", "--confirm", ""], "'' is not the name of this site"),
        (["rollback", "--to", "2"], "--to needs exactly one --component"),
        (
            ["rollback", "--to", "2", "--component", "a", "--component", "b"],
            "--to needs exactly one --component",
        ),
        (["rollback", "--to", "0", "--component", "bestman"], "what was there before"),
    ],
)
def test_wrong_usage_goes_to_no_host(
    site: Path, state: Path, argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = cli.main([argv[0], "-i", str(site), *argv[1:], "--output", "json"])
    told = json.loads(capsys.readouterr().out)
    assert code == told["exit_code"] == ExitCode.USAGE
    assert words in told["error"]["message"] and told["error"]["next_step"]
    assert not list(state.glob("cloudlet-deploy/runs/*"))


def test_hosts_that_were_lost_decide_the_exit_code() -> None:
    away = Failure("door", "host_check", "look", Status.UNREACHABLE, "no route")
    broken = Failure("data1", "rollback", "look", Status.FAILED, "damaged")
    assert _undoing.lost([away]).exit_code is ExitCode.UNREACHABLE
    assert _undoing.lost([away, broken]).exit_code is ExitCode.TASK_FAILED
    assert _undoing.lost([]).exit_code is ExitCode.DONE
