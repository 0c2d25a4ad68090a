"""The site of a lab: copied, connected, and nobody else's."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from cloudlet_deploy.errors import InvalidSiteError, UsageError
from cloudlet_deploy.lab import definition
from cloudlet_deploy.lab.lifecycle import default_definition
from cloudlet_deploy.lab.site import LabSite

ADDRESSES = {"door.lab.test": "192.0.2.10", "data1.lab.test": "192.0.2.11"}


def quiet(_line: str) -> None:
    pass


@pytest.fixture
def site(tmp_path: Path) -> LabSite:
    made = LabSite(tmp_path / "a site")
    made.claim("mine")
    made.copy(default_definition(), quiet)
    made.keys.ensure(tuple(ADDRESSES))
    made.pki.ensure(tuple(ADDRESSES))
    return made


def test_hosts_are_reached_by_address_with_pinned_keys_only(site: LabSite) -> None:
    site.connect(ADDRESSES)
    found = definition.variables(site.directory)["door.lab.test"]
    assert found["ansible_host"] == "192.0.2.10"
    assert found["ansible_user"] == "admin"
    options = shlex.split(found["ansible_ssh_common_args"])
    assert f'UserKnownHostsFile="{site.keys.known_hosts}"' in options
    assert "HostKeyAlias=door.lab.test" in options
    assert "StrictHostKeyChecking=yes" in options
    pinned = dict(line.split(" ", 1) for line in site.keys.known_hosts.read_text().splitlines())
    assert pinned.keys() == ADDRESSES.keys()
    assert pinned["door.lab.test"] != pinned["data1.lab.test"]
    assert site.keys.identity.stat().st_mode & 0o777 == 0o600


def test_ansible_reads_nothing_but_the_inventory(
    site: LabSite, capfd: pytest.CaptureFixture[str]
) -> None:
    """Ansible would take keys beside hosts.yml for inventories, and warn about each."""
    site.connect(ADDRESSES)
    hosts = definition.variables(site.directory)
    assert set(hosts) == {*ADDRESSES, "client.lab.test"}
    assert capfd.readouterr().err == ""


def test_hosts_that_were_not_made_lead_nowhere(site: LabSite) -> None:
    site.connect(ADDRESSES)
    found = definition.variables(site.directory)["client.lab.test"]
    assert found["ansible_host"] == "client.lab.test.not-in-this-lab.invalid"


def test_a_definition_cannot_send_the_lab_to_a_real_host(site: LabSite) -> None:
    host_vars = site.directory / "host_vars" / "door.lab.test.yml"
    host_vars.parent.mkdir()
    host_vars.write_text("ansible_host: real.example.org\n")
    with pytest.raises(InvalidSiteError, match=r"door\.lab\.test: ansible_host is 'real"):
        site.connect(ADDRESSES)


def test_group_variables_of_a_real_site_are_overridden(site: LabSite) -> None:
    with (site.directory / "group_vars" / "bestman.yml").open("a") as handle:
        handle.write("ansible_user: root\nansible_ssh_common_args: -o ProxyJump=gate\n")
    site.connect(ADDRESSES)
    assert definition.variables(site.directory)["door.lab.test"]["ansible_user"] == "admin"


def test_the_bundled_paths_exist(site: LabSite) -> None:
    variables = definition.variables(site.directory)["door.lab.test"]
    for name in ("grid_trust_ca_files", "grid_trust_host_certificate", "grid_trust_host_key"):
        path = variables[name].replace("{{ inventory_dir }}", str(site.directory))
        assert Path(path.replace("{{ inventory_hostname }}", "door.lab.test")).exists()


def test_copying_again_brings_changes_and_leaves_what_was_edited(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("hosts.yml", "other.yml"):
        (source / name).write_text("all: {hosts: {a.b: }}\n")
    (source / ".git").mkdir()
    (source / ".git" / "config").write_text("x")
    site = LabSite(tmp_path / "site")
    site.claim("mine")
    site.copy(source, quiet)
    assert not (site.directory / ".git").exists()
    (site.directory / "other.yml").write_text("all: {hosts: {mine.b: }}\n")
    for name in ("hosts.yml", "other.yml"):
        (source / name).write_text("all: {hosts: {new.b: }}\n")
    told: list[str] = []
    site.copy(source, told.append)
    assert "new.b" in (site.directory / "hosts.yml").read_text()
    assert "mine.b" in (site.directory / "other.yml").read_text()
    assert told == [f"{site.directory / 'other.yml'} was edited: left as it is"]


def test_only_an_empty_directory_or_our_own_is_taken_and_removed(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "precious").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        LabSite(foreign).claim("mine")
    assert not LabSite(foreign).remove("mine")
    assert (foreign / "precious").exists()
    ours = LabSite(tmp_path / "ours")
    ours.claim("mine")
    ours.claim("mine")
    with pytest.raises(UsageError, match="site of the lab mine"):
        ours.claim("other")
    assert not ours.remove("other")
    assert ours.remove("mine")
    assert not ours.directory.exists()
