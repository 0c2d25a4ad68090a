"""Runs a playbook that only looks, under the eyes of the user and without a record."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cloudlet_deploy.cli import view
from cloudlet_deploy.errors import InterruptedRunError
from cloudlet_deploy.run.events import TaskEnded, TaskStarted
from cloudlet_deploy.run.launch import launch
from cloudlet_deploy.run.looking import Looked, Reports, plan_of

if TYPE_CHECKING:
    from cloudlet_deploy.cli._flow import Prepared
    from cloudlet_deploy.run.events import Event


def look(prepared: Prepared, playbook: str, hosts: tuple[str, ...] | None = None) -> Looked:
    """What ``playbook`` reports of ``hosts`` (default: those of the plan).

    Raises InterruptedRunError after a signal; nothing was changed then, as ever.
    """
    plan = plan_of(prepared.plan, playbook)
    reports = Reports()

    def observe(event: Event) -> None:
        reports.add(event)
        # What looks at a host in the end belongs to no role: the user knows it by the command.
        if isinstance(event, TaskStarted | TaskEnded) and not event.component:
            event = replace(event, component=playbook)
        progress.show(event)

    with view.progress(changing=False) as progress:
        outcome = launch(
            plan.only(hosts) if hosts else plan, prepared.secrets, observe, prepared.redact
        )
    view.notices(outcome)
    if outcome.interrupted:
        raise InterruptedRunError(
            "Interrupted; Ansible was stopped.", next_step="Nothing was changed."
        )
    return reports.of(outcome)


def sources(prepared: Prepared) -> tuple[str, ...]:
    """The inventory as run records keep it, so that those of the same site can be told."""
    from cloudlet_deploy.cli._flow import absolute

    return tuple(absolute(path) for path in prepared.plan.inventory)
