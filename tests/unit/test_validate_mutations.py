"""Hundreds of altered example sites: each is refused, or accepted, as its mutation says.

What is refused names variable, file and line; what is accepted passes the roles' own specs as
Ansible checks them; nothing ends in a traceback.
"""

from __future__ import annotations

import subprocess
import sys
import zlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from cloudlet_deploy import content, site
from cloudlet_deploy.errors import ExitCode, InvalidSiteError
from cloudlet_deploy.site import components
from cloudlet_deploy.site.faults import Fault, Severity, Unchecked, is_known
from cloudlet_deploy.site.validation import unchecked, validate
from tests.unit.grid_site import DOOR, Material, make_pki
from tests.unit.site_draft import BASES, Draft, removed
from tests.unit.site_mutations_of_files import (
    ACCEPTED,
    REJECTED,
    UNCHECKED,
    UNREADABLE,
    Mutation,
    Told,
)

#: How often each mutation is tried.
ROUNDS = 5


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    return make_pki(tmp_path_factory.mktemp("pki") / "pki")


def _drafts(mutation: Mutation, material: Material, tmp_path: Path) -> Iterable[tuple[Draft, Told]]:
    """Altered sites, written; the same ones at every run."""
    for number in range(ROUNDS):
        random = Random(zlib.crc32(f"{mutation.__name__} {number}".encode()))
        base = list(BASES)[number % len(BASES)]
        home = tmp_path / f"{base}{number}"
        draft = Draft(dict(BASES[base](material)), material, home, random)
        told = mutation(draft)
        draft.write()
        yield draft, told or Told("")


def _is_at(told: Told, draft: Draft, found: Fault | Unchecked) -> bool:
    line = told.line is None or told.line == found.line
    return found.variable == told.variable and found.file == str(draft.home / told.file) and line


def _errors(faults: list[Fault]) -> list[Fault]:
    return [fault for fault in faults if fault.severity is Severity.ERROR]


def test_the_mutations_are_enough() -> None:
    tables = (REJECTED, ACCEPTED, UNCHECKED, UNREADABLE)
    assert sum(map(len, tables)) * ROUNDS >= 300


@pytest.mark.parametrize("base", BASES)
def test_the_example_sites_have_no_fault(base: str, material: Material, tmp_path: Path) -> None:
    draft = Draft(dict(BASES[base](material)), material, tmp_path / base, Random(0))
    loaded = site.load(draft.write())
    assert validate(loaded) == []
    assert {one.variable for one in unchecked(loaded)} == {"bestman_heap_mb"}
    _meets_specs(loaded)


@pytest.mark.parametrize("name", REJECTED)
def test_is_rejected(name: str, material: Material, tmp_path: Path) -> None:
    for draft, told in _drafts(REJECTED[name], material, tmp_path):
        faults = _errors(validate(site.load(draft.home, vault=draft.vault)))
        assert any(_is_at(told, draft, fault) for fault in faults), (told, faults)
        assert all(fault.next_step for fault in faults), faults
        assert "geheim" not in repr(faults)


@pytest.mark.parametrize("name", ACCEPTED)
def test_is_accepted(name: str, material: Material, tmp_path: Path) -> None:
    for draft, told in _drafts(ACCEPTED[name], material, tmp_path):
        loaded = site.load(draft.home, vault=draft.vault)
        faults = validate(loaded)
        assert _errors(faults) == [], draft.files
        if told.file:
            assert any(_is_at(told, draft, fault) for fault in faults), (told, faults)
        _meets_specs(loaded)


@pytest.mark.parametrize("name", UNCHECKED)
def test_is_named_as_not_checked(name: str, material: Material, tmp_path: Path) -> None:
    for draft, told in _drafts(UNCHECKED[name], material, tmp_path):
        loaded = site.load(draft.home, vault=draft.vault)
        assert _errors(validate(loaded)) == []
        found = unchecked(loaded)
        assert any(_is_at(told, draft, one) for one in found), (told, found)
        _meets_specs(loaded)


@pytest.mark.parametrize("name", UNREADABLE)
def test_is_unreadable(name: str, material: Material, tmp_path: Path) -> None:
    for draft, told in _drafts(UNREADABLE[name], material, tmp_path):
        with pytest.raises(InvalidSiteError) as caught:
            site.load(draft.home)
        where = f"{draft.home / told.file}" + (f":{told.line}" if told.line else "")
        assert where in caught.value.message, caught.value.message
        assert caught.value.next_step


@cache
def _specs(role: str) -> dict[str, Any]:
    path = content.root() / "roles" / role / "meta" / "argument_specs.yml"
    options: dict[str, Any] = yaml.safe_load(path.read_text())["argument_specs"]["main"]["options"]
    return options


def _meets_specs(loaded: site.Site) -> None:
    """Ansible's own validator takes the values, as far as they are known offline."""
    for name in loaded.targets:
        host = loaded.hosts[name]
        for role in components.of_host(host):
            spec = _specs(role)
            values = {o: v.value for o in spec if (v := host.effective(o)) is not None}
            known = {option: value for option, value in values.items() if is_known(value)}
            spec = {o: s for o, s in spec.items() if o in known or o not in values}
            result = ArgumentSpecValidator(spec).validate(known)
            assert not result.error_messages, (role, result.error_messages)


# --- in a process of its own --------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("above_range", ExitCode.INVALID),
        ("tab", ExitCode.INVALID),
        ("certificate_out_of_time", ExitCode.INVALID),
        ("vaulted_without_password", ExitCode.DONE),
        ("program", ExitCode.DONE),
        ("read_only", ExitCode.DONE),
    ],
)
def test_the_command_says_the_same(
    name: str, code: ExitCode, material: Material, tmp_path: Path
) -> None:
    mutations = {**REJECTED, **ACCEPTED, **UNCHECKED, **UNREADABLE}
    draft, told = next(iter(_drafts(mutations[name], material, tmp_path)))
    if name == "read_only":
        for path in (draft.home, draft.home / "group_vars"):
            path.chmod(0o555)
    code_to_run = "import sys; from cloudlet_deploy.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code_to_run, "validate", "-i", draft.home],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    words = "".join((done.stdout + done.stderr).split())
    where = f"{draft.home / told.file}" + (f":{told.line}" if told.line else "")
    assert where in words
    assert told.variable in words
    if name == "read_only":
        removed(draft.home)


def test_ansible_playbook_takes_what_is_accepted(material: Material, tmp_path: Path) -> None:
    """The same specs, by the task that a role begins with, in a real run."""
    number = Random(7)
    for name in ("ini", "names_of_all_forms"):
        draft = Draft(dict(BASES["init"](material)), material, tmp_path / name, number)
        ACCEPTED[name](draft)
        draft.write()
        done = _playbook(draft.home, tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    # And it is the specs that were asked.
    (draft.home / f"host_vars/{DOOR}.yml").parent.mkdir(exist_ok=True)
    (draft.home / f"host_vars/{DOOR}.yml").write_text("bestman_port: many\n")
    assert "bestman_port" in _playbook(draft.home, tmp_path).stdout


def _playbook(home: Path, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    def task(role: str) -> dict[str, Any]:
        # Defaults are templates that only the role's own variables resolve.
        bare = {o: {k: v for k, v in s.items() if k != "default"} for o, s in _specs(role).items()}
        return {"ansible.builtin.validate_argument_spec": {"argument_spec": bare}}

    plays = [
        {
            "hosts": group,
            "gather_facts": False,
            "connection": "local",
            "tasks": [task(role) for role in roles],
        }
        for group, roles in components.of_groups().items()
    ]
    (tmp_path / "check.yml").write_text(yaml.safe_dump(plays))
    program = Path(sys.executable).with_name("ansible-playbook")
    return subprocess.run(
        [program, "-i", home, tmp_path / "check.yml"], capture_output=True, text=True, check=False
    )
