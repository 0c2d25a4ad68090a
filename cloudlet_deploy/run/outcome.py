"""What a run came to, per host and component: the sum of its events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from cloudlet_deploy.errors import ExitCode, strongest
from cloudlet_deploy.run.events import (
    Change,
    Diff,
    Event,
    Notice,
    Status,
    TaskEnded,
    TaskStarted,
    Totals,
)


@dataclass(frozen=True)
class Failure:
    """One task that ended a host's run; ``message`` is Ansible's reason.

    ``next_step`` is empty unless the module said what to do. ``locked``: another run holds the
    host. ``unfit``: a check of the preflight did not hold, and nothing was tried.
    """

    host: str
    component: str
    task: str
    status: Status
    message: str
    next_step: str = ""
    locked: bool = False
    unfit: bool = False

    @property
    def exit_code(self) -> ExitCode:
        """What a run exits with in which nothing but this happened."""
        if self.locked:
            return ExitCode.LOCKED
        if self.unfit:
            return ExitCode.CHECK_FAILED
        unreachable = self.status is Status.UNREACHABLE
        return ExitCode.UNREACHABLE if unreachable else ExitCode.TASK_FAILED


@dataclass(frozen=True)
class ComponentOutcome:
    """What one component came to on one host. ``seconds`` is the sum over its tasks."""

    host: str
    component: str
    status: Status
    changes: tuple[Change, ...] = ()
    diffs: tuple[Diff, ...] = ()
    tasks: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class RunOutcome:
    """What a run came to. ``complete`` says that the playbook reached its end."""

    components: tuple[ComponentOutcome, ...] = ()
    failures: tuple[Failure, ...] = ()
    notices: tuple[Notice, ...] = ()
    complete: bool = False
    interrupted: bool = False
    seconds: float = 0.0

    @property
    def hosts(self) -> tuple[str, ...]:
        """Every host that took part, in the order of the inventory."""
        return tuple(dict.fromkeys(part.host for part in self.components))

    @property
    def stopped(self) -> frozenset[str]:
        """Hosts that failed or could not be reached."""
        return frozenset(failure.host for failure in self.failures)

    @property
    def good(self) -> tuple[str, ...]:
        """Hosts that came to the end."""
        return tuple(host for host in self.hosts if host not in self.stopped)

    def changed(self, hosts: Iterable[str]) -> tuple[ComponentOutcome, ...]:
        """The components that have changes on one of ``hosts``."""
        wanted = set(hosts)
        return tuple(
            part
            for part in self.components
            if part.host in wanted and (part.changes or part.status is Status.CHANGED)
        )

    def including(self, plan: RunOutcome) -> RunOutcome:
        """This outcome, and of ``plan`` the hosts that stopped there."""
        return replace(
            self,
            components=(
                *(part for part in plan.components if part.host in plan.stopped),
                *self.components,
            ),
            failures=(*plan.failures, *self.failures),
        )

    @property
    def exit_code(self) -> ExitCode:
        """What the events say; changes that were made or predicted do not count."""
        codes = {failure.exit_code for failure in self.failures}
        if self.interrupted:
            codes.add(ExitCode.INTERRUPTED)
        elif not self.complete:
            codes.add(ExitCode.TASK_FAILED)
        return strongest(codes)


class _Part:
    """One component on one host, while it is counted."""

    def __init__(self) -> None:
        self.ended: list[TaskEnded] = []

    def outcome(self, host: str, component: str, failed: bool) -> ComponentOutcome:
        counts = Counter(
            str(Status.RESCUED if e.status is Status.FAILED and not failed else e.status)
            for e in self.ended
        )
        statuses = [Status(name) for name in counts]
        # A lease is not the site's: what happened to it is told apart.
        changes = dict.fromkeys(c for e in self.ended for c in e.changes if c.kind != "lease")
        status = max(statuses, key=lambda s: s.rank, default=Status.SKIPPED)
        if status is Status.CHANGED and not changes:
            # Changed, and the module listed nothing: say at least which tasks.
            changes = dict.fromkeys(
                Change("task", e.task, "change") for e in self.ended if e.status is Status.CHANGED
            )
        return ComponentOutcome(
            host=host,
            component=component,
            status=status,
            changes=tuple(changes),
            diffs=tuple(d for e in self.ended for d in e.diffs),
            tasks=dict(counts),
            seconds=round(sum(e.seconds for e in self.ended), 3),
        )


class Collector:
    """Sums events up. Its outcome can be asked for at any time."""

    def __init__(self) -> None:
        self._parts: dict[tuple[str, str], _Part] = {}
        self._order: dict[str, int] = {}
        self._notices: list[Notice] = []
        self._totals: Totals | None = None

    def add(self, event: Event) -> None:
        """Take one event into account."""
        if isinstance(event, TaskStarted | TaskEnded):
            # Tasks start in the order of the inventory, and end in any.
            self._order.setdefault(event.host, len(self._order))
        if isinstance(event, TaskEnded):
            self._parts.setdefault((event.host, event.component), _Part()).ended.append(event)
            self._notices += (Notice("warning", f"{event.host}: {w}") for w in event.warnings)
        elif isinstance(event, Notice):
            self._notices.append(event)
        elif isinstance(event, Totals):
            self._totals = event

    @property
    def empty(self) -> bool:
        """Whether no host did anything yet."""
        return not self._parts

    def outcome(self, *, interrupted: bool = False, seconds: float = 0.0) -> RunOutcome:
        """The sum so far, host by host."""
        parts = sorted(self._parts.items(), key=lambda item: self._order[item[0][0]])
        return RunOutcome(
            components=tuple(
                part.outcome(host, component, self._failed(host))
                for (host, component), part in parts
            ),
            failures=tuple(
                Failure(
                    *(host, component, ended.task, ended.status, ended.message, ended.next_step),
                    locked=any(change.kind == "lease" for change in ended.changes),
                )
                for (host, component), part in parts
                for ended in part.ended
                if ended.status.bad and self._failed(host)
            ),
            notices=tuple(self._notices),
            complete=self._totals is not None,
            interrupted=interrupted,
            seconds=round(seconds, 3),
        )

    def _failed(self, host: str) -> bool:
        """Whether a failed task of ``host`` counts: one that was rescued does not.

        Only the totals tell; before them every failure counts.
        """
        return self._totals is None or host in self._totals.failed | self._totals.unreachable
