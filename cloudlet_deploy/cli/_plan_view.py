"""How a plan looks: hosts, components, one row per change, and diffs below their rows."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from cloudlet_deploy.cli import render
from cloudlet_deploy.run.events import Change, Diff
from cloudlet_deploy.run.outcome import ComponentOutcome

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

#: Tasks outside every role, such as gathering facts.
NO_COMPONENT = "(play)"

#: Lines of one diff that are shown unless all are asked for.
_DIFF_LINES = 40
_DIFF_STYLES = {"+": "green", "-": "red", "@": "cyan"}
_ROW, _DIFF = 4, 6
#: From so many on, files of one directory with which the same happens share a row.
_TOGETHER = 4

_ATTRIBUTES = re.compile(r" \((file|directory) attributes\)$")
_SECRET = re.compile(r"^[+-]\(secret\) sha256", re.MULTILINE)
_ABSENT = " (absent)"
#: What is shown of these only if asked for: their whole content would be the diff.
_WHOLE = ("create", "remove")


@dataclass(frozen=True)
class Detail:
    """How much to show: ``contents`` of new and removed files, and ``digests`` of secrets."""

    contents: bool = False
    digests: bool = False

    @classmethod
    def of(cls, *, diff: bool, verbosity: int) -> Self:
        """What ``--diff`` and ``-v`` ask for."""
        return cls(contents=diff or verbosity > 0, digests=verbosity > 0)


def show(parts: Iterable[ComponentOutcome], detail: Detail | None = None) -> None:
    """Show changes per host and component; each host once, in the order given."""
    detail = detail or Detail()
    listed = list(parts)
    out = render.console()
    widths = column_widths([change for part in listed for change in part.changes])
    for host, components in _by_host(listed).items():
        _line(out, render.text(host, "bold"))
        for part in components:
            _line(out, render.text(f"  {part.component or NO_COMPONENT}", "bold cyan"))
            _component(out, part, widths, detail)
    if listed:
        out.print()


def rows(changes: Iterable[Change], indent: int, widths: Sequence[int]) -> None:
    """Show changes alone, without their diffs, ``indent`` columns from the left."""
    for change in changes:
        _row(render.console(), change, widths, indent)


def column_widths(changes: Sequence[Change]) -> list[int]:
    """Room for the action and the kind of all ``changes``, gaps included."""
    return [
        max(map(len, column), default=0) + 2
        for column in ([c.action for c in changes], [c.kind for c in changes])
    ]


def show_all(parts: Iterable[ComponentOutcome], detail: Detail) -> None:
    """Show a plan and its closing lines."""
    listed = list(parts)
    show(listed, detail)
    for line in totals(listed, detail):
        render.lines(line)


def totals(parts: Iterable[ComponentOutcome], detail: Detail) -> Iterator[str]:
    """The closing lines: what each host would get, and which contents were not shown."""
    listed = list(parts)
    for host, components in _by_host(listed).items():
        yield f"{host}: {_sum([c for part in components for c in part.changes])}"
    if detail.contents:
        return
    hidden = Counter(
        change.action
        for part in listed
        for change in part.changes
        if change.action in _WHOLE
        and any(not _is_secret(diff) for diff in _diffs_of(part).get(change.name, ()))
    )
    words = {"create": "new", "remove": "removed"}
    told = [number(hidden[a], f"{word} file") for a, word in words.items() if hidden[a]]
    if told:
        yield f"Contents of {' and '.join(told)}: add --diff."
    rows_of = [_rows_of(part, detail)[0] for part in listed]
    if any(len(list(_summed(every))) < len(every) for every in rows_of):
        yield "Names of files that share a row: add --diff."


def count(parts: Iterable[ComponentOutcome]) -> str:
    """How much would change, in words."""
    listed = list(parts)
    changes, hosts = sum(len(p.changes) for p in listed), len({p.host for p in listed})
    return f"{number(changes, 'change')} on {number(hosts, 'host')}"


def number(quantity: int, noun: str) -> str:
    """``1 file``, ``2 files``."""
    return f"{quantity} {noun}" if quantity == 1 else f"{quantity} {noun}s"


def _by_host(parts: Iterable[ComponentOutcome]) -> dict[str, list[ComponentOutcome]]:
    hosts: dict[str, list[ComponentOutcome]] = {}
    for part in parts:
        hosts.setdefault(part.host, []).append(part)
    return hosts


def _sum(changes: Sequence[Change]) -> str:
    """``28 to create, 1 to install; units: 1 to restart``; the numbers add up to all changes."""
    units = [c for c in changes if c.kind == "unit"]
    rest = [c for c in changes if c.kind != "unit"]
    told = [_verbs(rest)] if rest else []
    if units:
        told.append(f"units: {_verbs(units)}")
    return "; ".join(told)


def _verbs(changes: Iterable[Change]) -> str:
    same = {"attributes": "to change", "not-validated": "not validated"}
    counted = Counter(same.get(change.action, f"to {change.action}") for change in changes)
    return ", ".join(f"{times} {verb}" for verb, times in counted.items())


def _component(out: Console, part: ComponentOutcome, widths: Sequence[int], detail: Detail) -> None:
    every, rest = _rows_of(part, detail)
    for change, own in every if detail.contents else _summed(every):
        _row(out, change, widths)
        for diff in own:
            _diff(out, _without_header(diff), detail)
    for diff in rest:
        _diff(out, diff.text.splitlines(), detail)


#: One change as it is shown, and the diffs below it.
_Row = tuple[Change, list[Diff]]


def _rows_of(part: ComponentOutcome, detail: Detail) -> tuple[list[_Row], list[Diff]]:
    """A row for each change, and the diffs that belong to none."""
    diffs = _diffs_of(part)
    every: list[_Row] = []
    for change in part.changes:
        # Each diff is shown once, below the first row of its name.
        own = diffs.pop(change.name, [])
        secret = any(map(_is_secret, own))
        shown = (detail.contents or change.action not in _WHOLE) and (detail.digests or not secret)
        every.append((_with_secret(change) if secret else change, own if shown else []))
    return every, [diff for rest in diffs.values() for diff in rest]


def _summed(every: Iterable[_Row]) -> Iterator[_Row]:
    """The rows, where one stands for many files of a directory with which the same happens."""

    def alike(row: _Row) -> tuple[object, ...]:
        change, own = row
        if change.kind != "file" or own or "(secret)" in change.detail:
            return (change, *map(id, own))
        return (change.action, change.detail, change.name.rpartition("/")[0])

    for _, same in itertools.groupby(every, alike):
        group = list(same)
        if len(group) < _TOGETHER:
            yield from group
            continue
        first = group[0][0]
        parent = first.name.rpartition("/")[0]
        yield replace(first, name=f"{parent}/ ({len(group)} files)"), []


def _diffs_of(part: ComponentOutcome) -> dict[str, list[Diff]]:
    """Diffs by path, without those of attributes, which the rows tell."""
    names = {change.name for change in part.changes}
    found: dict[str, list[Diff]] = {}
    for diff in part.diffs:
        path = diff.path.removesuffix(_ABSENT)
        if _ATTRIBUTES.sub("", path) not in names or not _ATTRIBUTES.search(path):
            found.setdefault(path, []).append(diff)
    return found


def _without_header(diff: Diff) -> list[str]:
    """The lines of a diff below a row that names its file."""
    lines = diff.text.splitlines()
    return lines[2:] if lines[0].startswith("--- ") else lines


def _is_secret(diff: Diff) -> bool:
    return bool(_SECRET.search(diff.text))


def _with_secret(change: Change) -> Change:
    """The row of a secret file says so, since its diff is not shown."""
    words = change.detail.split(", ") if change.detail else []
    if "content" in words:
        words[words.index("content")] = "(secret) changed"
    else:
        words.append("(secret)")
    return replace(change, detail=", ".join(words))


def _row(out: Console, change: Change, widths: Sequence[int], indent: int = _ROW) -> None:
    """Action, kind, name and detail; what does not fit goes on below the name."""
    start = indent + sum(widths)
    room = max(out.width - start, 20)
    names = list(render.folded(change.name, room))
    line = render.text(" " * indent)
    line.append(change.action.ljust(widths[0]), "yellow")
    line.append(change.kind.ljust(widths[1]))
    line.append(names[0])
    for more in names[1:]:
        _line(out, line)
        line = render.text(" " * start + more)
    if change.detail and len(names[-1]) + 2 + len(change.detail) <= room:
        line.append(f"  {change.detail}", "dim")
        _line(out, line)
        return
    _line(out, line)
    for more in render.folded(change.detail, room) if change.detail else ():
        _line(out, render.text(" " * start + more, "dim"))


def _diff(out: Console, lines: Sequence[str], detail: Detail) -> None:
    whole = detail.contents or len(lines) <= _DIFF_LINES
    shown = lines if whole else lines[: _DIFF_LINES - 1]
    room = max(out.width - _DIFF, 20)
    for line in shown:
        style = _DIFF_STYLES.get(line[:1], "")
        text = line.expandtabs(8).rstrip()
        for at in range(0, max(len(text), 1), room):
            _line(out, render.text(" " * _DIFF + text[at : at + room], style))
    if len(shown) < len(lines):
        more = f"... {len(lines) - len(shown)} more lines: add --diff"
        _line(out, render.text(" " * _DIFF + more, "dim"))


def _line(out: Console, text: Text) -> None:
    """One line as it is: Rich would fold it anywhere and fill it with spaces."""
    text.rstrip()
    out.print(text, soft_wrap=True)
