"""The two ends of iperf3, over commands that stand for the host's."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import hop
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import Result
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_facts import Listener

DONE = Result(0, "", "")


class Host:
    """Answers commands, and writes down which there were. ``begins``: iperf3 listens then."""

    def __init__(self, *, begins: bool = True, answer: Result = DONE) -> None:
        self.calls: list[list[str]] = []
        self.listening: dict[int, Listener] = {}
        self.begins, self.answer = begins, answer

    def run(self, argv: list[str], **_: Any) -> Result:
        self.calls.append(argv)
        if argv[0] == "systemd-run":
            if self.begins:
                self.listening[5201] = Listener(5201, 1, "iperf3")
            return self.answer
        return self.answer if argv[0] == "iperf3" else Result(0, "", "")

    def serve(self) -> str:
        problem = hop.serve(self.run, 5201, 10, lambda: self.listening)
        assert isinstance(problem, str)
        return problem


def test_the_server_listens_for_one_test_and_ends_by_itself() -> None:
    host = Host()
    assert host.serve() == ""
    stop, start = host.calls
    assert stop[:2] == ["systemctl", "stop"]
    assert {"--collect", "--one-off", "--property=User=nobody"} <= set(start)
    assert "--property=RuntimeMaxSec=70" in start
    hop.end(host.run)
    assert host.calls[-1] == stop


def test_a_port_that_is_taken_is_named_with_its_owner() -> None:
    host = Host()
    host.listening[5201] = Listener(5201, 7, "nginx", "nginx.service")
    assert host.serve() == "port 5201 is taken by nginx (pid 7) of nginx.service"
    assert not any(call[0] == "systemd-run" for call in host.calls)


def test_a_server_that_does_not_come_up_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = Host(begins=False, answer=Result(1, "", "Failed to find executable iperf3\n"))
    assert refused.serve() == "iperf3 cannot be started: Failed to find executable iperf3"
    monkeypatch.setattr(hop, "_START", 0.2)
    silent = Host(begins=False)
    assert "does not listen on port 5201" in silent.serve()
    assert silent.calls[-1][:2] == ["systemctl", "stop"]


def ask(answer: Result) -> dict[str, Any]:
    host = Host(answer=answer)
    found = hop.ask(host.run, "192.0.2.7", 5201, 10, 4)
    (call,) = host.calls
    assert " ".join(call[2:6]) == "--client 192.0.2.7 --port 5201"
    assert call[call.index("--parallel") + 1] == "4"
    assert isinstance(found, dict)
    return found


def test_what_arrived_counts() -> None:
    ends = {
        "sum_sent": {"bits_per_second": 2e9, "retransmits": 12},
        "sum_received": {"bits_per_second": 1.2345678e9},
    }
    assert ask(Result(0, json.dumps({"end": ends}), "")) == {"mbit": 1234.568, "retransmits": 12}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Result(1, json.dumps({"error": "connect: refused", "end": {}}), ""), "connect: refused"),
        (Result(127, "", "iperf3 is not installed"), "is not installed"),
        (Result(124, "", "no answer from 'iperf3' within 30 s"), "within 30 s"),
        (Result(0, json.dumps({"end": {}}), ""), "{"),
        (Result(0, "[]", ""), "[]"),
        (Result(9, "", ""), "ended with 9"),
    ],
)
def test_what_went_wrong_is_told(answer: Result, words: str) -> None:
    found = ask(answer)
    assert "mbit" not in found
    assert words in found["problem"]
    assert "error" not in found["problem"]
