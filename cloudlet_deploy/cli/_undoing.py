"""What ``rollback`` and ``destroy`` share: a run that needs no valid site, asked for and made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from cloudlet_deploy import content, site
from cloudlet_deploy.cli import _asking, _flow, _plan_view, render, view
from cloudlet_deploy.cli._site import vault_of
from cloudlet_deploy.errors import ExitCode, strongest
from cloudlet_deploy.run.outcome import ComponentOutcome, Failure, RunOutcome
from cloudlet_deploy.site import components as site_components

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cloudlet_deploy.cli._flow import Prepared
    from cloudlet_deploy.cli.options import AnsibleOptions
    from cloudlet_deploy.run.plan import RunPlan
    from cloudlet_deploy.run.record import Journal

#: Says yes to a count of changes, or raises UsageError.
Consent = Callable[[str], None]


@dataclass(frozen=True)
class How:
    """How the user wants it done and shown."""

    detail: _plan_view.Detail
    check: bool
    break_lock: bool
    output: str

    @property
    def table(self) -> bool:
        """Whether people read the result."""
        return self.output == "table"


def prepare(options: AnsibleOptions, playbook: str, **more: Any) -> Prepared:
    """A run of ``playbook`` on the hosts that may have something of ours.

    The site need not be valid: what there is to undo stands on the hosts. These are the
    hosts of our groups; with ``--limit`` exactly those that it names. ``more`` are further
    options for the record.
    """
    vault = vault_of(options)
    loaded = site.load(
        options.inventory, limit=options.limit, extra_vars=options.extra_vars, vault=vault
    )
    hosts = loaded.targets
    if not options.limit:
        ours = tuple(name for name in hosts if site_components.of_host(loaded.hosts[name]))
        others = [name for name in hosts if name not in ours]
        if ours and others:
            _aside(
                f"Not looked at, since they have no role: {', '.join(others)}. If one of them "
                "had, name it with --limit."
            )
        hosts = ours or hosts
    prepared = _flow.prepared(options, loaded, vault, content.playbook(playbook))
    told = {key: value for key, value in more.items() if value}
    return replace(prepared.only(hosts), options={**prepared.options, **told})


def _aside(words: str) -> None:
    """A remark that is no result, folded, on standard error."""
    for line in render.folded(words, render.console(stderr=True).width):
        click.echo(line, err=True)


def lost(failures: Iterable[Failure]) -> RunOutcome:
    """An outcome of the hosts that could not be looked at."""
    listed = tuple(failures)
    return RunOutcome(
        components=tuple(ComponentOutcome(f.host, f.component, f.status) for f in listed),
        failures=listed,
        complete=True,
    )


@dataclass(frozen=True)
class Done:
    """What a run came to: its plan, and what was made of it (None: nothing was)."""

    predicted: RunOutcome
    made: RunOutcome | None
    code: ExitCode

    @property
    def whole(self) -> RunOutcome:
        """What the record keeps."""
        return self.made.including(self.predicted) if self.made else self.predicted

    def data(self, prepared: Prepared) -> dict[str, Any]:
        """The keys ``plan`` and ``result`` of the JSON document."""
        return {
            "plan": view.as_data(self.predicted, prepared.user_of),
            "result": view.as_data(self.made, prepared.user_of) if self.made else None,
        }


def carry_out(
    prepared: Prepared,
    plan: RunPlan,
    journal: Journal,
    how: How,
    consent: Consent,
    *,
    before: RunOutcome,
    together: bool = False,
) -> Done:
    """Show what ``plan`` would do, ask, and do it under the lease.

    ``before``: hosts that were lost already. ``together``: one host that fails in the plan
    keeps all from being changed.
    """
    predicted = _flow.run(prepared, plan.predicting(), journal).including(before)
    pending = predicted.changed(predicted.good)
    if how.table:
        view.notices(predicted)
        _plan_view.show_all(pending, how.detail)
        view.failures(predicted, prepared.user_of, planning=not together)
    refused = together and any(f.status.value == "failed" for f in predicted.failures)
    if refused and how.table:
        click.echo("Nothing was changed on any host.", err=True)
    if how.check or refused or not pending:
        code = ExitCode.PENDING if how.check and pending else ExitCode.DONE
        return Done(predicted, None, strongest([predicted.exit_code, code]))
    consent(_plan_view.count(pending))
    hosts = tuple(dict.fromkeys(part.host for part in pending))
    with _flow.leased(prepared, hosts, journal, break_lock=how.break_lock) as held:
        made = held.lost
        if held.hosts:
            made = _flow.run(prepared, plan.only(held.hosts), journal).including(held.lost)
    return Done(predicted, made, strongest([predicted.exit_code, made.exit_code]))


def show(done: Done, prepared: Prepared, run_id: str, how: How) -> None:
    """The end of the table form: what was made, or that there was nothing to do."""
    if done.made:
        told = set(done.predicted.notices)
        view.notices(
            replace(done.made, notices=tuple(n for n in done.made.notices if n not in told))
        )
        view.summary(done.made, run_id)
        view.failures(done.made, prepared.user_of)
    elif not done.predicted.changed(done.predicted.good):
        view.nothing(done.predicted)
    elif how.check:
        pending = done.predicted.changed(done.predicted.good)
        click.echo(_plan_view.count(pending))


def with_variables(plan: RunPlan, **variables: Any) -> RunPlan:
    """``plan`` with variables of our own playbooks."""
    return replace(plan, variables={**plan.variables, **variables})


def ask(what: str, *, yes: bool) -> None:
    """Go on only if the user wants it. ``what`` is a sentence without its end."""
    if yes:
        return
    step = "Look at what --check shows, then repeat this with --yes."
    _asking.ask(what, "Go on?", done="changed", next_step=step)
