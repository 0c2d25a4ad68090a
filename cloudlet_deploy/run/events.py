"""What Ansible tells, in the words of the domain.

``translate`` is pure: one event of ansible-runner in, at most one event of ours out.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """How a task, or all tasks of a component, ended on a host. The strongest comes last."""

    SKIPPED = "skipped"
    OK = "ok"
    IGNORED = "ignored"  #: failed, and the role goes on by intention
    RESCUED = "rescued"  #: failed, and the role mended it
    CHANGED = "changed"
    FAILED = "failed"
    UNREACHABLE = "unreachable"

    @property
    def rank(self) -> int:
        """Position in the order of strength."""
        return list(Status).index(self)

    @property
    def bad(self) -> bool:
        """Whether the host stopped there."""
        return self in (Status.FAILED, Status.UNREACHABLE)


@dataclass(frozen=True)
class Change:
    """One thing that differs, or was made to: see "What modules tell" in the architecture."""

    kind: str
    name: str
    action: str
    detail: str = ""


@dataclass(frozen=True)
class Diff:
    """A unified diff; ``path`` is the file it is of, or whatever the module named."""

    path: str
    text: str


@dataclass(frozen=True)
class TaskStarted:
    """A task begins on one host."""

    host: str
    component: str
    task: str


@dataclass(frozen=True)
class TaskEnded:
    """A task ended on one host, all items of its loop included. ``seconds`` is its time.

    ``next_step`` is what the module itself says is to be done about its failure, ``report``
    what a module that only looks has found, as plain data, ``warnings`` what it warns of.
    """

    host: str
    component: str
    task: str
    status: Status
    changes: tuple[Change, ...] = ()
    diffs: tuple[Diff, ...] = ()
    message: str = ""
    seconds: float = 0.0
    next_step: str = ""
    report: Mapping[str, Any] | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Notice:
    """A warning or error of Ansible itself, of no host."""

    severity: str
    message: str


@dataclass(frozen=True)
class Totals:
    """Ansible's last word. Its presence says that the playbook came to its end."""

    failed: frozenset[str]
    unreachable: frozenset[str]


Event = TaskStarted | TaskEnded | Notice | Totals

_STATUS = {
    "runner_on_ok": Status.OK,
    "runner_on_failed": Status.FAILED,
    "runner_on_unreachable": Status.UNREACHABLE,
    "runner_on_skipped": Status.SKIPPED,
}
_NOTICES = frozenset({"warning", "system_warning", "error"})

HIDDEN = "the role hides the result of this task (no_log), since it holds secrets"


def translate(raw: Mapping[str, Any]) -> Event | None:
    """Our event for one of ansible-runner's, or None for what tells nothing."""
    kind = raw.get("event", "")
    data: Mapping[str, Any] = raw.get("event_data") or {}
    if kind in ("runner_on_start", "runner_on_ok") and _is_argument_check(data):
        return None
    if kind == "runner_on_start":
        return TaskStarted(str(data.get("host", "")), _component(data), str(data.get("task", "")))
    if kind in _STATUS:
        return _ended(_STATUS[kind], data)
    if kind in _NOTICES:
        text = str(raw.get("stdout", "")).strip()
        return Notice("warning" if "warning" in kind else "error", text) if text else None
    if kind == "playbook_on_stats":
        return Totals(frozenset(data.get("failures") or ()), frozenset(data.get("dark") or ()))
    return None


def _is_argument_check(data: Mapping[str, Any]) -> bool:
    """Whether it is Ansible's own first task of a role, which runs even if tags exclude it."""
    return str(data.get("task_action", "")).endswith("validate_argument_spec")


def redacted(event: Event, redact: Callable[[str], str]) -> Event:
    """The same event with ``redact`` applied to all text that came from a host."""
    if isinstance(event, Notice):
        return replace(event, message=redact(event.message))
    if not isinstance(event, TaskEnded):
        return event
    return replace(
        event,
        message=redact(event.message),
        next_step=redact(event.next_step),
        changes=tuple(
            Change(c.kind, redact(c.name), c.action, redact(c.detail)) for c in event.changes
        ),
        diffs=tuple(Diff(redact(d.path), redact(d.text)) for d in event.diffs),
        report=_redacted_data(event.report, redact),
        warnings=tuple(map(redact, event.warnings)),
    )


def _redacted_data(data: Any, redact: Callable[[str], str]) -> Any:
    if isinstance(data, str):
        return redact(data)
    if isinstance(data, Mapping):
        return {redact(str(key)): _redacted_data(value, redact) for key, value in data.items()}
    return [_redacted_data(part, redact) for part in data] if isinstance(data, list) else data


def _component(data: Mapping[str, Any]) -> str:
    """The role's name without its collection; tasks outside roles belong to no component."""
    return str(data.get("role") or "").rpartition(".")[2]


def _ended(status: Status, data: Mapping[str, Any]) -> TaskEnded:
    result: Mapping[str, Any] = data.get("res") or {}
    if status is Status.FAILED and data.get("ignore_errors"):
        status = Status.IGNORED
    if status is Status.OK and result.get("changed"):
        status = Status.CHANGED
    task = str(data.get("task", ""))
    return TaskEnded(
        host=str(data.get("host", "")),
        component=_component(data),
        task=task,
        status=status,
        changes=tuple(_changes(result, task)),
        diffs=tuple(_diffs(result)),
        message=_message(result) if status.bad or status is Status.IGNORED else "",
        seconds=float(data.get("duration") or 0.0),
        next_step=str(result.get("next_step") or "") if status.bad else "",
        report=report if isinstance(report := result.get("report"), dict) else None,
        warnings=tuple(str(w) for part in _parts(result) for w in part.get("warnings") or ()),
    )


def _parts(result: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The result itself, or those of a loop's items."""
    items = result.get("results")
    if isinstance(items, list) and items and all(isinstance(item, dict) for item in items):
        yield from items
    else:
        yield result


def _changes(result: Mapping[str, Any], task: str) -> Iterator[Change]:
    """What the module listed; a changed task that lists nothing is itself the change."""
    listed: list[Change] = []
    silent = False
    for part in _parts(result):
        changes = part.get("changes")
        if isinstance(changes, list) and all(isinstance(c, dict) for c in changes):
            listed += [
                Change(
                    *(str(change.get(key) or "") for key in ("kind", "name", "action", "detail"))
                )
                for change in changes
            ]
        elif part.get("changed"):
            silent = True
    yield from listed
    if silent:
        yield Change("task", task, "change")


def _message(result: Mapping[str, Any]) -> str:
    """Ansible's own reason; of a loop, those of the items that failed."""
    reasons = []
    for part in _parts(result):
        if part is not result and not (part.get("failed") or part.get("unreachable")):
            continue
        reason = HIDDEN if "censored" in part else str(part.get("msg") or "").strip()
        for key in ("stderr", "module_stderr", "module_stdout"):
            text = str(part.get(key) or "").strip()
            if text and text not in reason:
                reason = f"{reason}\n{_tail(text)}".strip()
        if reason and reason not in reasons:
            reasons.append(reason)
    return "\n".join(reasons) or str(result.get("msg") or "the task gave no reason")


def _tail(text: str, lines: int = 12) -> str:
    return "\n".join(text.splitlines()[-lines:])


def _diffs(result: Mapping[str, Any]) -> Iterator[Diff]:
    for part in _parts(result):
        given = part.get("diff") or []
        for entry in given if isinstance(given, list) else [given]:
            if isinstance(entry, dict) and (diff := _unified(entry)).text:
                yield diff


def _unified(entry: Mapping[str, Any]) -> Diff:
    before, after = (_text(entry.get(key)) for key in ("before", "after"))
    old, new = (str(entry.get(key) or "") for key in ("before_header", "after_header"))
    path = new or old
    if entry.get("prepared"):
        return Diff(path, str(entry["prepared"]))
    lines = list(
        difflib.unified_diff(
            before.splitlines(), after.splitlines(), old or "before", new or "after", lineterm=""
        )
    )
    if lines and before and after and before.endswith("\n") != after.endswith("\n"):
        lines.append(r"\ No newline at end of file")
    return Diff(path, "\n".join(lines))


def _text(value: object) -> str:
    """One side of a diff: text, or a mapping of attributes."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, indent=1, sort_keys=True, default=str) + "\n"
