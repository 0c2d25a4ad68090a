"""What the mutations do not reach: options of the command line, and the checks' own edges."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cloudlet_deploy import site
from cloudlet_deploy.cli import main
from cloudlet_deploy.site import schema
from cloudlet_deploy.site.checks import names
from cloudlet_deploy.site.checks.forms import units_hint
from cloudlet_deploy.site.controller import Controller
from cloudlet_deploy.site.faults import Fault, Severity
from cloudlet_deploy.site.removed import Removed
from cloudlet_deploy.site.syntax import UnreadableSiteError
from cloudlet_deploy.site.validation import validate
from tests.unit.grid_site import DOOR, TRANSFER, Material, certificate, make_pki

HOSTS = f"bestman: {{hosts: {{{DOOR}: }}}}\ngridftp: {{hosts: {{{TRANSFER}: }}}}\n"


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return make_pki(tmp_path_factory.mktemp("pki") / "pki")


@pytest.fixture
def home(tmp_path: Path, material: Material) -> Path:
    home = tmp_path / "site"
    (home / "group_vars").mkdir(parents=True)
    (home / "host_vars").mkdir()
    (home / "hosts.yml").write_text(HOSTS)
    every = f"{material.settings}host_check_memory_mb: 8192\nstorage_path: /srv/storage\n"
    (home / "group_vars/all.yml").write_text(every)
    return home


def _write(home: Path, text: str, name: str = "group_vars/bestman.yml") -> Path:
    (home / name).write_text(text)
    return home / name


def _one(faults: list[Fault]) -> Fault:
    assert len(faults) == 1, faults
    return faults[0]


def test_a_good_site(home: Path) -> None:
    assert validate(site.load(home)) == []


# --- names --------------------------------------------------------------------------------


def test_a_variable_of_a_removed_release(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = {"bestman_heap": Removed("0.2.0", "Write bestman_heap_mb, in MB.")}
    monkeypatch.setattr(names, "REMOVED", gone)
    _write(home, "bestman_heap: 2g\n")
    fault = _one(validate(site.load(home)))
    assert (fault.variable, fault.line) == ("bestman_heap", 1)
    assert fault.message == "was removed in release 0.2.0"
    assert fault.next_step == "Write bestman_heap_mb, in MB."


def test_no_removed_variable_is_declared_again() -> None:
    declared = {name for spec in schema.role_specs().values() for name in spec.options}
    assert not declared & names.REMOVED.keys()


def test_a_misspelled_prefix_is_a_warning(home: Path) -> None:
    _write(home, "gridfpt_port: 2812\nmy_port: 1\n")
    fault = _one(validate(site.load(home)))
    assert (fault.severity, fault.variable) == (Severity.WARNING, "gridfpt_port")
    assert fault.next_step == "Did you mean gridftp_port?"


# --- forms and units ----------------------------------------------------------------------


def test_every_form_in_the_specs_is_known() -> None:
    def forms(options: list[schema.Option]) -> set[str]:
        inner = [forms(list(option.options.values())) for option in options]
        return {option.form for option in options}.union(*inner) - {""}

    declared = [o for spec in schema.role_specs().values() for o in spec.options.values()]
    assert forms(declared) == set(schema.FORMS)


@pytest.mark.parametrize(
    ("name", "written", "hint"),
    [
        ("bestman_heap_mb", "2g", "Write MB without a unit: 2048."),
        ("bestman_heap_mb", "2048m", "Write MB without a unit: 2048."),
        ("bestman_heap_mb", "512 MiB", "Write MB without a unit: 512."),
        ("bestman_stack_kb", "1m", "Write KB without a unit: 1024."),
        ("bestman_event_log_bytes", "1.5k", "Write bytes without a unit: 1536."),
        ("bestman_health_timeout", "2m", "Write seconds without a unit: 120."),
        ("bestman_port", "2g", None),
        ("bestman_heap_mb", "much", None),
    ],
)
def test_units(name: str, written: str, hint: str | None) -> None:
    option = schema.role_specs()["bestman"].options[name]
    assert units_hint(option, written) == hint


# --- ports and memory ---------------------------------------------------------------------


def test_warnings_of_ports(home: Path) -> None:
    _write(
        home, f"bestman: {{hosts: {{{DOOR}: }}}}\ngridftp: {{hosts: {{{DOOR}: }}}}\n", "hosts.yml"
    )
    _write(home, 'bestman_port: 22\nbestman_data_port_range: "50900,51900"\n')
    found = {(f.severity.value, f.variable, f.message) for f in validate(site.load(home))}
    assert found == {
        ("warning", "bestman_port", "is the port of ssh"),
        (
            "warning",
            "bestman_data_port_range",
            "shares ports with gridftp_port_range (50000,51000): transfers may run out of them",
        ),
    }


def test_direct_memory_is_a_warning(home: Path) -> None:
    _write(home, "bestman_heap_mb: 4096\n")
    fault = _one(validate(site.load(home)))
    assert (fault.severity, fault.variable) == (Severity.WARNING, "bestman_heap_mb")
    assert "8492 MB" in fault.message
    assert "3946 or less" in fault.next_step


# --- secrets ------------------------------------------------------------------------------


def test_secrets_of_the_command_line_and_of_files(home: Path, tmp_path: Path) -> None:
    fault = _one(validate(site.load(home, extra_vars=["ansible_password=geheim"])))
    assert (fault.severity, fault.file) == (Severity.WARNING, "--extra-vars")
    secret = _write(tmp_path, "ansible_password: geheim\n", "secret.yml")
    secret.chmod(0o600)
    assert validate(site.load(home, extra_vars=[f"@{secret}"])) == []
    secret.chmod(0o644)
    fault = _one(validate(site.load(home, extra_vars=[f"@{secret}"])))
    assert (fault.severity, fault.file, fault.line) == (Severity.ERROR, str(secret), 1)
    assert "mode 0644" in fault.message
    assert "geheim" not in repr(fault)


@pytest.mark.parametrize("value", ['\'{{ lookup("env", "PW") }}\'', "''", "null"])
def test_what_is_no_secret_in_plain_text(home: Path, value: str) -> None:
    _write(home, f"ansible_become_password: {value}\n")
    assert validate(site.load(home)) == []


# --- files on this machine ----------------------------------------------------------------


def test_commands_that_work_with_what_is_deployed_pass_by_files(home: Path) -> None:
    _write(home, "bestman_key: /nowhere/key.pem\n")
    loaded = site.load(home)
    assert _one(validate(loaded)).variable == "bestman_key"
    assert validate(loaded, files=False) == []


def test_a_service_with_the_hosts_own_pair_adds_nothing(home: Path, material: Material) -> None:
    every = home / "group_vars/all.yml"
    every.write_text(every.read_text().replace(str(material.directory), "/nowhere"))
    found = {(f.variable, *f.hosts) for f in validate(site.load(home))}
    assert found == {
        ("grid_trust_ca_files", DOOR, TRANSFER),
        *(("grid_trust_host_certificate", host) for host in (DOOR, TRANSFER)),
        *(("grid_trust_host_key", host) for host in (DOOR, TRANSFER)),
    }


def test_old_cas_and_lists_are_warnings(home: Path, tmp_path: Path, material: Material) -> None:
    directory = tmp_path / "certificates"
    directory.mkdir()
    (directory / "0a1b2c3d.0").write_text(certificate(starts=-9, ends=-1))
    (directory / "0a1b2c3d.signing_policy").write_text("x")
    _write(home, f"grid_trust_ca_files: {directory}\n", f"host_vars/{DOOR}.yml")
    fault = _one(validate(site.load(home)))
    assert (fault.severity, fault.variable) == (Severity.WARNING, "grid_trust_ca_files")
    assert f"the CA certificate {directory}/0a1b2c3d.0 expired" in fault.message
    (directory / "0a1b2c3d.r0").write_text("no list")
    found = {fault.severity: fault.message for fault in validate(site.load(home))}
    assert "holds no list of revoked" in found[Severity.ERROR]


def test_the_controller_says_why_a_file_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "loop").symlink_to("loop")
    problems = {
        name: Controller().look(str(tmp_path / name)).problem
        for name in (".", "empty", "none", "loop", "empty/x", "a\0b")
    }
    assert problems["empty"] == "is empty"
    assert problems["none"] == "does not exist"
    assert problems["."] == "is no such file"
    assert all(problems.values()), problems


# --- how it is told -----------------------------------------------------------------------


def test_all_files_that_do_not_parse_are_told(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _write(home, "a: [1\n")
    _write(home, "---\na: 1\nb: c: d\n", "group_vars/gridftp.yml")
    _write(home, "a: 1\n\tb: 2\n", f"host_vars/{DOOR}.yml")
    with pytest.raises(UnreadableSiteError) as caught:
        site.load(home)
    assert [(Path(f.file).name, f.line) for f in caught.value.faults] == [
        ("bestman.yml", 2),
        ("gridftp.yml", 3),
        (f"{DOOR}.yml", 2),
    ]
    assert main(["validate", "-i", str(home), "--output", "json"]) == 4
    said = json.loads(capsys.readouterr().out)
    assert said["command"] == "validate"
    assert [fault["line"] for fault in said["faults"]] == [2, 3, 2]
    assert main(["plan", "-i", str(home)]) == 4


def test_json_names_what_was_not_checked(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _write(home, "bestman_port: \"{{ ansible_facts['x'] }}\"\n")
    assert main(["validate", "-i", str(home), "--output", "json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["unchecked"]
    assert one == {
        "why": "deferred",
        "detail": "ansible_facts is known in a run only",
        "hosts": [DOOR],
        "variable": "bestman_port",
        "file": str(home / "group_vars/bestman.yml"),
        "line": 1,
    }
    assert main(["validate", "-i", str(home)]) == 0
    said = capsys.readouterr().out
    assert "Not checked:\n" in said
    assert said.endswith("valid: 2 hosts, 9 components\n")
    assert max(map(len, said.splitlines())) <= 80 or str(home) in said
