"""Which directories are never relabeled."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import commands, selinux_relabel
from ansible_collections.cloudlet.deploy.plugins.module_utils.selinux_policy import Policy, Refused
from ansible_collections.cloudlet.deploy.plugins.module_utils.selinux_relabel import Mount

MOUNTS = [
    Mount("/", "ext4"),
    Mount("/srv/disk", "xfs"),
    Mount("/srv/camera", "cifs"),
    Mount("/srv/camera/inside", "ext4"),
    Mount("/srv/pod/project", "fuse.sshfs"),
    Mount("/srv/auto", "autofs"),
]
LIVED_IN = {"/srv/people/ann": "the home of ann", "/": "the home of nobody", "": "nothing"}


@pytest.mark.parametrize("path", ["/srv/x", "/srv/disk", "/srv/disk/x", "/srv/camera2", "/opt/x"])
def test_plain_directories_may_be(tmp_path: Path, path: str) -> None:
    (tmp_path / path[1:]).mkdir(parents=True)
    selinux_relabel.refuse(path, str(tmp_path), MOUNTS, LIVED_IN)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/", "/"),
        ("/etc", "/etc/"),
        ("/home", "/home"),
        ("/home/ann/x", "/home"),
        ("/root", "/root"),
        ("/etc/letsencrypt/live", "/etc/letsencrypt"),
        ("/etc/pki/tls", "/etc/pki"),
        ("/etc/ssl/private", "/etc/ssl"),
        ("/etc/grid-security", "/etc/grid-security"),
        ("/srv/people", "/srv/people/ann"),
        ("/srv/people/ann/x", "/srv/people/ann"),
        ("/srv/camera", "cifs is mounted at /srv/camera"),
        ("/srv/camera/x", "cifs is mounted at /srv/camera"),
        ("/srv/pod", "fuse.sshfs is mounted at /srv/pod/project"),
        ("/srv/auto/x", "autofs is mounted at /srv/auto"),
        ("srv/x", "no plain absolute path"),
        ("/srv/x/", "no plain absolute path"),
        ("/srv/../etc/x", "no plain absolute path"),
    ],
)
def test_homes_certificates_and_mounts_are_refused_by_name(
    tmp_path: Path, path: str, named: str
) -> None:
    with pytest.raises(Refused, match=f"relabel {path}: .*{named}") as caught:
        selinux_relabel.refuse(path, str(tmp_path), MOUNTS, LIVED_IN)
    assert caught.value.next_step


def test_a_symbolic_link_on_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home/ann").mkdir(parents=True)
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv/x").symlink_to(tmp_path / "home")
    for path in ("/srv/x", "/srv/x/ann"):
        with pytest.raises(Refused, match="by a symbolic link"):
            selinux_relabel.refuse(path, str(tmp_path), MOUNTS, {})


def test_mounts_and_homes_are_read_from_the_host(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(
        "1 0 8:1 / / rw,noatime shared:1 - ext4 /dev/a rw\n"
        "2 1 0:5 / /srv/a\\040b rw - fuse.sshfs you@there:/ rw\n"
    )
    assert selinux_relabel.mounts(str(table)) == [
        Mount("/", "ext4"),
        Mount("/srv/a b", "fuse.sshfs"),
    ]
    found = selinux_relabel.homes()
    assert found["/root"] == "the home of root" and "nobody" not in str(found)


def test_other_file_systems_below_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[str]] = []

    def run(argv: list[str], timeout: float) -> commands.Result:
        calls.append(argv)
        return commands.Result(0, "Relabeled /srv/a b from u:r:old_t:s0 to u:r:new_t:s0\n", "")

    monkeypatch.setattr(selinux_relabel.commands, "run", run)
    monkeypatch.setattr(selinux_relabel, "mounts", lambda: MOUNTS[:2])
    (tmp_path / "srv").mkdir()
    policy = Policy(str(tmp_path))
    (one,) = selinux_relabel.apply(policy, "/srv")
    assert one == ("/srv/a b", "u:r:old_t:s0", "u:r:new_t:s0")
    assert calls == [["restorecon", "-v", "-R", "-e", "/srv/disk", "/srv"]]
    selinux_relabel.plan(policy, "/srv", {}, {}, reset=True)
    assert calls[1] == ["restorecon", "-n", "-v", "-R", "-F", "-e", "/srv/disk", "/srv"]
    assert selinux_relabel.apply(policy, "/nowhere") == [] and len(calls) == 2


def test_a_relabeling_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "srv").mkdir()
    answers = {255: "restorecon: no space", commands.NOT_FOUND: "restorecon is not installed"}
    for code, words in answers.items():
        answer = commands.Result(code, "", words)
        monkeypatch.setattr(
            selinux_relabel.commands, "run", lambda argv, timeout, answer=answer: answer
        )
        with pytest.raises(Refused, match=words):
            selinux_relabel.apply(Policy(str(tmp_path)), "/srv")
