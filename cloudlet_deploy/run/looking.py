"""Playbooks that only look: what their modules report, host by host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from cloudlet_deploy import content
from cloudlet_deploy.run.events import Event, Status, TaskEnded
from cloudlet_deploy.run.outcome import Failure, RunOutcome
from cloudlet_deploy.run.plan import RunPlan


@dataclass(frozen=True)
class Looked:
    """What was seen. A host has a report, or a failure that says why it has none."""

    reports: Mapping[str, Mapping[str, Any]]
    failures: Mapping[str, Failure]

    def unreachable(self, host: str) -> bool:
        """Whether the host could not be asked at all."""
        failure = self.failures.get(host)
        return failure is not None and failure.status is Status.UNREACHABLE


class Reports:
    """Collects the reports among a run's events."""

    def __init__(self) -> None:
        self._found: dict[str, Mapping[str, Any]] = {}

    def add(self, event: Event) -> None:
        """Take one event into account."""
        if isinstance(event, TaskEnded) and event.report is not None:
            self._found[event.host] = event.report

    def of(self, outcome: RunOutcome) -> Looked:
        """The reports, with the failures of the hosts that have none."""
        failures: dict[str, Failure] = {}
        for failure in outcome.failures:
            if failure.host not in self._found:
                failures.setdefault(failure.host, failure)
        return Looked(self._found, failures)


def plan_of(plan: RunPlan, playbook: str) -> RunPlan:
    """``plan`` with the playbook that looks instead; its modules change nothing."""
    return replace(plan, playbook=content.playbook(playbook), check=False, diff=False)
