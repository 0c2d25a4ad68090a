"""The role ``pod``: rules of a pod's own network, and what it is restarted for."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.contract.test_pod_role import HOST, POD, ROLE, _program, _text, told

__all__ = ["told"]
pytestmark = [pytest.mark.slow, pytest.mark.one_core]

Told = Callable[..., Any]
RULES = ["table inet gate {", "  chain out { type filter hook output priority 0; }", "}"]
UNITS = ("pod.container.j2", "pod.service.j2")
LIBEXEC = "/usr/local/libexec/cloudlet-deploy"


def _texts(told: Told, template: str, *settings: dict[str, Any]) -> list[str]:
    """The template with each of the settings, in one run of Ansible."""
    lookup = f"lookup('ansible.builtin.template', '{ROLE / 'templates' / template}')"
    return told(lookup, [{**POD, **one} for one in settings])


@pytest.mark.parametrize("template", UNITS)
def test_both_units_load_the_rules_and_only_those_of_pods_that_have_some(
    told: Told, template: str
) -> None:
    ruled, bare = _texts(told, template, {"pod_network_rules": RULES}, {"pod_marks": ["a"]})
    lines = ruled.splitlines()
    assert lines.count("ExecStartPre=/usr/bin/env rm -f %t/pod-portal.pid") == 1
    post = f"ExecStartPost={LIBEXEC}/pod-portal-network"
    assert lines.count(post) == 1
    assert lines.index("[Service]") < lines.index(post) < lines.index("[Install]")
    assert "ExecStartPost" not in bare and ".pid" not in bare


@pytest.mark.parametrize(
    ("template", "line"),
    [
        ("pod.container.j2", "PodmanArgs=--pidfile=%t/pod-portal.pid"),
        ("pod-run.j2", '    --pidfile="$XDG_RUNTIME_DIR/pod-portal.pid" \\'),
    ],
)
def test_podman_tells_which_process_it_has_started(told: Told, template: str, line: str) -> None:
    ruled, bare = _texts(told, template, {"pod_network_rules": RULES}, {})
    assert ruled.splitlines().count(line) == 1 and "pidfile" not in bare


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
        assert validators == [{"argv": ["nft", "--check", "--file", f"{{{rules}}}"]}]
    for files, _, validators in found[2:]:
        assert rules not in [one["path"] for one in files] and validators == []
        assert not any(one["path"].endswith("-network") for one in files)


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


def test_what_names_the_process_is_the_role_s(told: Told) -> None:
    (faults,) = told("__pod_faults", [{**POD, "pod_options": ["--pidfile=/tmp/x"]}])
    assert len(faults) == 1 and "meant for it" in faults[0]


@pytest.fixture
def loader(told: Told, tmp_path: Path) -> Callable[..., tuple[int, str, list[str]]]:
    """Runs the script; (its exit code, its words, what nsenter was told)."""
    script = tmp_path / "loader"
    script.write_text(_text(told, "pod-network.j2", pod_network_rules=RULES))

    def run(pid: str, nft: int, main: int) -> tuple[int, str, list[str]]:
        calls = tmp_path / "calls"
        calls.unlink(missing_ok=True)
        answer = f'echo "$@" >>{calls}\ncase "$*" in *nft*) exit {nft};; esac\n'
        _program(tmp_path / "nsenter", answer)
        file = tmp_path / "pod-portal.pid"
        file.write_text(pid)
        done = subprocess.run(
            ["sh", str(script)],
            env={
                "PATH": f"{tmp_path}:{os.environ['PATH']}",
                "XDG_RUNTIME_DIR": str(tmp_path),
                "MAINPID": str(main),
            },
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
        return (
            done.returncode,
            done.stderr,
            calls.read_text().splitlines() if calls.exists() else [],
        )

    return run


_ENDED = 2**22 + 1  # beyond every number that the kernel gives to a process


def test_the_rules_are_loaded_into_the_network_of_this_very_start(
    loader: Callable[..., tuple[int, str, list[str]]],
) -> None:
    rules = "/etc/cloudlet-deploy/pods/portal.nft"
    loads = f"--target=4711 --user --net nft --file {rules}"
    for pid in ("4711", "4711\n"):
        assert loader(pid, 0, os.getpid()) == (0, "", [loads])
    code, said, calls = loader("4711", 1, os.getpid())
    assert code == 1 and "the pod is ended" in said and rules in said
    assert calls[0] == loads and calls[1].startswith("--target=4711 --user sh -c kill -KILL")
    assert calls[1].endswith(" 4711")


def test_a_pod_that_never_starts_is_not_waited_for(
    loader: Callable[..., tuple[int, str, list[str]]],
) -> None:
    assert loader("", 0, _ENDED) == (1, "", [])
