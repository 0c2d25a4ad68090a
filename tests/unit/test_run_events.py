"""From ansible-runner's events to ours, and their sum."""

from __future__ import annotations

from typing import Any

import pytest

from cloudlet_deploy.errors import ExitCode
from cloudlet_deploy.run.events import (
    HIDDEN,
    Change,
    Notice,
    Status,
    TaskEnded,
    TaskStarted,
    Totals,
    redacted,
    translate,
)
from cloudlet_deploy.run.outcome import Collector, RunOutcome
from cloudlet_deploy.run.secrets import Redactor


def _raw(kind: str, result: dict[str, Any] | None = None, **data: Any) -> dict[str, Any]:
    base = {"host": "door", "role": "cloudlet.deploy.bestman", "task": "Do it", "duration": 1.5}
    return {"event": kind, "event_data": {**base, "res": result, **data}}


def _ended(kind: str, result: dict[str, Any] | None = None, **data: Any) -> TaskEnded:
    event = translate(_raw(kind, result, **data))
    assert isinstance(event, TaskEnded)
    return event


_FILE = {"kind": "file", "name": "/etc/a", "action": "create", "detail": None}


@pytest.mark.parametrize(
    ("kind", "result", "data", "status"),
    [
        ("runner_on_ok", {"changed": False}, {}, Status.OK),
        ("runner_on_ok", {"changed": True}, {}, Status.CHANGED),
        ("runner_on_ok", {}, {}, Status.OK),
        ("runner_on_failed", {"msg": "x"}, {}, Status.FAILED),
        ("runner_on_failed", {"msg": "x"}, {"ignore_errors": True}, Status.IGNORED),
        ("runner_on_unreachable", {"msg": "x"}, {}, Status.UNREACHABLE),
        ("runner_on_skipped", None, {}, Status.SKIPPED),
    ],
)
def test_status(kind: str, result: dict[str, Any], data: dict[str, Any], status: Status) -> None:
    event = _ended(kind, result, **data)
    assert (event.host, event.component, event.task) == ("door", "bestman", "Do it")
    assert (event.status, event.seconds) == (status, 1.5)


def test_what_tells_nothing_is_dropped() -> None:
    assert translate({"event": "playbook_on_task_start", "event_data": {}}) is None
    assert translate({"event": "warning", "stdout": "  "}) is None
    assert translate({}) is None
    action = "ansible.builtin.validate_argument_spec"
    assert translate(_raw("runner_on_ok", {"changed": False}, task_action=action)) is None
    assert translate(_raw("runner_on_start", task_action=action)) is None
    assert translate(_raw("runner_on_failed", {"msg": "x"}, task_action=action)) is not None


def test_other_events() -> None:
    assert translate(_raw("runner_on_start")) == TaskStarted("door", "bestman", "Do it")
    assert translate({"event": "warning", "stdout": "mind\n"}) == Notice("warning", "mind")
    stats = {"failures": {"a": 1}, "dark": {"b": 1}}
    totals = translate({"event": "playbook_on_stats", "event_data": stats})
    assert totals == Totals(frozenset("a"), frozenset("b"))


def test_changes_come_from_the_module_or_else_are_the_task() -> None:
    listed = _ended("runner_on_ok", {"changed": True, "changes": [_FILE]})
    assert listed.changes == (Change("file", "/etc/a", "create"),)
    assert _ended("runner_on_ok", {"changed": True, "changes": []}).changes == ()
    assert _ended("runner_on_ok", {"changed": True}).changes == (Change("task", "Do it", "change"),)
    assert _ended("runner_on_ok", {"changed": False}).changes == ()


def test_loops_are_summed_up() -> None:
    items = [{"changed": True, "changes": [_FILE]}, {"changed": True}, {"changed": False}]
    event = _ended("runner_on_ok", {"changed": True, "results": items})
    assert [change.kind for change in event.changes] == ["file", "task"]
    failed = {
        "msg": "One or more items failed",
        "results": [
            {"msg": "fine"},
            {"failed": True, "msg": "bad"},
            {"failed": True, "msg": "bad"},
        ],
    }
    assert _ended("runner_on_failed", failed).message == "bad"


def test_messages() -> None:
    result = {"msg": "non-zero return code", "stderr": "\n".join(map(str, range(40)))}
    lines = _ended("runner_on_failed", result).message.splitlines()
    assert (lines[0], lines[1], lines[-1]) == ("non-zero return code", "28", "39")
    assert _ended("runner_on_failed", {"censored": "..."}).message == HIDDEN
    assert _ended("runner_on_failed", {}).message


def test_what_a_module_says_is_to_be_done_comes_to_the_failure() -> None:
    event = _ended("runner_on_failed", {"msg": "no", "next_step": "Ask swordfish."})
    assert event.next_step == "Ask swordfish."
    collector = Collector()
    collector.add(redacted(event, lambda text: text.replace("swordfish", "*")))
    (failure,) = collector.outcome().failures
    assert failure.next_step == "Ask *."
    assert _ended("runner_on_ok", {"next_step": "x"}).next_step == ""


def test_diffs() -> None:
    diff = {"before": "a\nb\n", "after": "a\nc\n", "before_header": "/f", "after_header": "/f"}
    (unified,) = _ended("runner_on_ok", {"changed": True, "diff": [diff]}).diffs
    assert unified.path == "/f"
    assert unified.text.splitlines() == ["--- /f", "+++ /f", "@@ -1,2 +1,2 @@", " a", "-b", "+c"]
    attributes = {"before": {"mode": "0644"}, "after": {"mode": "0600"}}
    (unified,) = _ended("runner_on_ok", {"diff": attributes}).diffs
    assert '- "mode": "0644"' in unified.text
    assert '+ "mode": "0600"' in unified.text
    assert _ended("runner_on_ok", {"diff": [{"before": "a", "after": "a"}, {}]}).diffs == ()
    assert _ended("runner_on_ok", {"diff": {"prepared": "text"}}).diffs[0].text == "text"


def test_redaction_reaches_all_text_of_hosts() -> None:
    result = {
        "msg": "is s3cret",
        "changes": [{**_FILE, "name": "/s3cret", "detail": "s3cret"}],
        "diff": {"before": "", "after": "s3cret\n", "after_header": "/s3cret"},
    }
    event = redacted(_ended("runner_on_failed", result), Redactor(["s3cret"]))
    assert "s3cret" not in str(event)
    assert str(event).count("********") == 6
    assert "s3cret" not in str(redacted(Notice("error", "s3cret"), Redactor(["s3cret"])))


def test_redactor_masks_parts_and_leaves_common_words() -> None:
    key = "-----BEGIN KEY-----\nMIIEabc\n-----END KEY-----\n"
    redact = Redactor([{"a": [key, 123456]}, "yes", "", None, True, "longer-secret", "secret"])
    assert redact("yes True MIIEabc 123456 longer-secret!") == (
        "yes True ******** ******** ********!"
    )


def _sum(*raws: dict[str, Any], interrupted: bool = False) -> RunOutcome:
    collector = Collector()
    for raw in raws:
        if (event := translate(raw)) is not None:
            collector.add(event)
    return collector.outcome(interrupted=interrupted)


def _stats(failed: str = "", dark: str = "") -> dict[str, Any]:
    data = {"failures": dict.fromkeys(failed, 1), "dark": dict.fromkeys(dark, 1)}
    return {"event": "playbook_on_stats", "event_data": data}


def test_exit_codes_come_from_events() -> None:
    ok = _raw("runner_on_ok", {"changed": True}, host="a")
    bad = _raw("runner_on_failed", {"msg": "x"}, host="b")
    far = _raw("runner_on_unreachable", {"msg": "x"}, host="c")
    assert _sum(ok, _stats()).exit_code is ExitCode.DONE
    assert _sum(ok, far, _stats(dark="c")).exit_code is ExitCode.UNREACHABLE
    assert _sum(ok, bad, far, _stats("b", "c")).exit_code is ExitCode.TASK_FAILED
    assert _sum(ok, bad, interrupted=True).exit_code is ExitCode.INTERRUPTED
    assert _sum(ok).exit_code is ExitCode.TASK_FAILED  # broken off


def test_hosts_keep_the_order_of_the_inventory() -> None:
    starts = [_raw("runner_on_start", host=host) for host in "abc"]
    ends = [_raw("runner_on_ok", {}, host=host) for host in "cab"]
    assert _sum(*starts, *ends, _stats()).hosts == ("a", "b", "c")


def test_rescued_failure_is_none_unless_the_host_failed() -> None:
    bad = _raw("runner_on_failed", {"msg": "x"}, host="b")
    rescued = _sum(bad, _raw("runner_on_ok", {}, host="b"), _stats())
    assert rescued.failures == ()
    assert [part.status for part in rescued.components] == [Status.RESCUED]
    failed = _sum(bad, _stats("b"))
    assert [f.host for f in failed.failures] == ["b"]
    assert failed.good == ()


def test_component_sums_changes_once_and_never_hides_one() -> None:
    change = _raw("runner_on_ok", {"changed": True, "changes": [_FILE]})
    (part,) = _sum(change, change, _raw("runner_on_skipped"), _stats()).components
    assert part.changes == (Change("file", "/etc/a", "create"),)
    assert (part.status, part.tasks) == (Status.CHANGED, {"changed": 2, "skipped": 1})
    (silent,) = _sum(_raw("runner_on_ok", {"changed": True, "changes": []}), _stats()).components
    assert silent.changes == (Change("task", "Do it", "change"),)


def test_outcome_takes_over_the_hosts_that_stopped_in_the_plan() -> None:
    far = _raw("runner_on_unreachable", {"msg": "x"}, host="c")
    plan = _sum(_raw("runner_on_ok", {}, host="a"), far, _stats(dark="c"))
    whole = _sum(_raw("runner_on_ok", {"changed": True}, host="a"), _stats()).including(plan)
    assert set(whole.hosts) == {"a", "c"}
    assert whole.stopped == {"c"}
    assert plan.good == ("a",)
