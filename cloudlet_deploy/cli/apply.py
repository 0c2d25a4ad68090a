"""``apply``: make the hosts as the site says, after showing what that means."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from cloudlet_deploy.cli.options import (
    AnsibleOptions,
    ansible_options,
    break_lock_option,
    component_option,
    diff_option,
    output_option,
    yes_option,
)
from cloudlet_deploy.errors import ExitCode, UsageError, strongest

if TYPE_CHECKING:
    from cloudlet_deploy.cli._flow import Prepared
    from cloudlet_deploy.cli._plan_view import Detail
    from cloudlet_deploy.run.outcome import RunOutcome
    from cloudlet_deploy.run.record import Journal
    from cloudlet_deploy.run.resume import Rest


@click.command("apply")
@ansible_options
@component_option
@yes_option
@click.option("--resume", is_flag=True, help="Only what the last apply left undone.")
@break_lock_option
@click.option(
    "--allow-hdfs-upgrade",
    is_flag=True,
    help="Let another version of Hadoop open the file system; there may be no way back.",
)
@click.option(
    "--no-preflight", is_flag=True, help="Change hosts whatever a preflight would find there."
)
@diff_option
@output_option
def command(
    *,
    options: AnsibleOptions,
    components: tuple[str, ...],
    yes: bool,
    resume: bool,
    break_lock: bool,
    allow_hdfs_upgrade: bool,
    no_preflight: bool,
    diff: bool,
    output: str,
) -> ExitCode:
    """Make the hosts as the site says.

    Validates the site, looks at the hosts, shows what would change, asks, changes it and
    keeps a record. Hosts that cannot be reached, or fail a check of 'preflight', are left
    alone and do not stop the others. While it changes hosts no other run may.
    What was interrupted is finished by doing it again; --resume leaves out the hosts that
    came to their end.

    \b
    Examples:
      cloudlet-deploy apply -i mysite
      cloudlet-deploy apply -i mysite --limit door.example.org --ask-become-pass
      cloudlet-deploy apply -i mysite --component gridftp --yes --output json
      cloudlet-deploy apply -i mysite --resume
    """
    from cloudlet_deploy.cli import _flow, _plan_view  # --help needs none of it

    detail = _plan_view.Detail.of(diff=diff, verbosity=options.verbosity)
    if allow_hdfs_upgrade:
        leave = '{"hdfs_allow_upgrade": true}'
        options = replace(options, extra_vars=(*options.extra_vars, leave))
    rest = _rest(options, components) if resume else None
    if rest:
        options, components = replace(options, limit=rest.limit), rest.components
        if not rest.hosts:
            return _nothing_left(rest, options, output)
    prepared = _flow.prepare(options, components)
    if rest:
        prepared = prepared.only(_still_there(rest, prepared))
        if output == "table":
            _show_rest(rest, prepared)
    with prepared.journal("apply") as journal:
        how = _How(
            detail, yes=yes, break_lock=break_lock, preflight=not no_preflight, output=output
        )
        return _apply(prepared, journal, how, rest)


@dataclass(frozen=True)
class _How:
    """How the user wants it done and shown."""

    detail: Detail
    yes: bool
    break_lock: bool
    preflight: bool
    output: str


def _apply(prepared: Prepared, journal: Journal, how: _How, rest: Rest | None) -> ExitCode:
    from cloudlet_deploy.cli import _flow, _plan_view, render, view

    predicted = _flow.run(prepared, prepared.plan.predicting(), journal)
    if how.preflight:
        predicted = _without_unfit(prepared, predicted, journal)
    pending = predicted.changed(predicted.good)
    if how.output == "table":
        view.notices(predicted)
        _plan_view.show_all(pending, how.detail)
        view.failures(predicted, prepared.user_of, planning=True)
    made: RunOutcome | None = None
    if pending:
        _ask(_plan_view.count(pending), yes=how.yes)
        made = _make(prepared, predicted.good, journal, how)
    code = strongest([predicted.exit_code, made.exit_code if made else ExitCode.DONE])
    # A host that failed in the plan has no other result.
    journal.finish(code, made.including(predicted) if made else predicted)
    if how.output == "json":
        data: dict[str, Any] = {
            "site": prepared.site.path,
            "run": journal.record.run_id,
            "resumed": _resumed(rest) if rest else None,
            "plan": view.as_data(predicted, prepared.user_of),
            "result": view.as_data(made, prepared.user_of) if made else None,
        }
        render.document("apply", code, data)
    elif made:
        view.summary(made, journal.record.run_id)
        view.failures(made, prepared.user_of)
    else:
        view.nothing(predicted)
    return code


def _without_unfit(prepared: Prepared, predicted: RunOutcome, journal: Journal) -> RunOutcome:
    """``predicted`` with the hosts as stopped that would be changed and cannot bear it."""
    from cloudlet_deploy.cli import render
    from cloudlet_deploy.cli.preflight import preflight_of
    from cloudlet_deploy.run.findings import Level

    hosts = dict.fromkeys(part.host for part in predicted.changed(predicted.good))
    if not hosts:
        return predicted
    found = preflight_of(prepared, tuple(hosts))
    for host in found.hosts:
        for finding in host.findings:
            if finding.status is Level.WARNING:
                render.note(f"warning: {host.host}: {finding.detail}")
    for failure in found.refusals:
        journal.failure(failure)
    return replace(predicted, failures=(*predicted.failures, *found.refusals))


def _make(prepared: Prepared, hosts: tuple[str, ...], journal: Journal, how: _How) -> RunOutcome:
    """Change ``hosts`` under their lease; what it came to, with those that were lost before."""
    from cloudlet_deploy.cli import _flow

    with _flow.leased(prepared, hosts, journal, break_lock=how.break_lock) as held:
        if not held.hosts:
            return held.lost
        made = _flow.run(prepared, prepared.plan.only(held.hosts), journal)
        return made.including(held.lost)


def _rest(options: AnsibleOptions, components: tuple[str, ...]) -> Rest:
    from cloudlet_deploy.cli import _flow
    from cloudlet_deploy.run.resume import rest

    sources = [_flow.absolute(path) for path in options.inventory]
    return rest(sources, _flow.recordable(options, components))


def _still_there(rest: Rest, prepared: Prepared) -> tuple[str, ...]:
    """The hosts of ``rest`` that the inventory still has. Raises UsageError if it has none."""
    there = tuple(host for host in rest.hosts if host in prepared.site.targets)
    for host in rest.hosts:
        if host not in there:
            click.echo(f"warning: {host} is no longer in the inventory: left out", err=True)
    if not there:
        raise UsageError(
            f"None of the hosts that run {rest.record.run_id} left undone is in the inventory.",
            next_step="Run it without --resume.",
        )
    return there


def _show_rest(rest: Rest, prepared: Prepared) -> None:
    from cloudlet_deploy.cli import render

    of = len(rest.record.hosts)
    left = f"{len(rest.hosts)} of {of} host{'' if of == 1 else 's'}"
    render.lines(f"Run {rest.record.run_id} left {left} undone:", "bold")
    for host in prepared.plan.hosts or ():
        render.lines(f"  {host}: {rest.hosts[host]}")


def _nothing_left(rest: Rest, options: AnsibleOptions, output: str) -> ExitCode:
    from cloudlet_deploy.cli import render

    if output == "json":
        site = ", ".join(str(path) for path in options.inventory)
        data = {"site": site, "run": None, "resumed": _resumed(rest), "plan": None, "result": None}
        render.document("apply", ExitCode.DONE, data)
    else:
        options_then = f" (--limit {rest.limit})" if rest.limit else ""
        render.lines(f"Run {rest.record.run_id}{options_then} left nothing undone.")
    return ExitCode.DONE


def _resumed(rest: Rest) -> dict[str, Any]:
    return {"run": rest.record.run_id, "hosts": dict(rest.hosts)}


def _ask(what: str, *, yes: bool) -> None:
    """Go on only if the user wants it."""
    if yes:
        return
    from cloudlet_deploy.cli import _asking

    step = "Look at what 'cloudlet-deploy plan' shows, then repeat this with --yes."
    _asking.ask(what, "Apply?", done="changed", next_step=step)
