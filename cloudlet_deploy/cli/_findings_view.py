"""How findings look: a line per host, and a row per check with its remedy below it."""

from __future__ import annotations

from collections.abc import Iterable

from cloudlet_deploy.cli import render
from cloudlet_deploy.run.findings import Finding, Level

STYLES = {
    Level.OK: "green",
    Level.WARNING: "yellow",
    Level.DRIFT: "yellow",
    Level.FAILED: "bold red",
    Level.UNREACHABLE: "bold red",
}

_CHECK, _LEVEL = 14, 9


def host(name: str, level: Level, told: str = "") -> None:
    """The line that begins a host."""
    out = render.console()
    first, *rest = render.folded(f"{name}  {level}  {told}".rstrip(), out.width)
    line = render.text(first)
    line.stylize("bold", 0, len(name))
    line.stylize(STYLES[level], len(name) + 2, len(name) + 2 + len(level))
    out.print(line, soft_wrap=True)
    for more in rest:
        out.print(render.text(f"  {more}"), soft_wrap=True)


def rows(findings: Iterable[Finding]) -> None:
    """Check and level, then what was found and what to do, folded beside them.

    What mends drift is always the same and not said in each row.
    """
    indent = 2 + _CHECK + _LEVEL
    room = max(render.console().width - indent, 20)
    out = render.console()
    for finding in findings:
        said = finding.detail
        if finding.component and finding.status is not Level.OK:
            said = f"{said} ({finding.component})"
        first, *rest = render.folded(said, room)
        level = "" if finding.status is Level.UNREACHABLE else finding.status
        line = render.text(f"  {finding.check:<{_CHECK}}{level:<{_LEVEL}}{first}")
        line.stylize(STYLES[finding.status], 2 + _CHECK, 2 + _CHECK + len(level))
        out.print(line, soft_wrap=True)
        for more in rest:
            out.print(render.text(" " * indent + more), soft_wrap=True)
        if finding.next_step and finding.status is not Level.DRIFT:
            for more in render.folded(f"next: {finding.next_step}", room):
                out.print(render.text(" " * indent + more, "dim"), soft_wrap=True)
