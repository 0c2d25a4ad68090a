"""How a preflight looks: a table per host, each failure with its remedy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cloudlet_deploy.cli import render
from cloudlet_deploy.cli._plan_view import number
from cloudlet_deploy.run.preflight import Finding, HostPreflight, Preflight, Verdict

_STYLES = {
    Verdict.OK: "green",
    Verdict.WARNING: "yellow",
    Verdict.FAILED: "bold red",
    Verdict.UNREACHABLE: "bold red",
}


def show(preflight: Preflight, *, everything: bool = False) -> None:
    """A table for each host that has faults, a line for each other; the worst come first.

    ``everything`` shows the tables of all hosts, and the checks that are fine.
    """
    for host in sorted(preflight.hosts, key=lambda one: -one.verdict.rank):
        shown = [f for f in host.findings if everything or f.status is not Verdict.OK]
        fine = len(host.findings) - sum(f.status is not Verdict.OK for f in host.findings)
        told = f"  {number(fine, 'check')} fine" if fine and not everything else ""
        line = render.text(host.host, "bold")
        line.append(f"  {host.verdict}", _STYLES[host.verdict])
        line.append(told, "dim")
        render.console().print(line, soft_wrap=True)
        for finding in shown:
            _row(finding)
    for line_ in _totals(preflight):
        render.lines(line_)


def _row(finding: Finding) -> None:
    """Check and verdict, then what was found and what to do, folded beside them."""
    indent = 2 + 14 + 9
    room = max(render.console().width - indent, 20)
    said = finding.detail if not finding.component else f"{finding.detail} [{finding.component}]"
    first, *rest = render.folded(said, room)
    line = render.text(f"  {finding.check:<14}")
    line.append(f"{finding.status:<9}" if len(finding.status) < 9 else f"{finding.status} ")
    line.stylize(_STYLES[finding.status], 16, 16 + len(finding.status))
    if len(finding.status) >= 9:
        render.console().print(line, soft_wrap=True)
        line = render.text(" " * indent)
    line.append(first)
    render.console().print(line, soft_wrap=True)
    for more in rest:
        render.console().print(render.text(" " * indent + more), soft_wrap=True)
    if finding.next_step:
        for more in render.folded(f"next: {finding.next_step}", room):
            render.console().print(render.text(" " * indent + more, "dim"), soft_wrap=True)


def _totals(preflight: Preflight) -> Iterator[str]:
    if not preflight.hosts:
        yield "No host was looked at."
        return
    for verdict, words in (
        (Verdict.UNREACHABLE, "not reached"),
        (Verdict.FAILED, "cannot be deployed to"),
        (Verdict.WARNING, "with warnings"),
        (Verdict.OK, "ready"),
    ):
        hosts = [host for host in preflight.hosts if host.verdict is verdict]
        if hosts:
            yield f"{number(len(hosts), 'host')} {words}"


def as_data(preflight: Preflight) -> list[dict[str, Any]]:
    """The hosts in the form of docs/reference/json.md."""
    return [_host_data(host) for host in preflight.hosts]


def _host_data(host: HostPreflight) -> dict[str, Any]:
    return {
        "host": host.host,
        "status": host.verdict,
        "checks": [vars(finding) for finding in host.findings],
    }
