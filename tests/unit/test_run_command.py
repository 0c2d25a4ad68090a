"""The exact command line and environment of ansible-playbook."""

from __future__ import annotations

import json
import shlex
import tempfile
from pathlib import Path

import pytest

from cloudlet_deploy.errors import UsageError
from cloudlet_deploy.run import launch
from cloudlet_deploy.run.command import environment, playbook_command
from cloudlet_deploy.run.plan import RunPlan
from cloudlet_deploy.run.secrets import Secrets


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No ansible.cfg but the one that a test writes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("ANSIBLE_CONFIG", "ANSIBLE_COLLECTIONS_PATH", "ANSIBLE_SSH_ARGS"):
        monkeypatch.delenv(name, raising=False)


def _arguments(plan: RunPlan, secrets: Secrets, directory: Path) -> str:
    whole = shlex.join(playbook_command(plan, secrets, directory))
    return whole.partition("ansible-playbook ")[2].replace(str(directory), "DIR")


def test_least(tmp_path: Path) -> None:
    plan = RunPlan(Path("/p.yml"), (Path("site"),))
    assert _arguments(plan, Secrets(), tmp_path) == "--inventory site /p.yml"
    assert list(tmp_path.iterdir()) == []


def test_everything(tmp_path: Path) -> None:
    plan = RunPlan(
        playbook=Path("/p.yml"),
        inventory=(Path("a"), Path("b")),
        limit="door:&x",
        components=("java", "bestman"),
        user="me",
        private_key=Path("k"),
        forks=9,
        verbosity=3,
        become_password_file=Path("w"),
        vault_password_files=(Path("v"),),
        vault_ids=("l@s",),
        extra_vars=("@more.yml",),
    ).predicting()
    assert _arguments(plan, Secrets(), tmp_path) == (
        "--inventory a --inventory b --limit 'door:&x' --tags java,bestman --check --diff -vvv "
        "--user me --private-key k --forks 9 --become-password-file w "
        "--vault-password-file v --vault-id l@s --extra-vars @more.yml /p.yml"
    )


def test_hosts_win_over_the_limit(tmp_path: Path) -> None:
    plan = RunPlan(Path("/p.yml"), (Path("a"),), limit="all").only(("one", "two"))
    assert "--limit @DIR/hosts " in _arguments(plan, Secrets(), tmp_path)
    assert (tmp_path / "hosts").read_text() == "one\ntwo\n"


def test_no_secret_is_on_the_command_line(tmp_path: Path) -> None:
    secrets = Secrets(become="p4ss", vault=(("default", "p4ss"), ("prod", "p4ss2")))
    extra = ("word=p4ss other='p4ss p4ss'", '{"a": "p4ss"}')
    plan = RunPlan(Path("/p.yml"), (Path("a"),), extra_vars=extra)
    arguments = _arguments(plan, secrets, tmp_path)
    assert "p4ss" not in arguments
    assert "p4ss" not in repr((plan, secrets))
    assert "--vault-id default@DIR/vault0 --vault-id prod@DIR/vault1" in arguments
    assert (tmp_path / "become").read_text() == "p4ss"
    assert (tmp_path / "vault1").read_text() == "p4ss2"
    assert json.loads((tmp_path / "vars0.yml").read_text()) == {
        "word": "p4ss",
        "other": "p4ss p4ss",
    }
    assert (tmp_path / "vars1.yml").read_text() == '{"a": "p4ss"}'
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def _environment(tmp_path: Path) -> dict[str, str]:
    runner = {
        "ANSIBLE_STDOUT_CALLBACK": "awx_display",
        "ANSIBLE_HOST_KEY_CHECKING": "False",
        "AWX_ISOLATED_DATA_DIR": "/x",
        "OTHER": "x",
    }
    return environment(runner, scratch=tmp_path / "s", collections=Path("/ours"))


def test_environment_is_short_and_safe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "PYTHONPATH", "LD_PRELOAD"):
        monkeypatch.setenv(name, "leak")
    monkeypatch.setenv("ANSIBLE_DEBUG", "1")
    monkeypatch.setenv("ANSIBLE_REMOTE_USER", "me")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/agent")
    monkeypatch.setenv("ANSIBLE_HOST_KEY_CHECKING", "False")
    found = _environment(tmp_path)
    assert "leak" not in found.values()
    assert "OTHER" not in found
    assert "ANSIBLE_DEBUG" not in found
    assert found["ANSIBLE_REMOTE_USER"] == "me"
    assert found["SSH_AUTH_SOCK"] == "/agent"
    assert found["ANSIBLE_HOST_KEY_CHECKING"] == "True"
    assert found["ANSIBLE_PIPELINING"] == "True"
    assert found["ANSIBLE_INJECT_FACT_VARS"] == "False"
    # Else each run of a site without HDFS would warn of three groups that it does not have.
    assert found["ANSIBLE_HOST_PATTERN_MISMATCH"] == "ignore"
    assert found["ANSIBLE_STDOUT_CALLBACK"] == "awx_display"
    assert found["ANSIBLE_LOCAL_TEMP"] == str(tmp_path / "s" / "tmp")
    assert "ControlPersist" in found["ANSIBLE_SSH_ARGS"]
    # A connection of another Ansible's would not have these arguments.
    assert found["ANSIBLE_SSH_CONTROL_PATH_DIR"] == "~/.ansible/cp-cloudlet"
    assert found["ANSIBLE_COLLECTIONS_PATH"].split(":")[0] == "/ours"


def test_own_settings_of_the_user_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "my.cfg"
    config.write_text("[defaults]\ncollections_path=/mine\n[ssh_connection]\nssh_args=-F x%y\n")
    monkeypatch.setenv("ANSIBLE_CONFIG", str(config))
    found = _environment(tmp_path)
    assert not {"ANSIBLE_SSH_ARGS", "ANSIBLE_SSH_CONTROL_PATH_DIR"} & found.keys()
    assert found["ANSIBLE_CONFIG"] == str(config)
    assert found["ANSIBLE_COLLECTIONS_PATH"] == "/ours:/mine"
    config.write_text("no section\n")
    with pytest.raises(UsageError, match=r"my\.cfg"):
        _environment(tmp_path)


def test_scratch_leaves_room_for_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("d" * 60)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    assert launch._short_directory() == "/tmp"
    monkeypatch.setattr(tempfile, "tempdir", "/var/tmp")
    assert launch._short_directory() == "/var/tmp"


def test_own_variables_win_and_are_no_part_of_the_command_line(tmp_path: Path) -> None:
    plan = RunPlan(
        Path("/p.yml"), (Path("a"),), extra_vars=("@more.yml",), variables={"word": "p4ss"}
    ).of_run("R1")
    arguments = _arguments(plan, Secrets(), tmp_path)
    assert arguments.endswith("--extra-vars @more.yml --extra-vars @DIR/own.json /p.yml")
    own = {"word": "p4ss", "cloudlet_run_id": "R1", "cloudlet_leased": True}
    assert json.loads((tmp_path / "own.json").read_text()) == own
    # A prediction is nobody's run.
    assert plan.predicting().run_id is None
