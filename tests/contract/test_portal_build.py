"""An image that is built on its host: when, of what, and what the role refuses."""

from __future__ import annotations

import hashlib
import json
import os
import pwd
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.cloudlet.deploy.plugins.module_utils import podman_images
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import Result
from ansible_collections.cloudlet.deploy.plugins.modules import pod_build

from cloudlet_deploy import content
from tests.contract.test_pod_role_image import ID, OTHER, _docker
from tests.unit.portal_site import GOOD

pytestmark = pytest.mark.one_core

Run = Callable[..., Any]
ROLE = content.roles()["ondemand_portal"]
IMAGE, BASE = "localhost/ondemand:4.2.3", "localhost/debian:12"
REMOTE = "registry.example.org/debian@sha256:" + "c" * 64


class Podman:
    """The account's podman; ``seen`` is what lay in the directory of the last build."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[list[str]] = []
        self.images: dict[str, str] = {}
        self.label, self.fails = "", False
        self.seen: dict[str, tuple[int, bytes]] = {}
        self.context = ""
        me = pwd.getpwuid(os.getuid())
        entry = pwd.struct_passwd((me.pw_name, "x", 989, 989, "", str(home), "/bin/sh"))
        monkeypatch.setattr(pwd, "getpwnam", {me.pw_name: entry}.__getitem__)
        self.store = podman_images.Store(me.pw_name, run=self)

    def __call__(self, argv: list[str], timeout: float | None = None, stdin: Any = None) -> Result:
        words = argv[argv.index("podman") + 1 :]
        self.calls.append(words)
        if words == ["load"]:
            self.images[BASE] = ID
        if words[:2] == ["image", "inspect"]:
            known = self.images.get(words[-1])
            told = self.label if "Labels" in words[2] else str(known)
            return Result(0, told + "\n", "") if known else Result(125, "", "no such image")
        if words[0] == "build":
            self.context = words[-1]
            top = Path(self.context)
            self.seen = {
                str(path.relative_to(top)): (path.stat().st_mode & 0o777, path.read_bytes())
                for path in top.rglob("*")
                if path.is_file()
            }
            return Result(1, "", "Error: no space") if self.fails else Result(0, "", "")
        return Result(0, "", "")


@pytest.fixture
def podman(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Podman:
    return Podman(tmp_path / "home", monkeypatch)


@pytest.fixture
def options(tmp_path: Path) -> dict[str, Any]:
    staged = tmp_path / "staged"
    staged.mkdir()
    (staged / "a.deb").write_bytes(b"package")
    (staged / "b.deb").write_bytes(b"other")
    (staged / "not-sent").write_text("what else lies there")
    return {
        "image": IMAGE,
        "containerfile": f"FROM {BASE}\n",
        "base": BASE,
        "base_archive": str(_docker(tmp_path / "base.tar")),
        "files": [{"name": "a.deb", "sha256": "1" * 64}, {"name": "b.deb", "sha256": "2" * 64}],
        "staged": str(staged),
    }


def test_all_that_goes_in_decides_and_nothing_else(options: dict[str, Any], tmp_path: Path) -> None:
    same = pod_build.inputs_of(options)
    assert pod_build.inputs_of({**options, "files": options["files"][::-1]}) == same
    assert pod_build.inputs_of({**options, "staged": None}) == same
    others = (
        {"containerfile": f"FROM {BASE}\nRUN true\n"},
        {"base": REMOTE},
        {"base_archive": str(_docker(tmp_path / "other.tar", OTHER))},
        {"files": [{"name": "a.deb", "sha256": "1" * 64}]},
        {"files": [{"name": "a.deb", "sha256": "3" * 64}, options["files"][1]]},
    )
    assert len({same, *(pod_build.inputs_of({**options, **one}) for one in others)}) == 6


@pytest.mark.parametrize("base", [None, OTHER, ID])
def test_it_is_built_of_what_was_sent(
    podman: Podman, options: dict[str, Any], base: str | None
) -> None:
    podman.images = {BASE: base} if base else {}
    pod_build.build(podman.store, options, "the-inputs")
    assert (["load"] in podman.calls) == (base != ID)
    (call,) = (one for one in podman.calls if one[0] == "build")
    assert f"--label={pod_build.LABEL}=the-inputs" in call and f"--tag={IMAGE}" in call
    assert podman.seen == {
        "Containerfile": (0o600, options["containerfile"].encode()),
        "files/a.deb": (0o600, b"package"),
        "files/b.deb": (0o600, b"other"),
    }
    assert not Path(podman.context).exists()


def test_a_failed_build_leaves_nothing_behind(podman: Podman, options: dict[str, Any]) -> None:
    podman.fails = True
    with pytest.raises(podman_images.ImageError, match="cannot be built: Error: no space"):
        pod_build.build(podman.store, options, "x")
    assert podman.context and not Path(podman.context).exists()
    Path(options["base_archive"]).unlink()
    with pytest.raises(podman_images.ImageError, match=r"base\.tar is not there"):
        pod_build.build(podman.store, options, "x")


def test_only_the_label_tells_what_an_image_is_of(podman: Podman) -> None:
    podman.label = "abc"
    assert podman.store.label_of(IMAGE, pod_build.LABEL) == ""
    podman.images = {IMAGE: ID}
    assert podman.store.label_of(IMAGE, pod_build.LABEL) == "abc"
    assert podman_images.Store("nobody-here", run=podman).label_of(IMAGE, "x") == ""


@pytest.mark.slow
def test_a_file_is_checked_on_the_controller(run_tasks: Run, tmp_path: Path) -> None:
    package = tmp_path / "ondemand.deb"
    package.write_bytes(b"package")

    def task(sha256: str) -> list[dict[str, Any]]:
        files = [{"source": str(package), "sha256": sha256}]
        given = {"account": "nobody-here", "image": IMAGE, "base": REMOTE, "files": files,
                 "containerfile": f"FROM {REMOTE}\n"}  # fmt: skip
        return [{"cloudlet.deploy.pod_build": given}]

    (wrong,) = run_tasks(task("0" * 64), check=True)
    assert wrong["failed"] and f"{package} has the checksum" in wrong["msg"]
    assert wrong["msg"].endswith("It was not used.")
    right = hashlib.sha256(b"package").hexdigest()
    (found,) = run_tasks(task(right), check=True)
    assert found["changes"] == [
        {"kind": "image", "name": IMAGE, "action": "build", "detail": ""}
    ], found
    (found,) = run_tasks(task(right))
    assert found["failed"] and "no account nobody-here" in found["msg"]


def _told(run_tasks: Run, expression: str, *settings: Mapping[str, Any]) -> list[Any]:
    """Values of an expression with the role's defaults and vars, for each of some settings."""
    variables: dict[str, Any] = {"ansible_facts": {"os_family": "Debian"}}
    for kind in ("defaults", "vars"):
        variables |= yaml.safe_load((ROLE / kind / "main.yml").read_text())
    variables |= GOOD | {
        "ondemand_portal_oidc_client_secret": "s",
        "ondemand_portal_ldap_bind_password": "p",
    }
    tasks = [
        {"ansible.builtin.debug": {"msg": f"{{{{ {expression} }}}}"}, "vars": dict(one)}
        for one in settings
    ]
    results = run_tasks(tasks, extra_vars=variables)
    assert results.returncode == 0, results.output
    return [one["msg"] for one in results]


FILE = {"source": "https://example.org/ondemand_4.2.3.deb?x=1", "sha256": "a" * 64}
FAULTS: list[tuple[dict[str, Any], str]] = [
    ({"ondemand_portal_build": {"base": REMOTE, "files": [FILE]}}, ""),
    ({"ondemand_portal_build": {"base": BASE, "base_archive": "/b.tar"}}, ""),
    ({"ondemand_portal_build": {"base": BASE}}, "begins with localhost/debian:12"),
    ({"ondemand_portal_build": {"base": "debian:12"}}, "begins with debian:12"),
    ({"ondemand_portal_build": {"packages": ["sudo"]}}, "begins with nothing"),
    ({"ondemand_portal_build": {"base": REMOTE, "package": []}}, "has package, which is none of"),
    (
        {"ondemand_portal_build": {"base": REMOTE}, "ondemand_portal_archive": "/a.tar"},
        "are both given",
    ),
    (
        {"ondemand_portal_build": {"base": REMOTE}, "ondemand_portal_image": REMOTE},
        "write localhost/NAME:VERSION",
    ),
    (
        {"ondemand_portal_build": {"base": REMOTE, "files": [{"source": "/a.deb"}]}},
        "has the file /a.deb",
    ),
    (
        {"ondemand_portal_build": {"base": REMOTE, "files": [{**FILE, "source": "/a.tar"}]}},
        "has the file /a.tar",
    ),
]


@pytest.mark.slow
def test_what_cannot_be_built_is_refused_by_name(run_tasks: Run) -> None:
    expression = "__ondemand_portal_faults | join(' ')"
    told = _told(run_tasks, expression, *(settings for settings, _ in FAULTS))
    for (settings, words), said in zip(FAULTS, told, strict=True):
        assert (words in said) if words else said == "", (settings, said)


@pytest.mark.slow
def test_the_containerfile_takes_the_packages_of_its_base(run_tasks: Run) -> None:
    rpm = {**FILE, "source": "/srv/ondemand-4.2.3.rpm"}
    build = {
        "base": REMOTE,
        "packages": ["apache2", "a b"],
        "files": [FILE, rpm],
        "commands": ["a2enmod lua"],
    }
    template = ROLE / "templates" / "Containerfile.j2"
    (text,) = _told(
        run_tasks, f"lookup('ansible.builtin.template', '{template}')",
        {"ondemand_portal_build": build},
    )  # fmt: skip
    lines = [line.strip() for line in text.splitlines()]
    assert lines[1:3] == [f"FROM {REMOTE}", "COPY files/ /var/tmp/files/"]
    assert "apache2 'a b' /var/tmp/files/ondemand_4.2.3.deb; \\" in lines
    assert "apache2 'a b' /var/tmp/files/ondemand-4.2.3.rpm; \\" in lines
    assert "RUN a2enmod lua" in lines and json.loads(lines[-1][4:]) == ["/sbin/init"]
