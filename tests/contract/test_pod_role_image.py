"""``pod_image``: whether an image is there is told without Podman; what brings it, with one."""

from __future__ import annotations

import io
import json
import pwd
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import podman_images
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import Result
from ansible_collections.cloudlet.deploy.plugins.modules import pod_image
from oldest_python import PYTHON

pytestmark = pytest.mark.one_core

Run = Callable[..., Any]
ID, OTHER = "a" * 64, "b" * 64
IMAGE, REMOTE = "localhost/portal:4", "registry.example.org/portal@sha256:" + "c" * 64


def _archive(path: Path, members: Mapping[str, Any]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, document in members.items():
            data = json.dumps(document).encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def _docker(path: Path, image_id: str = ID) -> Path:
    return _archive(path, {"manifest.json": [{"Config": image_id + ".json", "RepoTags": [IMAGE]}]})


class Podman:
    """The one account's podman; what it has is what the lists in its home say."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[list[str]] = []
        self.images: dict[str, str] = {}
        self.lists = home / ".local/share/containers/storage/overlay-images/images.json"
        self.lists.parent.mkdir(parents=True)
        entry = pwd.struct_passwd(("svc", "x", 989, 989, "", str(home), "/bin/sh"))
        known = {"svc": entry}
        monkeypatch.setattr(pwd, "getpwnam", known.__getitem__)

    def _write(self) -> None:
        entries = [{"id": one, "names": [name]} for name, one in self.images.items()]
        self.lists.write_text(json.dumps(entries))

    def __call__(
        self, argv: list[str], timeout: float | None = None, stdin: Any = subprocess.DEVNULL
    ) -> Result:
        words = argv[argv.index("podman") + 1 :]
        assert "--reuid=989" in argv and "USER=svc" in argv
        self.calls.append(words)
        if words == ["load"]:
            assert tarfile.is_tarfile(stdin)
            self.images["loaded"] = ID
        elif words[0] == "tag":
            self.images[words[2]] = words[1]
        elif words[0] == "pull":
            self.images[words[-1]] = OTHER
        else:
            return Result(125, "", "no such image")
        self._write()
        return Result(0, "", "")


@pytest.fixture
def podman(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Podman:
    return Podman(tmp_path / "home", monkeypatch)


def _brought(podman: Podman, image: str, archive: Path | None, check: bool = False) -> Any:
    store = podman_images.Store("svc", run=podman)
    return pod_image.bring(store, image, str(archive) if archive else None, check)


def test_an_image_that_is_there_needs_no_podman(podman: Podman, tmp_path: Path) -> None:
    podman.images = {IMAGE: ID, REMOTE: OTHER}
    podman._write()
    assert _brought(podman, IMAGE, _docker(tmp_path / "a.tar")) == (ID, "")
    assert _brought(podman, IMAGE, None) == (ID, "")
    assert _brought(podman, REMOTE, None) == (OTHER, "")
    assert podman.calls == []


@pytest.mark.parametrize("before", [None, OTHER])
def test_another_image_of_the_archive_is_loaded_under_its_name(
    podman: Podman, tmp_path: Path, before: str | None
) -> None:
    podman.images = {IMAGE: before} if before else {}
    podman._write()
    archive = _docker(tmp_path / "a.tar")
    assert _brought(podman, IMAGE, archive, check=True) == (ID, "load")
    assert podman.images == ({IMAGE: before} if before else {})
    assert _brought(podman, IMAGE, archive) == (ID, "load")
    assert ["load"] in podman.calls and podman.images[IMAGE] == ID
    assert _brought(podman, IMAGE, archive) == (ID, "")


def test_a_digest_is_pulled_once(podman: Podman) -> None:
    assert _brought(podman, REMOTE, None, check=True) == ("", "pull")
    assert _brought(podman, REMOTE, None) == (OTHER, "pull")
    assert _brought(podman, REMOTE, None) == (OTHER, "")
    assert [call[0] for call in podman.calls].count("pull") == 1


def test_what_cannot_be_had_says_what_to_do(podman: Podman, tmp_path: Path) -> None:
    lost = tmp_path / "lost.tar"
    assert _brought(podman, IMAGE, lost, check=True) == ("", "load")
    with pytest.raises(podman_images.ImageError, match=r"lost.tar is not there.*before this task"):
        _brought(podman, IMAGE, lost)
    with pytest.raises(podman_images.ImageError, match="build the image"):
        _brought(podman, IMAGE, None)
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(podman_images.ImageError, match="podman save"):
        _brought(podman, IMAGE, tmp_path / "text")
    absent = podman_images.Store("nobody-here", run=podman)
    assert pod_image.bring(absent, IMAGE, None, True) == ("", "")
    with pytest.raises(podman_images.ImageError, match="no account nobody-here"):
        pod_image.bring(absent, IMAGE, None, False)


def test_both_formats_of_archives_tell_the_id(tmp_path: Path) -> None:
    manifest = "sha256:" + "d" * 64
    oci = {
        "index.json": {"manifests": [{"digest": manifest}]},
        "blobs/sha256/" + "d" * 64: {"config": {"digest": "sha256:" + ID}},
    }
    assert podman_images.archived(str(_archive(tmp_path / "oci.tar", oci))) == ID
    assert podman_images.archived(str(_docker(tmp_path / "docker.tar"))) == ID


@pytest.mark.parametrize(
    ("said", "quadlet"),
    [
        ("4.3.1", False),
        ("4.7.2", False),
        ("4.8.0", True),
        ("4.10.1", True),
        ("5.4", True),
        ("", True),
    ],
)
def test_the_version_decides_and_nothing_else(said: str, quadlet: bool) -> None:
    assert pod_image.has_quadlet(pod_image.version_of(f"podman version {said}")) is quadlet


def test_where_podman_is_to_come_its_package_tells_the_version() -> None:
    def runner(argv: list[str]) -> Result:
        if argv[0] == "podman":
            return Result(127, "", "podman is not installed")
        return Result(0, "podman:\n  Installed: (none)\n  Candidate: 4.3.1+ds1-8+b1\n", "")

    assert pod_image.podman_version(runner, check=True) == "4.3.1"
    with pytest.raises(podman_images.ImageError, match="Is it installed before"):
        pod_image.podman_version(runner, check=False)


def test_through_ansible_on_a_bare_host_a_plan_is_made(run_tasks: Run) -> None:
    arguments = {"account": "cloudlet-nobody", "image": REMOTE, "id_base": 2000000}
    ids = {"uids": [123456, 123457], "gids": []}
    refused = {**arguments, "uids": [2000001]}
    planned, failed = run_tasks(
        [
            {"cloudlet.deploy.pod_image": {**arguments, **ids}, "check_mode": True},
            {"cloudlet.deploy.pod_image": refused, "check_mode": True, "ignore_errors": True},
        ],
        python=PYTHON,
    )
    assert [(c["kind"], c["name"], c["action"]) for c in planned["changes"]] == [
        ("image", REMOTE, "pull")
    ]
    assert planned["id_map"]["uid"] == [
        "0:@2000000:1000", "65534:@2001000:1", "+123456:@123456:2",
    ]  # fmt: skip
    assert planned["ids"]["uids"] == [[123456, 2]]
    assert failed["failed"] and "base range" in failed["msg"] and failed["next_step"]


DELEGATED = {
    "account": "svc",
    "base": {"uid": [2000000, 65536], "gid": [3000000, 65536]},
    "uids": [[123456, 2], [70000, 1]],
    "gids": [[5000, 1]],
}


def _ids(document: Any, **options: Any) -> Any:
    given = {"account": "svc", "id_base": 0, "all_delegated": False, "uids": [], "gids": []}
    return pod_image.ids_of({**given, **options}, document)


def test_the_base_and_the_approved_ids_are_those_of_the_host(tmp_path: Path) -> None:
    record = tmp_path / "ids.json"
    asked = {"account": "svc", "delegated": {}}
    assert pod_image.delegated(asked, str(record)) is None
    record.write_text(json.dumps(DELEGATED))
    found = pod_image.delegated(asked, str(record))
    assert found == DELEGATED
    assert pod_image.delegated({**asked, "account": "other"}, str(record)) is None
    planned = {**DELEGATED, "uids": []}
    assert pod_image.delegated({**asked, "delegated": planned}, str(record)) == planned
    assert _ids(found, uids=[123457])["uids"] == [[123457, 1]]
    every = _ids(found, all_delegated=True)
    assert every["uids"] == [[70000, 1], [123456, 2]] and every["gids"] == [[5000, 1]]
    assert every["base"] == DELEGATED["base"]
    assert _ids(None, id_base=9000000, uids=[5])["base"]["gid"] == [9000000, 1001]


def test_an_id_that_is_not_delegated_is_refused_before_anything_starts() -> None:
    with pytest.raises(podman_images.ImageError, match="uids 123458 to 123458 are not delegated"):
        _ids(DELEGATED, uids=[123456, 123458])
    with pytest.raises(podman_images.ImageError, match="podman_host_delegated_gids"):
        _ids(DELEGATED, gids=[123456])
    some: list[dict[str, Any]] = [{}, {"id_base": 5, "all_delegated": True}]
    for options in some:
        with pytest.raises(podman_images.ImageError, match="set pod_id_base"):
            _ids(None, **options)
