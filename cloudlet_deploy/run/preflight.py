"""Whether hosts can be deployed to: findings per host, from what the modules report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cloudlet_deploy.errors import ExitCode, strongest
from cloudlet_deploy.run.events import Status
from cloudlet_deploy.run.findings import Finding, Level, refusal, worst
from cloudlet_deploy.run.looking import Looked
from cloudlet_deploy.run.outcome import Failure


@dataclass(frozen=True)
class HostPreflight:
    """All findings of one host."""

    host: str
    findings: tuple[Finding, ...]

    @property
    def level(self) -> Level:
        """The strongest of its findings."""
        return worst(self.findings)


@dataclass(frozen=True)
class Preflight:
    """What a preflight found, in the order of the inventory."""

    hosts: tuple[HostPreflight, ...]

    @property
    def exit_code(self) -> ExitCode:
        """3 if a host was not reached, 5 if a check failed on one."""
        return strongest(host.level.exit_code for host in self.hosts)

    @property
    def bad(self) -> tuple[HostPreflight, ...]:
        """Hosts on which something failed, or that were not reached."""
        return tuple(h for h in self.hosts if h.level.rank >= Level.FAILED.rank)

    @property
    def refusals(self) -> tuple[Failure, ...]:
        """What keeps the ``bad`` hosts from being changed, as an apply tells it."""
        return tuple(
            _as_failure(host.host, finding)
            for host in self.bad
            for finding in host.findings
            if finding.status.rank >= Level.FAILED.rank
        )


def _as_failure(host: str, finding: Finding) -> Failure:
    unreachable = finding.status is Level.UNREACHABLE
    return Failure(
        host=host,
        component="preflight",
        task=finding.check,
        status=Status.UNREACHABLE if unreachable else Status.FAILED,
        message=finding.detail,
        next_step=finding.next_step,
        unfit=not unreachable,
    )


def judged(hosts: Iterable[str], looked: Looked, users: Mapping[str, str | None]) -> Preflight:
    """The findings of each of ``hosts``; ``users`` are their login users, as far as known."""
    found = []
    for host in hosts:
        if host in looked.reports:
            found.append(HostPreflight(host, _reported(looked.reports[host])))
        elif host in looked.failures:
            found.append(HostPreflight(host, (refusal(looked, host, users.get(host)),)))
        # Else no role is for it.
    return Preflight(tuple(found))


def _reported(report: Mapping[str, Any]) -> tuple[Finding, ...]:
    findings = (
        Finding(
            str(entry["check"]),
            Level(entry["status"]),
            str(entry["detail"]),
            str(entry.get("next_step") or ""),
            str(entry.get("component") or ""),
        )
        for entry in report.get("findings") or ()
    )
    # It has answered, or there would be no report.
    return (Finding("reach", Level.OK, "answers"), *findings)
