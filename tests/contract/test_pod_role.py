"""The role ``pod``: what it refuses, its two kinds of unit, and its scripts run with stand-ins."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudlet_deploy import content

pytestmark = [pytest.mark.slow, pytest.mark.one_core]

Run = Callable[..., Any]
ROLE = content.roles()["pod"]
IDMAPS = content.root() / "plugins" / "module_utils" / "idmaps.py"
POD: dict[str, Any] = {
    "pod_name": "portal",
    "pod_image": "localhost/portal:4",
    "pod_id_base": 2000000,
    "pod_uids": [123456],
    "pod_volumes": [{"source": "/srv/data", "target": "/data", "options": ["ro", "rslave"]}],
    "pod_ports": ["127.0.0.1:8443:443"],
    "pod_capabilities": ["CHOWN", "SETUID"],
    "pod_selinux_type": "its_own_t",
    "pod_environment": {"GREETING": '50% of $HOME "it\'s"'},
    "pod_secrets": ["tls", "portal,target=/etc/portal.yml,mode=0400"],
    "pod_command": ["sh", "-c", "echo $GREETING; exec sleep 9"],
    "pod_options": ["--pids-limit=-1", "--label=a b"],
}
HOST = {
    "quadlet": True,
    "image_id": "0" * 64,
    "id_map": {"uid": ["0:@2000000:1000", "+123456:@123456:1"], "gid": ["0:@2000000:1000"]},
    "ids": {
        "account": "oodsvc",
        "base": {"uid": [2000000, 1001], "gid": [2000000, 1001]},
        "uids": [[123456, 1]],
        "gids": [],
    },
}


@pytest.fixture
def told(run_tasks: Run) -> Callable[..., Any]:
    """Values of expressions, for each of some settings, with the role's defaults and vars."""
    variables: dict[str, Any] = {}
    for kind in ("defaults", "vars"):
        variables |= yaml.safe_load((ROLE / kind / "main.yml").read_text())

    def evaluated(expression: str, settings: list[Mapping[str, Any]]) -> list[Any]:
        tasks = [
            {"ansible.builtin.debug": {"msg": f"{{{{ {expression} }}}}"}, "vars": dict(one)}
            for one in settings
        ]
        known = {**variables, "__pod_on_host": HOST}
        results = run_tasks(tasks, extra_vars=known)
        assert results.returncode == 0, results.output
        return [one["msg"] for one in results]

    return evaluated


def _text(told: Callable[..., Any], template: str, **settings: Any) -> str:
    path = ROLE / "templates" / template
    (text,) = told(f"lookup('ansible.builtin.template', '{path}')", [{**POD, **settings}])
    return str(text)


def test_a_plan_is_made_where_nothing_is_there_yet(run_tasks: Run) -> None:
    """On this machine, where nobody is called so; its Podman decides which kind of unit."""
    settings = {**POD, "pod_account": "cloudlet-nobody", "pod_archive": "/not/there.tar"}
    role = {"name": "cloudlet.deploy.pod"}
    results = run_tasks([{"ansible.builtin.include_role": role, "vars": settings}], check=True)
    assert results.returncode == 0, results.output
    changes = [c for one in results for c in one.get("changes", ())]
    told = {(c["kind"], c["name"], c["action"]) for c in changes}
    unit = "~cloudlet-nobody/portal.service"
    assert {("unit", unit, "start"), ("image", "localhost/portal:4", "load")} <= told
    made = {c["name"] for c in changes if c["kind"] == "file"}
    kinds = {
        "/etc/containers/systemd/users/portal.container",
        "/etc/systemd/user/portal.service",
    }
    assert len(made & kinds) == 1


REFUSED: dict[str, dict[str, Any]] = {
    "small letters": {"pod_name": "Portal/1"},
    "may be another image tomorrow": {"pod_image": "registry.example.org/portal:latest"},
    "own ids of the pod": {"pod_gids": [999]},
    "own ids of the pod. Take": {"pod_uids": [65534]},
    "semanage fcontext": {"pod_volumes": [{"source": "/a", "target": "/a", "options": ["Z"]}]},
    "label or owner": {"pod_volumes": [{"source": "/a", "target": "/a", "options": ["ro", "z"]}]},
    "without blanks": {"pod_volumes": [{"source": "/a b", "target": "/a"}]},
    "past the server": {"pod_ports": ["8443:443"]},
    "past the server of": {"pod_ports": ["0.0.0.0:8443:443"]},
    "holds a blank": {"pod_secrets": ["a b"]},
    "line break": {"pod_command": ["a\nb"]},
    "or a name that is none": {"pod_environment": {"a b": 1}},
    "write --option=value": {"pod_options": ["-v=/:/host"]},
    "take a wall down": {"pod_options": ["--privileged"]},
    "wall down that": {"pod_options": ["--security-opt=label=disable"]},
    "meant for it": {"pod_options": ["--userns=host"]},
    "meant for it (": {"pod_options": ["--volume=/:/host"]},
    "the variable that is meant": {"pod_options": ["--network=host"]},
    "keep the one": {"pod_health": {"argv": ["true"], "url": "http://localhost/"}},
}


def test_what_would_open_the_host_is_refused_with_the_reason(told: Callable[..., Any]) -> None:
    settings = [POD, *({**POD, **one} for one in REFUSED.values())]
    fine, *faults = told("__pod_faults", settings)
    assert fine == []
    for words, fault in zip(REFUSED, faults, strict=True):
        assert len(fault) == 1 and words in fault[0], (words, fault)


def test_what_is_named_as_open_and_what_is_only_alike_passes(told: Callable[..., Any]) -> None:
    fine: list[dict[str, Any]] = [
        {"pod_ports": ["0.0.0.0:443:443"], "pod_publish_openly": ["0.0.0.0:443:443"]},
        {"pod_ports": ["[::1]:8443:443", "127.0.0.1:5000-5010:5000-5010/udp"]},
        {"pod_options": ["--userland=1", "--env-merge=A=b", "--security-opt=no-new-privileges"]},
        {"pod_image": "registry.example.org/a@sha256:" + "a" * 64},
        {"pod_state": "absent", "pod_image": ""},
    ]
    assert told("__pod_faults", [{**POD, **one} for one in fine]) == [[]] * len(fine)


def test_a_quadlet_has_the_map_the_walls_and_words_that_systemd_leaves_alone(
    told: Callable[..., Any],
) -> None:
    lines = _text(told, "pod.container.j2", pod_after_mounts=["/data"]).splitlines()
    for line in (
        "ConditionUser=oodsvc",
        "UIDMap=0:@2000000:1000",
        "UIDMap=+123456:@123456:1",
        "GIDMap=0:@2000000:1000",
        "DropCapability=all",
        "AddCapability=CHOWN",
        "SecurityLabelType=its_own_t",
        "SecurityLabelLevel=s0",
        "Volume=/srv/data:/data:ro,rslave",
        "PublishPort=127.0.0.1:8443:443",
        r'''Environment="GREETING=50%% of $$HOME \"it's\""''',
        "Secret=tls,type=mount",
        "Secret=portal,type=mount,target=/etc/portal.yml,mode=0400",
        "PodmanArgs=--systemd=false",
        'PodmanArgs="--label=a b"',
        'Exec="sh" "-c" "echo $$GREETING; exec sleep 9"',
        "Restart=always",
        "RestartSec=2",
        "StartLimitIntervalSec=0",
        "ExecStartPre=/usr/local/libexec/cloudlet-deploy/pod-portal-before",
        "TimeoutStartSec=180",
        "WantedBy=default.target",
    ):
        assert lines.count(line) == 1, (line, lines)
    assert not any("security-opt" in line or "privileged" in line for line in lines)
    assert "ExecStartPre" not in _text(told, "pod.container.j2")


def _program(path: Path, text: str) -> None:
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(0o755)


def test_the_plain_unit_runs_podman_with_a_map_of_this_very_start(
    told: Callable[..., Any], tmp_path: Path
) -> None:
    """The wrapper, run with the real pod-id-map and a stand-in for podman."""
    shutil.copy(IDMAPS, tmp_path / "pod-id-map")
    (tmp_path / "pod-id-map").write_text("#!/usr/bin/env python3\n" + IDMAPS.read_text())
    (tmp_path / "pod-id-map").chmod(0o755)
    podman = (
        'if [ "$1" = unshare ]; then\n'
        " for f in /proc/self/uid_map /proc/self/gid_map; do\n"
        '  for l in "0 989 1" "1 123456 1" "2 2000000 65536"; do echo "$f:$l"; done\n done\n'
        'else printf "%s\\n" "$@"; fi\n'
    )
    _program(tmp_path / "podman", podman)
    ids = tmp_path / "ids.json"
    (made,) = told("__pod_plain_files[2].content", [POD])
    ids.write_text(made)
    wrapper = tmp_path / "wrapper"
    settings = {"__pod_libexec": str(tmp_path), "__pod_ids": str(ids)}
    wrapper.write_text(_text(told, "pod-run.j2", **settings))
    done = subprocess.run(
        ["sh", str(wrapper)],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    argv = done.stdout.splitlines()
    assert argv[0] == "run" and {"--rm", "--replace", "--name=portal"} < set(argv)
    # Intermediate ids: the account's own, 0, is in no pod.
    assert [a for a in argv if a.startswith("--uidmap")] == [
        "--uidmap=0:2:1000", "--uidmap=65534:1002:1", "--uidmap=123456:1:1",
    ]  # fmt: skip
    assert [a for a in argv if a.startswith("--gidmap")] == [
        "--gidmap=0:2:1000", "--gidmap=65534:1002:1",
    ]  # fmt: skip
    for word in (
        "--cap-drop=all", "--cap-add=SETUID", "--security-opt=label=level:s0",
        "--security-opt=label=type:its_own_t",
        "--volume=/srv/data:/data:ro,rslave", "--publish=127.0.0.1:8443:443",
        "--env=GREETING=50% of $HOME \"it's\"", "--label=a b", "--systemd=false",
        "--secret=portal,type=mount,target=/etc/portal.yml,mode=0400",
    ):  # fmt: skip
        assert word in argv, (word, argv)
    assert argv[-4:] == ["localhost/portal:4", "sh", "-c", "echo $GREETING; exec sleep 9"]


def test_a_pod_that_cannot_have_its_map_does_not_start(
    told: Callable[..., Any], tmp_path: Path
) -> None:
    _program(tmp_path / "pod-id-map", "echo refused >&2; exit 1\n")
    _program(tmp_path / "podman", f"touch {tmp_path}/ran\n")
    wrapper = tmp_path / "wrapper"
    wrapper.write_text(_text(told, "pod-run.j2", __pod_libexec=str(tmp_path)))
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", str(wrapper)], env=env, timeout=30, check=False)
    assert done.returncode and not (tmp_path / "ran").exists()


def test_the_plain_unit_is_for_one_account_and_never_gives_up(told: Callable[..., Any]) -> None:
    lines = _text(told, "pod.service.j2").splitlines()
    wanted = {
        "ConditionUser=oodsvc", "Type=exec", "Restart=always", "RestartSec=2",
        "StartLimitIntervalSec=0", "KillMode=mixed", "Delegate=yes", "WantedBy=default.target",
        "ExecStart=/usr/local/libexec/cloudlet-deploy/pod-portal",
    }  # fmt: skip
    assert wanted <= set(lines)


@pytest.mark.parametrize(
    ("mounts", "failed", "says"),
    [
        (["/proc", "/sys/"], False, ""),
        (["/proc", "/not/there"], False, "/not/there is not mounted"),
        (["/not/there"], True, "/not/there is not mounted"),
    ],
)
def test_mounts_are_waited_for_but_not_for_ever(
    told: Callable[..., Any], tmp_path: Path, mounts: list[str], failed: bool, says: str
) -> None:
    """With a patience of 1 s, or of an hour where the mount has failed already."""
    _program(tmp_path / "systemctl", f"exit {0 if failed else 1}\n")
    _program(tmp_path / "systemd-escape", "echo some.mount\n")
    script = tmp_path / "before"
    patience = 3600 if failed else 1
    settings = {"pod_after_mounts": mounts, "pod_mount_timeout": patience}
    script.write_text(_text(told, "pod-before.j2", **settings))
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", str(script)], env=env, capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0 and done.stderr.startswith(says)
    assert bool(done.stderr) == bool(says)


def test_each_port_is_the_unit_s_own(told: Callable[..., Any]) -> None:
    ports = ["127.0.0.1:8443:443", "[::1]:5000-5010:5000-5010"]
    (found,) = told("__pod_listens", [{**POD, "pod_ports": ports}])
    assert [(one["port"], one["last"], one["unit"]) for one in found] == [
        (8443, 8443, "~oodsvc/portal.service"),
        (5000, 5010, "~oodsvc/portal.service"),
    ]
