"""Whether hosts can be deployed to: findings per host, from what the modules report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from cloudlet_deploy.errors import ExitCode, strongest
from cloudlet_deploy.run.looking import Looked
from cloudlet_deploy.run.reasons import explain


class Verdict(StrEnum):
    """How one check, or a host as a whole, came out. The strongest comes last."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    UNREACHABLE = "unreachable"

    @property
    def rank(self) -> int:
        """Position in the order of strength."""
        return list(Verdict).index(self)


@dataclass(frozen=True)
class Finding:
    """One check on one host; ``component`` is empty where no single role wants it."""

    check: str
    status: Verdict
    detail: str
    next_step: str = ""
    component: str = ""


@dataclass(frozen=True)
class HostPreflight:
    """All findings of one host."""

    host: str
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> Verdict:
        """The strongest of its findings."""
        statuses = (finding.status for finding in self.findings)
        return max(statuses, key=lambda status: status.rank, default=Verdict.OK)


@dataclass(frozen=True)
class Preflight:
    """What a preflight found, in the order of the inventory."""

    hosts: tuple[HostPreflight, ...]

    @property
    def exit_code(self) -> ExitCode:
        """3 if a host was not reached, 5 if a check failed on one."""
        codes = {
            Verdict.UNREACHABLE: ExitCode.UNREACHABLE,
            Verdict.FAILED: ExitCode.CHECK_FAILED,
        }
        return strongest(codes.get(host.verdict, ExitCode.DONE) for host in self.hosts)

    @property
    def bad(self) -> tuple[HostPreflight, ...]:
        """Hosts on which something failed, or that were not reached."""
        return tuple(h for h in self.hosts if h.verdict.rank >= Verdict.FAILED.rank)


def judged(hosts: Iterable[str], looked: Looked, users: Mapping[str, str | None]) -> Preflight:
    """The findings of each of ``hosts``; ``users`` are their login users, as far as known."""
    found = []
    for host in hosts:
        if host in looked.reports:
            findings = _reported(looked.reports[host])
        elif host in looked.failures:
            findings = (_refusal(looked, host, users.get(host)),)
        else:
            continue  # no role is for it
        found.append(HostPreflight(host, findings))
    return Preflight(tuple(found))


def _reported(report: Mapping[str, Any]) -> tuple[Finding, ...]:
    told = report.get("findings") or ()
    findings = [
        Finding(
            str(entry["check"]),
            Verdict(entry["status"]),
            str(entry["detail"]),
            str(entry.get("next_step") or ""),
            str(entry.get("component") or ""),
        )
        for entry in told
    ]
    # It has answered, or there would be no report.
    return (Finding("reach", Verdict.OK, "answers"), *findings)


def _refusal(looked: Looked, host: str, user: str | None) -> Finding:
    failure = looked.failures[host]
    reason = explain(failure, user)
    status = Verdict.UNREACHABLE if looked.unreachable(host) else Verdict.FAILED
    check = "reach" if status is Verdict.UNREACHABLE else "system"
    words = reason.message.partition(": ")[2] or reason.message
    return Finding(check, status, words, reason.next_step)
