"""The role ``pod``: a pod that runs and does not answer is restarted."""

from __future__ import annotations

import http.server
import os
import shlex
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract.test_pod_role import POD, _program, _text, told
from tests.contract.test_pod_role_network import _texts

__all__ = ["told"]
pytestmark = [pytest.mark.slow, pytest.mark.one_core]

Told = Callable[..., Any]
WATCHED = {"pod_health": {"url": "http://127.0.0.1:8443/"}}
UNIT, WATCH = "~oodsvc/portal.service", "~oodsvc/portal-watch.service"


def test_who_has_a_request_is_watched_unless_nobody_wants_it(told: Told) -> None:
    silent = {**WATCHED, "pod_health_interval": 0}
    settings = [{**POD, **one} for one in (WATCHED, silent, {})]
    script = {"path": "/usr/local/libexec/cloudlet-deploy/pod-portal-watch", "mode": "0755"}
    unit = {"path": "/etc/systemd/user/portal-watch.service", "mode": "0644"}
    watched, *unwatched = told("__pod_files", settings)
    for wanted in (script, unit):
        (file,) = [one for one in watched if one["path"] == wanted["path"]]
        assert file["mode"] == wanted["mode"] and file["owner"] == "root"
        # Another question, or another time, is no reason to restart the pod.
        assert file["restart"] == [WATCH]
    assert not any("watch" in one["path"] for files in unwatched for one in files)


@pytest.mark.parametrize("template", ["pod.container.j2", "pod.service.j2"])
def test_the_watch_comes_and_goes_with_the_pod(told: Told, template: str) -> None:
    texts = _texts(told, template, WATCHED, {}, {"pod_health": {"argv": ["true"]}})
    watched, bare, too = (text.splitlines() for text in texts)
    starts = "ExecStartPost=-/usr/bin/env systemctl --user --no-block start portal-watch.service"
    assert watched.count(starts) == 1 and watched.index(starts) > watched.index("[Service]")
    assert starts not in bare and starts in too
    assert not any(line.startswith("Wants=") for line in watched)
    unit = _text(told, "watch.service.j2", **WATCHED).splitlines()
    assert {
        "ConditionUser=oodsvc", "BindsTo=portal.service", "After=portal.service",
        "StartLimitIntervalSec=0", "Restart=always",
    } < set(unit)  # fmt: skip
    # The pod's unit alone starts it, so that a pod that is stopped is not asked.
    assert "[Install]" not in unit


def test_status_sees_that_it_is_watched(told: Told, run_tasks: Callable[..., Any]) -> None:
    role = {"name": "cloudlet.deploy.pod"}
    found = []
    for interval in (30, 0):
        settings = {**POD, **WATCHED, "pod_health_interval": interval, "cloudlet_tasks": "needs"}
        results = run_tasks([{"ansible.builtin.include_role": role, "vars": settings}])
        assert results.returncode == 0, results.output
        needs = results[-1]["ansible_facts"]["cloudlet_needs"]["pod_portal"]
        found.append(needs["units"])
    assert found == [[UNIT, WATCH], [UNIT]]


class Watch:
    """The script with a clock that only its own sleeping moves, until it has restarted the pod."""

    def __init__(self, told: Told, where: Path, **settings: Any) -> None:
        self.where = where
        self.calls = where / "calls"
        self.script = where / "watch"
        self.script.write_text(_text(told, "pod-watch.j2", **settings))
        _program(where / "cut", f"cat {where}/clock\n")
        _program(where / "systemctl", f'echo "$@" >>{self.calls}\nkill "$PPID"\n')

    def run(self, answers: str) -> tuple[int, list[str], str]:
        """Seconds until the pod is restarted, how, and the words. After the last answer: the end.

        ``answers``: of each question, ``y``es or ``n``o.
        """
        where = self.where
        (where / "clock").write_text("1000")
        (where / "answers").write_text("\n".join(answers) + "\n")
        self.calls.write_text("")
        _program(where / "sleep", f"echo $(($(cat {where}/clock) + $1)) >{where}/clock\n")
        took = f"a=$(head -n 1 {where}/answers); sed -i 1d {where}/answers\n"
        ends = 'case $a in y) exit 0;; n) echo "no answer"; exit 1;; *) kill "$PPID";; esac\n'
        # Ends the script once there are no answers left; it stands for the timeout of the request.
        _program(where / "timeout", took + ends.replace('"$PPID"', f"$(cat {where}/pid)"))
        text = f"echo $$ >{where}/pid; exec sh {shlex.quote(str(self.script))}"
        done = subprocess.run(
            ["sh", "-c", text],
            env={"PATH": f"{where}:{os.environ['PATH']}"},
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
        seconds = int((where / "clock").read_text()) - 1000
        return seconds, self.calls.read_text().splitlines(), done.stderr


#: Answers (``y``es or ``n``o) and the seconds after which the pod is restarted, if it is.
TURNS = {
    "ynnn": 120,
    "ynnynnynnn": 300,  # in a row
    "nnynnn": 180,  # a pod that has answered has started
    "nnnnnn": 180,  # and one that has had all its time
    "ynn": None,
    "nnnnn": None,
}


def test_three_questions_in_a_row_without_an_answer_restart_it(told: Told, tmp_path: Path) -> None:
    watch = Watch(told, tmp_path, **WATCHED, pod_health_interval=30, pod_start_timeout=120)
    words = "The pod portal has not answered three times in a row (no answer); it is restarted\n"
    for answers, seconds in TURNS.items():
        after, calls, said = watch.run(answers)
        if seconds is None:
            assert (answers, calls, said) == (answers, [], "")
        else:
            assert (answers, after, said) == (answers, seconds, words)
            assert calls == ["--user try-restart portal.service"]


def test_what_a_command_in_the_pod_says_is_in_no_log(told: Told, tmp_path: Path) -> None:
    health = {"argv": ["check", "it's"]}
    watch = Watch(told, tmp_path, pod_health=health, pod_start_timeout=1)
    _after, calls, said = watch.run("ynnn")
    assert calls and "(exit code 1)" in said and "no answer" not in said
    (asked,) = [one for one in watch.script.read_text().splitlines() if one.endswith("2>&1")]
    assert shlex.split(asked.strip().removesuffix(">/dev/null 2>&1"))[-2:] == ["check", "it's"]


class _Broken(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(500)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def broken() -> Iterator[str]:
    """A server that has an answer, and not a good one."""
    with http.server.HTTPServer(("127.0.0.1", 0), _Broken) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_an_error_of_http_is_a_failure_of_a_run_and_no_reason_to_restart(
    told: Told, broken: str
) -> None:
    (found,) = told("[__pod_health_argv, __pod_ask]", [{**POD, "pod_health": {"url": broken}}])
    asked, watched = found
    code, said = _ask(asked)
    assert code == 1 and said == f"{broken} answers 500\n"
    assert _ask([*watched, "600"]) == (0, "")


def test_no_answer_is_a_failure_with_its_cause(told: Told) -> None:
    url = "http://127.0.0.1:1/"
    (asked,) = told("__pod_ask + ['600']", [{**POD, "pod_health": {"url": url}}])
    code, said = _ask(asked)
    assert code == 1 and said == f"{url}: [Errno 111] Connection refused\n"


def _ask(argv: list[str]) -> tuple[int, str]:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    return done.returncode, done.stderr
