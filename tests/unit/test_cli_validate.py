"""``cloudlet-deploy validate`` as the user sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cloudlet_deploy.cli import main
from tests.unit import grid_site

HOSTS = "all: {children: {bestman: {hosts: {door: }}, gridftp: {hosts: {dtn: }}}}\n"
GOOD = """\
grid_trust_host_certificate: "{{ inventory_dir }}/.cert.pem"
grid_trust_host_key: "{{ inventory_dir }}/.key.pem"
host_check_memory_mb: 8192
storage_path: /srv/storage
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "site").mkdir()
    (tmp_path / "site/.cert.pem").write_text(grid_site.certificate())
    (tmp_path / "site/.key.pem").write_text(grid_site.private_key())
    (tmp_path / "site/.key.pem").chmod(0o600)
    (tmp_path / "site/group_vars").mkdir(parents=True)
    (tmp_path / "site/hosts.yml").write_text(HOSTS)
    (tmp_path / "site/group_vars/all.yml").write_text(GOOD)
    return tmp_path / "site"


def _write(home: Path, more: str) -> None:
    (home / "group_vars/all.yml").write_text(GOOD + more)


def test_a_valid_site(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "-i", str(home)]) == 0
    assert capsys.readouterr().out == "valid: 2 hosts, 9 components\n"


def test_a_limit(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "-i", str(home), "-l", "gridftp"]) == 0
    assert capsys.readouterr().out == "valid: 1 host, 7 components\n"


def test_faults_are_shown_in_80_columns_with_exit_4(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _write(home, "bestman_prot: 1\ngridftp_connections_max: a great many of them, please\n")
    assert main(["validate", "-i", "site"]) == 4
    out = capsys.readouterr().out
    assert "site/group_vars/all.yml:5: bestman_prot: no role has a variable of this name" in out
    assert "    next: Did you mean bestman_port?\n" in out
    assert out.endswith("invalid: 2 errors in site\n")
    assert max(map(len, out.splitlines())) <= 80


def test_warnings_do_not_fail(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write(home, "own: 1\nown: 2\n")
    assert main(["validate", "-i", str(home)]) == 0
    out = capsys.readouterr().out
    assert "all.yml:6: warning: " in out
    assert out.endswith("valid: 2 hosts, 9 components\n")


def test_json(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write(home, "bestman_prot: 1\n")
    assert main(["validate", "-i", str(home), "--output", "json"]) == 4
    said = json.loads(capsys.readouterr().out)
    assert said["exit_code"] == 4
    assert said["hosts"] == ["door", "dtn"]
    (fault,) = said["faults"]
    assert fault["severity"] == "error"
    assert fault["variable"] == "bestman_prot"
    assert (fault["file"], fault["line"]) == (str(home / "group_vars/all.yml"), 5)


def test_many_hosts_are_counted(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "hosts.yml").write_text("gridftp: {hosts: {'dtn[10:29]': }}\n")
    assert main(["validate", "-i", str(home), "-e", "gridftp_port=no"]) == 4
    assert "dtn17 and 12 more\n" in capsys.readouterr().out


def test_extra_variables(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "-i", str(home), "-e", "bestman_port=no"]) == 4
    assert "--extra-vars: bestman_port: must be a whole number" in capsys.readouterr().out


def test_no_such_inventory(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "-i", str(home / "none")]) == 4
    assert "there is no such inventory" in " ".join(capsys.readouterr().err.split())


def test_a_vault_password_that_is_asked_for(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import click
    from ansible.parsing.vault import VaultLib, VaultSecret

    monkeypatch.setattr(click, "prompt", lambda *_args, **_options: "pw")
    secret = VaultLib([("default", VaultSecret(b"pw"))]).encrypt("bestman_port: geheim\n")
    (home / "group_vars/bestman.yml").write_bytes(secret)
    assert main(["validate", "-i", str(home)]) == 0
    assert main(["validate", "-i", str(home), "--ask-vault-pass"]) == 4
    assert main(["validate", "-i", str(home), "--vault-id", "lab@prompt"]) == 4
    said = capsys.readouterr()
    assert "bestman.yml:1: bestman_port: must be a whole number\n" in said.out
    assert "geheim" not in said.out + said.err


@pytest.mark.parametrize("name", ["validate", "init"])
def test_help_loads_neither_ansible_nor_jinja(name: str) -> None:
    code = (
        "import sys; from cloudlet_deploy.cli import main; "
        f"main(['{name}', '--help']); "
        "sys.exit(bool({'ansible', 'jinja2', 'rich', 'yaml'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
