"""Image recipes: what decides a tag, and which apt sources are taken."""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
import sys
import tarfile
from collections import namedtuple
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from cloudlet_deploy import content
from cloudlet_deploy.errors import RunFailedError
from cloudlet_deploy.lab import (
    campus,
    cluster,
    definition,
    image,
    portal,
    recipes,
    software,
    vm_machine,
)
from cloudlet_deploy.lab.files import Put, archive
from cloudlet_deploy.lab.podman import Podman

DEBIAN = """\
# a comment
Types: deb
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb deb-src
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main contrib
"""


def sources(tmp_path: Path, **files: str) -> str:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    for name, text in files.items():
        (parts / name.replace("_", ".")).write_text(text)
    return recipes.machine_sources(tmp_path)


def test_debian_entries_are_taken_as_they_are(tmp_path: Path) -> None:
    found = sources(tmp_path, debian_sources=DEBIAN)
    assert found == DEBIAN.removeprefix("# a comment\n")


@pytest.mark.parametrize(
    "foreign",
    [
        "Types: deb\nURIs: http://vendor.example\nSuites: nodistro\nComponents: main\n",
        "Types: deb\nURIs: http://vendor.example\nSuites: bookworm\nComponents: stable\n",
        "Types: deb\nURIs: http://mirror.example\nSuites: noble\nComponents: main\n",
        "Types: deb-src\nURIs: http://mirror.example\nSuites: bookworm\nComponents: main\n",
        "Enabled: no\n" + DEBIAN.split("\n\n")[1],
    ],
)
def test_other_entries_are_left_out(tmp_path: Path, foreign: str) -> None:
    assert (
        sources(tmp_path, debian_sources=DEBIAN.split("\n\n")[1], vendor_sources=foreign)
        == (DEBIAN.split("\n\n")[1])
    )


def test_one_line_entries_are_understood(tmp_path: Path) -> None:
    text = (
        "deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian bookworm main contrib\n"
        "# deb http://off.example/debian bookworm main\n"
        "deb http://vendor.example/apt vendor-bookworm main\n"
    )
    (tmp_path / "sources.list").write_text(text)
    assert recipes.machine_sources(tmp_path) == (
        "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\n"
        "Components: main contrib\nSigned-By: /k.gpg\n"
    )


def test_no_sources_is_no_error(tmp_path: Path) -> None:
    assert recipes.machine_sources(tmp_path) == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SUITE", "trixie"),
        ("HOST_PACKAGES", ("systemd",)),
        ("BASE_SCRIPT", "true"),
        ("APT_OPTIONS", ()),
        ("DPKG_OPTIONS", ()),
    ],
)
def test_every_input_of_the_base_changes_every_tag(
    monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    before = {kind: recipe.reference for kind, recipe in recipes.recipes().items()}
    monkeypatch.setattr(recipes, name, value)
    after = {kind: recipe.reference for kind, recipe in recipes.recipes().items()}
    assert before.keys() == after.keys() == {"base", "ondemand", *definition.IMAGES}
    assert all(before[kind] != after[kind] for kind in before)


def test_other_sources_are_another_base() -> None:
    assert recipes.base_recipe("a").reference != recipes.base_recipe("b").reference


def test_another_hadoop_or_mount_changes_the_host_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {kind: recipe.reference for kind, recipe in recipes.recipes().items()}
    seen = [before["host"]]
    for name, value in (("HADOOP_VERSION", "3.5.0"), ("_MOUNT_REQUIRES", ("mfusepy==3.1.0",))):
        monkeypatch.setattr(software, name, value)
        after = {kind: recipe.reference for kind, recipe in recipes.recipes().items()}
        assert {kind for kind in before if before[kind] != after[kind]} == {"host"}
        seen.append(after["host"])
    assert len(set(seen)) == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [("VM_SUITE", "forky"), ("VM_PACKAGES", ()), ("VM_SCRIPT", "true"), ("VM_HOST_SCRIPT", "true")],
)
def test_another_machine_changes_its_image_alone(
    monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    before = {kind: recipe.reference for kind, recipe in recipes.recipes().items()}
    monkeypatch.setattr(recipes, name, value)
    after = {kind: recipe.reference for kind, recipe in recipes.recipes().items()}
    assert {kind for kind in before if before[kind] != after[kind]} == {"vm"}


@pytest.mark.parametrize(
    ("name", "value", "kinds"),
    [
        ("CLOUDLET_SCRIPT", "true", {"cloudlet12", "portal12"}),
        ("NEWER_SUITE", "forky", {"cloudlet13", "cryosparc13", "portal13"}),
        ("NEWER_PACKAGES", (), {"cloudlet13", "cryosparc13", "portal13"}),
        ("NEWER_SCRIPT", "true", {"cloudlet13", "cryosparc13", "portal13"}),
    ],
)
def test_another_cloudlet_changes_its_image_alone(
    monkeypatch: pytest.MonkeyPatch, name: str, value: object, kinds: set[str]
) -> None:
    before = {kind: recipe.reference for kind, recipe in recipes.recipes().items()}
    monkeypatch.setattr(recipes, name, value)
    after = {kind: recipe.reference for kind, recipe in recipes.recipes().items()}
    assert {kind for kind in before if before[kind] != after[kind]} == kinds


@pytest.mark.parametrize(
    ("name", "value", "kinds"),
    [
        ("PACKAGES", (), {"ondemand", "portal12", "portal13"}),
        ("SCRIPT", "true", {"ondemand", "portal12", "portal13"}),
        ("_FILES", {}, {"ondemand", "portal12", "portal13"}),
        ("ARCHIVE", "/elsewhere", {"portal12", "portal13"}),
    ],
)
def test_another_pod_changes_its_image_and_its_host(
    monkeypatch: pytest.MonkeyPatch, name: str, value: object, kinds: set[str]
) -> None:
    before = {kind: recipe.reference for kind, recipe in recipes.recipes().items()}
    monkeypatch.setattr(portal, name, value)
    after = {kind: recipe.reference for kind, recipe in recipes.recipes().items()}
    assert {kind for kind in before if before[kind] != after[kind]} == kinds


def test_all_of_the_portals_stand_in_lies_in_its_pod() -> None:
    sources = {path.name for path in portal._SOURCE.iterdir() if path.is_file()}
    assert set(portal._FILES) == sources - {"__init__.py"}


def test_what_an_image_is_made_of_is_built_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[str] = []
    monkeypatch.setattr(image, "_exists", lambda _podman, recipe: recipe.kind in built)
    monkeypatch.setattr(image, "_prune", lambda _podman, _wanted: None)
    monkeypatch.setattr(image, "locked", lambda _name: contextlib.nullcontext())
    monkeypatch.setattr(image, "_build", lambda *given: built.append(given[2]))
    found = image.ensure(cast("Podman", None), {"portal13"}, lambda _line: None)
    assert built == ["base", "cloudlet13", "ondemand", "portal13"]
    assert found == {"portal13": recipes.recipes()["portal13"].reference}


@pytest.mark.parametrize("name", ["SCRIPT", "REQUIRES", "FILES"])
def test_another_campus_changes_its_image_alone(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    before = {kind: recipe.reference for kind, recipe in recipes.recipes().items()}
    monkeypatch.setattr(campus, name, {})
    after = {kind: recipe.reference for kind, recipe in recipes.recipes().items()}
    assert {kind for kind in before if before[kind] != after[kind]} == {"campus"}


def test_a_campus_without_its_provider_is_not_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(RunFailedError, match="pip cannot fetch the OIDC provider"):
        campus.make_home(tmp_path / "campus")


def test_what_the_roles_of_a_cloudlet_install_lies_ready() -> None:
    wanted: set[str] = set()
    for role in ("podman_host", "data_mounts", "data_hop"):
        described = yaml.safe_load((content.roles()[role] / "vars" / "main.yml").read_text())
        for name, families in described.items():
            if name.endswith("_by_family") and name != "__podman_host_policy_by_family":
                found = families["Debian"]
                lists = found.values() if isinstance(found, dict) else [found]
                wanted |= {one for names in lists if isinstance(names, list) for one in names}
    ready = {*recipes._CLOUDLET_READY_PACKAGES, *recipes.NEWER_PACKAGES}
    assert {"podman", "sshfs", "samba"} <= wanted <= ready


def test_a_newer_debian_is_made_of_what_it_has() -> None:
    assert "openjdk-17" not in recipes.NEWER_SCRIPT and "libfuse3-3" not in recipes.NEWER_PACKAGES
    # The account that the lab comes as has the first number, as in all images.
    assert recipes.NEWER_SCRIPT.index("bash --password '*' admin") < recipes.NEWER_SCRIPT.index(
        "--password '*' alice"
    )


def test_sources_of_another_suite_come_from_the_same_mirror() -> None:
    found = recipes.sources_of("trixie", DEBIAN)
    assert "Suites: trixie trixie-updates\n" in found and "Suites: trixie-security\n" in found
    assert found.replace("trixie", "bookworm") == DEBIAN


def test_a_machine_is_restored_into_the_devices_that_it_was_kept_with() -> None:
    kept = vm_machine.qemu(Path("a"), "user,id=lab", ("-accel", "tcg"))
    restored = vm_machine.qemu(Path("b"), "tap,id=lab", ("-accel", "tcg"), "-incoming", "x")
    differing = {(a, b) for a, b in zip(kept, restored, strict=False) if a != b}
    assert {a.partition(",")[0] for a, _ in differing} == {"file=a", "user"}
    assert restored[len(kept) :] == ["-incoming", "x"]


def test_the_homes_are_told_apart_by_their_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    before = software.digests()
    assert before.keys() == {"/opt/bestman2", "/opt/hadoop", "/opt/hdfs-mount"}
    monkeypatch.setattr(software, "mount_sources", lambda: [Path(__file__)])
    after = software.digests()
    assert {home for home in before if before[home] != after[home]} == {"/opt/hdfs-mount"}


class RecordingPodman:
    """Answers from a table and remembers what was asked."""

    def __init__(self, images: list[dict[str, Any]], store: str) -> None:
        self.images, self.store = images, store
        self.asked: list[tuple[str, ...]] = []

    def run(self, *arguments: str, **_options: Any) -> subprocess.CompletedProcess[str]:
        self.asked.append(arguments)
        return subprocess.CompletedProcess(arguments, 0, f"{self.store}\n", "")

    def json(self, *_arguments: str) -> Any:
        return self.images


@pytest.mark.parametrize(
    "packed", [archive([Put("a", b"text", 0o644)]), archive([]), cluster.worker()]
)
def test_an_archive_ends_where_podman_stops_to_read(packed: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        tar.getmembers()
        assert len(packed) - tar.offset == 2 * tarfile.BLOCKSIZE


def test_too_little_space_is_told_before_anything_is_built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10, 10, 2**30))
    podman = RecordingPodman([], str(tmp_path))
    with pytest.raises(RunFailedError, match=rf"{tmp_path} has 1\.0 GiB left") as caught:
        image._build(podman, recipes.recipes(), "base", lambda _line: None)
    assert caught.value.next_step
    assert [arguments[0] for arguments in podman.asked] == ["info"]


def test_only_images_of_older_recipes_are_pruned() -> None:
    wanted = recipes.recipes()
    stored = [
        {"Id": "1", "Names": [wanted["host"].reference]},
        {"Id": "2", "Names": ["localhost/cloudlet-lab-host:older"]},
        {"Id": "3", "Names": None},
    ]
    podman = RecordingPodman(stored, "")
    image._prune(podman, wanted)
    removed = [arguments[1:] for arguments in podman.asked]
    assert removed == [("localhost/cloudlet-lab-host:older",), ("3",)]
