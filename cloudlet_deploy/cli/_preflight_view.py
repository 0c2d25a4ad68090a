"""How a preflight looks: a table per host, each failure with its remedy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cloudlet_deploy.cli import _findings_view, render
from cloudlet_deploy.cli._plan_view import number
from cloudlet_deploy.run.findings import Level
from cloudlet_deploy.run.preflight import HostPreflight, Preflight


def show(preflight: Preflight, *, everything: bool = False) -> None:
    """A table for each host that has faults, a line for each other; the worst come first.

    ``everything`` shows the checks that are fine too.
    """
    for host in sorted(preflight.hosts, key=lambda one: -one.level.rank):
        faults = [finding for finding in host.findings if finding.status is not Level.OK]
        fine = len(host.findings) - len(faults)
        told = f"{number(fine, 'check')} fine" if fine and not everything else ""
        _findings_view.host(host.host, host.level, told)
        _findings_view.rows(host.findings if everything else faults)
    for line in _totals(preflight):
        render.lines(line)


def _totals(preflight: Preflight) -> Iterator[str]:
    if not preflight.hosts:
        yield "No host was looked at."
    for level, words in (
        (Level.UNREACHABLE, "not reached"),
        (Level.FAILED, "cannot be deployed to"),
        (Level.WARNING, "with warnings"),
        (Level.OK, "ready"),
    ):
        hosts = [host for host in preflight.hosts if host.level is level]
        if hosts:
            yield f"{number(len(hosts), 'host')} {words}"


def as_data(preflight: Preflight) -> list[dict[str, Any]]:
    """The hosts in the form of docs/reference/json.md."""
    return [_host_data(host) for host in preflight.hosts]


def _host_data(host: HostPreflight) -> dict[str, Any]:
    return {
        "host": host.host,
        "status": host.level,
        "checks": [vars(finding) for finding in host.findings],
    }
