"""Which hosts a lab is to have."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloudlet_deploy.errors import InvalidSiteError
from cloudlet_deploy.lab import definition
from cloudlet_deploy.lab.definition import HostSpec, VolumeSpec
from cloudlet_deploy.lab.lifecycle import default_definition


def inventory(directory: Path, text: str) -> Path:
    directory.mkdir(exist_ok=True)
    (directory / "hosts.yml").write_text(text)
    return directory


def test_bundled_definition() -> None:
    storage = (VolumeSpec("storage", "/srv/storage"),)
    assert set(definition.read(default_definition())) == {
        HostSpec("door.lab.test", "host", storage),
        HostSpec("data1.lab.test", "host", storage),
        HostSpec("client.lab.test", "client", ()),
    }


@pytest.mark.parametrize(
    ("name", "images"),
    [
        ("lab-rootless", ["cloudlet12", "cloudlet13"]),
        ("lab-data", ["cloudlet12", "cloudlet13", "data", "data", "data"]),
        ("lab-portal", ["campus", "campus", "campus", "portal13"]),
        ("lab-cryosparc", ["cluster", "cluster", "cryosparc13"]),
        ("lab-instrument", ["campus"] * 3 + ["cluster"] * 2 + ["data", "portal13"]),
        ("lab-movies", ["cluster", "cluster", "cryosparc13", "data"]),
    ],
)
def test_definitions_of_scenarios(name: str, images: list[str]) -> None:
    found = definition.read(default_definition().parent / name)
    assert sorted(spec.image for spec in found) == images


def test_limit_is_a_pattern_of_ansible() -> None:
    names = {spec.name for spec in definition.read(default_definition(), "all:!lab_clients")}
    assert names == {"door.lab.test", "data1.lab.test"}


def test_a_plain_inventory_gives_bare_hosts_and_localhost_is_not_made(tmp_path: Path) -> None:
    source = inventory(tmp_path, "all: {hosts: {a.example.org: , localhost: }}")
    assert definition.read(source) == (HostSpec("a.example.org", "host", ()),)


def test_a_host_gets_the_rights_that_it_names(tmp_path: Path) -> None:
    rights = "lab_capabilities: [SYS_ADMIN, NET_ADMIN], lab_devices: [/dev/fuse]"
    rights += ", lab_names: [c.a.b]"
    (found,) = definition.read(inventory(tmp_path, f"all: {{hosts: {{a.b: {{{rights}}}}}}}"))
    assert found.capabilities == ("NET_ADMIN", "SYS_ADMIN")
    assert found.devices == ("/dev/fuse",)
    assert found.names == ("c.a.b",)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("all: {hosts: {Upper.example: }}", "'Upper.example'"),
        ("all: {hosts: {a.b: {lab_image: cray}}}", "lab_image is 'cray'"),
        ("all: {hosts: {a.b: {lab_volumes: x}}}", "lab_volumes is no list"),
        ("all: {hosts: {a.b: {lab_volumes: [{name: v, path: rel}]}}}", "'rel'"),
        ("all: {hosts: {a.b: {lab_volumes: [{name: 'v:z', path: /x}]}}}", "'v:z'"),
        ("all: {hosts: {a.b: {lab_volumes: [{name: v, path: '/x:U'}]}}}", "'/x:U'"),
        ("all: {hosts: {a.b: {lab_capabilities: [SYS_MODULE]}}}", "['SYS_MODULE']"),
        ("all: {hosts: {a.b: {lab_capabilities: NET_ADMIN}}}", "lab_capabilities is 'NET_ADMIN'"),
        ("all: {hosts: {a.b: {lab_devices: [/dev/sda]}}}", "lab_devices is ['/dev/sda']"),
        ("all: {hosts: {a.b: {lab_names: ['*.a.b']}}}", "lab_names is ['*.a.b']"),
        ("all: {hosts: {}}", "no hosts"),
    ],
)
def test_nonsense_is_named_with_its_file_and_host(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(InvalidSiteError) as caught:
        definition.read(inventory(tmp_path / "inv", text))
    assert named in caught.value.message
    assert str(tmp_path / "inv") in caught.value.message
    assert caught.value.next_step


def test_no_directory_and_no_match(tmp_path: Path) -> None:
    with pytest.raises(InvalidSiteError, match="is not a directory"):
        definition.read(tmp_path / "nowhere")
    with pytest.raises(InvalidSiteError, match="match 'lab_clients:!all'"):
        definition.read(default_definition(), "lab_clients:!all")
