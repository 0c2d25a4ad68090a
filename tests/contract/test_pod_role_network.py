"""The role ``pod``: rules of a pod's own network, and what it is restarted for."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudlet_deploy import content
from tests.contract.test_pod_role import HOST, POD, ROLE, _program, _text, told

__all__ = ["told"]
pytestmark = [pytest.mark.slow, pytest.mark.one_core]

Told = Callable[..., Any]
RULES = ["table inet gate {", "  chain out { type filter hook output priority 0; }", "}"]
UNITS = ("pod.container.j2", "pod.service.j2")
HOOKS = "/etc/cloudlet-deploy/pods/hooks.d"
LIBEXEC = "/usr/local/libexec/cloudlet-deploy"


def _texts(told: Told, template: str, *settings: dict[str, Any]) -> list[str]:
    """The template with each of the settings, in one run of Ansible."""
    lookup = f"lookup('ansible.builtin.template', '{ROLE / 'templates' / template}')"
    return told(lookup, [{**POD, **one} for one in settings])


@pytest.mark.parametrize("template", UNITS)
def test_both_units_see_first_that_the_rules_will_be_loaded(told: Told, template: str) -> None:
    ruled, bare = _texts(told, template, {"pod_network_rules": RULES}, {"pod_marks": ["a"]})
    lines = ruled.splitlines()
    pre = f"ExecStartPre={LIBEXEC}/pod-portal-before"
    assert lines.count(pre) == 1
    assert lines.index("[Service]") < lines.index(pre) < lines.index("[Install]")
    # What loads them is a hook, so that there is no start past it.
    assert "ExecStartPost" not in ruled and "-network" not in ruled
    assert bare.count("ExecStartPre") == (template == "pod.service.j2")


@pytest.mark.parametrize(
    ("template", "lines"),
    [
        (
            "pod.container.j2",
            ("PodmanArgs=--pidfile=%t/pod-portal.pid", "Annotation=cloudlet-deploy.pod=portal"),
        ),
        (
            "pod-run.j2",
            (
                '    --pidfile="$XDG_RUNTIME_DIR/pod-portal.pid" \\',
                "    --annotation=cloudlet-deploy.pod=portal \\",
            ),
        ),
    ],
)
def test_podman_tells_which_process_it_starts_and_that_a_hook_is_for_it(
    told: Told, template: str, lines: tuple[str, ...]
) -> None:
    ruled, bare = _texts(told, template, {"pod_network_rules": RULES}, {})
    for line in lines:
        assert ruled.splitlines().count(line) == 1, (line, ruled)
    assert "pidfile" not in bare and "nnotation" not in bare


def test_the_hook_is_for_this_pod_where_podman_looks_and_cannot_be_passed_over(told: Told) -> None:
    (files,) = told("__pod_files", [{**POD, "pod_network_rules": RULES}])
    (hook,) = [one for one in files if one["path"] == f"{HOOKS}/portal.json"]
    assert (hook["owner"], hook["mode"]) == ("root", "0644")
    document = json.loads(hook["content"])
    (name, value) = document["when"]["annotations"].popitem()
    assert re.fullmatch(name, "cloudlet-deploy.pod") and re.fullmatch(value, "portal")
    assert not re.fullmatch(name, "cloudlet-deploy-pod") and not re.search(value, "portal-2")
    assert document["stages"] == ["createRuntime"]
    # Podman runs no hook whose program is not there, and says nothing.
    assert document["hook"]["path"] == "/bin/sh"
    script = document["hook"]["args"][-1]
    assert script in [one["path"] for one in files if one["mode"] == "0755"]
    other = content.roles()["podman_host"] / "vars" / "main.yml"
    described = yaml.safe_load(other.read_text())["__podman_host_files"]
    (conf,) = [one for one in described if "containers_conf" in one["path"]]
    assert tomllib.loads(conf["content"]) == {"engine": {"hooks_dir": [HOOKS]}}


def test_a_pod_whose_hook_would_not_be_called_does_not_start(told: Told, tmp_path: Path) -> None:
    script, conf = tmp_path / "before", tmp_path / ".config/containers/containers.conf"
    hook = tmp_path / "hooks.d" / "portal.json"
    text = _text(told, "pod-before.j2", pod_network_rules=RULES)
    assert HOOKS in text
    script.write_text(text.replace(HOOKS, str(hook.parent)))
    _program(tmp_path / "systemctl", "exit 0\n")
    conf.parent.mkdir(parents=True)

    def run() -> tuple[int, str]:
        env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)}
        done = subprocess.run(
            ["sh", str(script)], env=env, capture_output=True, text=True, timeout=20, check=False
        )
        return done.returncode, done.stderr

    hook.parent.mkdir()
    hook.write_text("{}")
    code, said = run()
    assert code == 1 and str(hook.parent) in said and "no rules" in said
    conf.write_text('[engine]\nhooks_dir = ["/elsewhere"]\n')
    assert run() == (code, said)
    conf.write_text(f'[engine]\nhooks_dir = ["{hook.parent}"]\n')
    assert run() == (0, "")
    hook.unlink()
    assert run() == (code, said)


def test_the_rules_are_a_file_of_roots_that_nft_has_accepted(told: Told) -> None:
    settings = [
        {**POD, "pod_network_rules": rules, "__pod_on_host": {**HOST, "quadlet": quadlet}}
        for rules in (RULES, [])
        for quadlet in (True, False)
    ]
    rules = "/etc/cloudlet-deploy/pods/portal.nft"
    found = told("[__pod_files, __pod_directories, __pod_validators]", settings)
    for files, directories, validators in found[:2]:
        (file,) = [one for one in files if one["path"] == rules]
        assert "\n".join(RULES) + "\n" in file["content"] and file["content"].startswith("# ")
        assert (file["owner"], file["mode"]) == ("root", "0644")
        assert file["restart"] == ["~oodsvc/portal.service"]
        paths = [one["path"] for one in directories]
        assert paths.count("/etc/cloudlet-deploy/pods") == 1 and len(paths) == len(set(paths))
        assert HOOKS in paths
        assert validators == [{"argv": ["nft", "--check", "--file", f"{{{rules}}}"]}]
    for files, _, validators in found[2:]:
        assert rules not in [one["path"] for one in files] and validators == []
        assert not any(one["path"].endswith(("-network", "hooks.d/portal.json")) for one in files)


@pytest.mark.parametrize("template", UNITS)
def test_another_mark_makes_another_unit(told: Told, template: str) -> None:
    marks: list[list[str]] = [["id of 1", "id of 2"], ["id of 1", "id of 3"], ["id of 1", ""], []]
    texts = _texts(told, template, *({"pod_marks": one} for one in [*marks, marks[0]]))
    assert len(set(texts)) == len(marks) and texts[0] == texts[-1]
    changed = set(texts[0].splitlines()) ^ set(texts[3].splitlines())
    # A comment: systemd does not look at it, config_set does.
    assert len(changed) == 1 and changed.pop().startswith("# Restarted for: ")
    assert "id of 1" not in texts[0]


def test_status_asks_whether_the_rules_are_there(told: Told) -> None:
    health = {"pod_health": {"argv": ["true"]}}
    settings = [{**POD, "pod_network_rules": RULES, **health}, {**POD, **health}, POD]
    both, answers, nothing = told("__pod_probes", settings)
    assert [one["what"] for one in both] == [
        "The pod portal does not answer",
        "The network of the pod portal has no rules",
    ]
    assert both[1]["argv"][:3] == ["runuser", "-u", "oodsvc"]
    assert "/pod-portal.pid" in both[1]["argv"][-1]
    assert answers == both[:1] and nothing == []


def test_what_names_the_process_and_calls_the_hook_is_the_role_s(told: Told) -> None:
    refused, fine = ["--pidfile=/tmp/x", "--annotation=cloudlet-deploy.pod=x"], "--annotation=a=b"
    settings = [{**POD, "pod_options": [one]} for one in [*refused, fine]]
    *faults, passes = told("__pod_faults", settings)
    assert all(len(one) == 1 and "meant for it" in one[0] for one in faults) and passes == []


STATE = '{"ociVersion": "1.0", "annotations": {"x": "\\"pid\\": 1"},\n "pid": 4711, "bundle": "/b"}'


@pytest.fixture
def loader(told: Told, tmp_path: Path) -> Callable[[str, int], tuple[int, list[str], str]]:
    """Runs the hook with a state and nft's exit code; (its own, what nsenter was told, the log)."""
    script = tmp_path / "loader"
    path = f"PATH={tmp_path}:"
    script.write_text(_text(told, "pod-network.j2", pod_network_rules=RULES).replace("PATH=", path))

    def run(state: str, nft: int) -> tuple[int, list[str], str]:
        calls, log = tmp_path / "calls", tmp_path / "log"
        for file in (calls, log):
            file.write_text("")
        _program(tmp_path / "nsenter", f'echo "$@" >>{calls}\necho nft says; exit {nft}\n')
        _program(tmp_path / "logger", f'echo "$@" >>{log}\n')
        done = subprocess.run(
            ["sh", str(script)], env={}, input=state, text=True, timeout=20, check=False
        )
        return done.returncode, calls.read_text().splitlines(), log.read_text()

    return run


def test_the_rules_are_loaded_into_the_network_of_this_very_start(
    loader: Callable[[str, int], tuple[int, list[str], str]],
) -> None:
    loads = "--target=4711 --net nft --file /etc/cloudlet-deploy/pods/portal.nft"
    assert loader(STATE, 0) == (0, [loads], "")
    code, calls, log = loader(STATE, 1)
    assert code == 1 and calls == [loads]
    assert "--tag pod-portal" in log and log.endswith("the pod does not start: nft says\n")


def test_a_start_of_which_nothing_is_known_fails(
    loader: Callable[[str, int], tuple[int, list[str], str]],
) -> None:
    for state in ("", "{}"):
        code, calls, log = loader(state, 0)
        assert code == 1 and calls == [] and "does not start" in log
