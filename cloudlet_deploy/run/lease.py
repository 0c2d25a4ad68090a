"""Holds the hosts of a run, so that no two runs change one host at a time.

The lease lies on the hosts, so it counts between controllers too; a playbook of ours takes it
and gives it back. What it is and who judges it: ``plugins/module_utils/lease.py``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from cloudlet_deploy import content
from cloudlet_deploy.errors import CloudletError, LockedError
from cloudlet_deploy.run.events import Event, Status, TaskEnded
from cloudlet_deploy.run.launch import launch
from cloudlet_deploy.run.outcome import ComponentOutcome, Failure, RunOutcome
from cloudlet_deploy.run.plan import RunPlan
from cloudlet_deploy.run.record import Record
from cloudlet_deploy.run.secrets import Redactor, Secrets

#: Words for what happened to the lease of a host; {} is the holder before.
ACTIONS = {
    "take": "lease taken",
    "take-over": "lease taken over from {}: its process is gone",
    "break": "lease broken that was held by {}",
    "refuse": "lease held by {}",
    "give-back": "lease given back",
    "keep": "lease not given back: {}",
}


@dataclass(frozen=True)
class LeaseEvent:
    """What happened to the lease of one host; ``detail`` names the run that had it before."""

    host: str
    action: str
    detail: str = ""

    def __str__(self) -> str:
        return ACTIONS.get(self.action, self.action).format(self.detail)


@dataclass
class _Answers:
    """What the hosts said when they were asked."""

    events: list[LeaseEvent] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    interrupted: bool = False

    def add(self, event: Event) -> None:
        if not isinstance(event, TaskEnded):
            return
        self.events += [
            LeaseEvent(event.host, change.action, change.detail)
            for change in event.changes
            if change.kind == "lease"
        ]
        # The playbook goes on after failures: there they are "ignored".
        bad = {Status.IGNORED: Status.FAILED}.get(event.status, event.status)
        if bad.bad:
            words = (event.message, event.next_step)
            self.failures.append(Failure(event.host, "", event.task, bad, *words))

    def hosts(self, *actions: str) -> tuple[str, ...]:
        return tuple(event.host for event in self.events if event.action in actions)


@dataclass(frozen=True)
class Taken:
    """What taking the lease came to. ``lost`` has the hosts that failed or were away."""

    hosts: tuple[str, ...]
    events: tuple[LeaseEvent, ...]
    lost: RunOutcome
    interrupted: bool = False

    @property
    def refusal(self) -> LockedError | None:
        """The error that names who holds which hosts, if anybody does."""
        refused = [event for event in self.events if event.action == "refuse"]
        if not refused:
            return None
        listed = "\n".join(f"{event.host} is held by {event.detail}." for event in refused)
        return LockedError(
            f"Another run is at work; nothing was changed.\n{listed}",
            next_step="Wait until it has ended. If it hangs or its machine is gone, repeat this "
            "with --break-lock: it takes the hosts over, and the other run then stops.",
        )


class Lease:
    """The lease of one run on its hosts."""

    def __init__(self, plan: RunPlan, secrets: Secrets, redact: Redactor, record: Record) -> None:
        #: Whether a signal ended what was asked last.
        self.interrupted = False
        self._plan = replace(plan, limit=None, components=())
        self._secrets = secrets
        self._redact = redact
        self._claim = {
            "run": record.run_id,
            "command": record.command,
            "user": record.user,
            "controller": record.controller,
            "since": record.started,
            "pid": os.getpid(),
        }

    def take(self, hosts: Sequence[str], *, break_lock: bool) -> Taken:
        """Ask for all ``hosts``: first for the first by name, then for the others.

        Raises what ``launch`` raises; then it is not known which of them were taken.
        """
        said = self._ask(hosts, "present", break_lock, None)
        held = said.hosts("take", "take-over", "break")
        lost = RunOutcome(
            components=tuple(ComponentOutcome(f.host, "", f.status) for f in said.failures),
            failures=tuple(said.failures),
            complete=True,
        )
        ordered = tuple(host for host in hosts if host in held)
        return Taken(ordered, tuple(said.events), lost, said.interrupted)

    def give_back(self, hosts: Sequence[str], *, seconds: float) -> tuple[LeaseEvent, ...]:
        """Give the lease back, where it is ours, in ``seconds`` at most. Never raises."""
        try:
            said = self._ask(hosts, "absent", False, seconds)
        except CloudletError as error:
            return tuple(LeaseEvent(host, "keep", error.message) for host in hosts)
        kept = {failure.host: failure.message for failure in said.failures}
        if said.interrupted:
            back = said.hosts("give-back")
            kept |= {host: "interrupted" for host in hosts if host not in back}
        return (*said.events, *(LeaseEvent(host, "keep", why) for host, why in kept.items()))

    def _ask(
        self, hosts: Sequence[str], state: str, break_lock: bool, seconds: float | None
    ) -> _Answers:
        claim = {**self._claim, "state": state, "break_lock": break_lock}
        plan = replace(
            self._plan.only(tuple(hosts)),
            playbook=content.playbook("lease"),
            check=False,
            diff=False,
            run_id=None,
            deadline=seconds,
            variables={"cloudlet_lease": claim},
        )
        answers = _Answers()
        outcome = launch(plan, self._secrets, answers.add, self._redact)
        answers.interrupted = self.interrupted = outcome.interrupted
        return answers
