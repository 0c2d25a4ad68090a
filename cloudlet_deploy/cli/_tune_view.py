"""How advice and verdicts look: a table for each host, read on 80 columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from cloudlet_deploy.cli import render
from cloudlet_deploy.cli._plan_view import number
from cloudlet_deploy.tuning import Advice, Setting
from cloudlet_deploy.tuning.verdict import State, Verdict

if TYPE_CHECKING:
    from rich.table import Table

_STYLES = {
    State.EFFECTIVE: "green",
    State.NOT_EFFECTIVE: "bold red",
    State.NOT_APPLIED: "yellow",
    State.NOT_SEEN: "yellow",
}


def advice(one: Advice, differing: frozenset[str], *, everything: bool) -> None:
    """What a host should have: the settings that differ, or ``everything``."""
    _host(one.host, f"for {number(one.carried, 'client')}")
    if one.carried < one.asked:
        render.lines(f"  {one.asked} were asked for. {one.limit}", "bold yellow")
    shown = [s for s in one.settings if everything or s.variable in differing or s.objection]
    if shown:
        table = _table("setting", "now", "recommended", "why")
        for setting in shown:
            style = "bold" if setting.variable in differing else ""
            table.add_row(
                render.text(setting.variable, style),
                render.text(_shown(setting.now)),
                render.text(_recommended(setting)),
                render.text(" ".join(_why(setting))),
            )
        render.trimmed(table)
    rest = len(one.settings) - len(shown)
    if rest:
        render.lines(f"  {number(rest, 'other setting')} as recommended; -v shows them.")
    for warning in one.warnings:
        render.lines(f"  warning: {warning}", "yellow")


def verdicts(host: str, found: Sequence[Verdict], *, everything: bool) -> None:
    """What a host was to have, what its files say, and what is in force."""
    good = [one for one in found if one.state is State.EFFECTIVE]
    _host(host, f"{len(good)} of {number(len(found), 'setting')} effective")
    shown = [one for one in found if everything or one.state is not State.EFFECTIVE]
    titles = ("setting", "wanted", "configured", "effective", "verdict")
    rows = [_verdict_row(one) for one in shown]
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    out = render.console()
    if shown:
        out.print(render.text(_aligned(titles, widths), "bold"), soft_wrap=True)
    for one, row in zip(shown, rows, strict=True):
        line = render.text(_aligned(row, widths))
        line.stylize(_STYLES[one.state], line.plain.rindex(row[-1]))
        out.print(line, soft_wrap=True)
        # A column of its own would leave it no room.
        used = "" if one.in_use is None else f"{one.in_use} in use"
        told = "; ".join(filter(None, (one.cause, used)))
        for words in render.folded(told, out.width - 4) if told else ():
            out.print(render.text(f"    {words}"), soft_wrap=True)


def _verdict_row(one: Verdict) -> tuple[str, ...]:
    values = map(_shown, (one.wanted, one.configured, one.effective))
    return one.variable, *values, str(one.state)


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return " ".join(map(str.ljust, cells, widths)).rstrip()


def explanation(host: str, setting: Setting) -> None:
    """Everything that is known of one setting of one host."""
    _host(host, setting.variable)
    unit = f" {setting.unit}" if setting.unit else ""
    given = ", ".join(f"{name} = {_shown(value)}" for name, value in setting.inputs.items())
    rows = (
        ("what", setting.title),
        ("now", _shown(setting.now)),
        ("recommended", f"{_shown(setting.recommended)}{unit}"),
        ("pinned", f"{_shown(setting.pin.value)}, in {setting.pin.where}" if setting.pin else ""),
        ("but", setting.objection),
        ("why", setting.reason),
        ("formula", setting.formula),
        ("put in", given),
        ("source", setting.source),
        ("applied", setting.applied),
        ("verified", setting.verified),
        ("cannot be set", "" if setting.settable else setting.cause),
    )
    for title, words in rows:
        if words:
            indent = " " * 15
            first, *rest = render.folded(words, max(render.console().width - len(indent), 20))
            line = render.text(f"  {title:<13}{first}")
            line.stylize("cyan", 2, 2 + len(title))
            render.console().print(line, soft_wrap=True)
            for more in rest:
                render.console().print(render.text(indent + more), soft_wrap=True)


def advice_data(
    advices: Iterable[Advice], differing: dict[str, frozenset[str]]
) -> list[dict[str, Any]]:
    """The hosts in the form of docs/reference/json.md."""
    return [
        {
            "host": one.host,
            "asked": one.asked,
            "carried": one.carried,
            "binding": one.binding or None,
            "limit": one.limit or None,
            "warnings": list(one.warnings),
            "settings": [
                {
                    **{key: value for key, value in vars(s).items() if key != "pin"},
                    "inputs": dict(s.inputs),
                    "pinned": vars(s.pin) if s.pin else None,
                    "wanted": s.wanted,
                    "differs": s.variable in differing.get(one.host, frozenset()),
                }
                for s in one.settings
            ],
        }
        for one in advices
    ]


def verdict_data(found: dict[str, tuple[Verdict, ...]]) -> list[dict[str, Any]]:
    """The hosts in the form of docs/reference/json.md."""
    return [
        {"host": host, "settings": [{**vars(one), "state": str(one.state)} for one in verdicts]}
        for host, verdicts in found.items()
    ]


def _host(name: str, told: str) -> None:
    line = render.text(f"{name}  {told}")
    line.stylize("bold", 0, len(name))
    render.console().print(line, soft_wrap=True)


def _table(*titles: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for title in titles:
        table.add_column(title, overflow="fold", no_wrap=title in ("setting",))
    return table


def _recommended(setting: Setting) -> str:
    told = _shown(setting.recommended)
    return told if setting.pin is None else f"{told} (pinned: {_shown(setting.pin.value)})"


def _why(setting: Setting) -> Iterable[str]:
    yield setting.reason
    if setting.pin is not None:
        yield f"Pinned in {setting.pin.where}."
    if setting.objection:
        yield setting.objection
    if not setting.settable:
        yield f"Cannot be set here: {setting.cause}."


def _shown(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
