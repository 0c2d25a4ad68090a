"""``apply``: make the hosts as the site says, after showing what that means."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from cloudlet_deploy.cli.options import (
    AnsibleOptions,
    ansible_options,
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


@click.command("apply")
@ansible_options
@component_option
@yes_option
@diff_option
@output_option
def command(
    options: AnsibleOptions, components: tuple[str, ...], yes: bool, diff: bool, output: str
) -> ExitCode:
    """Make the hosts as the site says.

    Validates the site, shows what would change, asks, changes it and keeps a record. Hosts
    that cannot be reached do not stop the others. What was interrupted is finished by
    doing it again.

    \b
    Examples:
      cloudlet-deploy apply -i mysite
      cloudlet-deploy apply -i mysite --limit door.example.org --ask-become-pass
      cloudlet-deploy apply -i mysite --component gridftp --yes --output json
    """
    from cloudlet_deploy.cli import _flow, _plan_view  # --help needs none of it

    detail = _plan_view.Detail.of(diff=diff, verbosity=options.verbosity)
    prepared = _flow.prepare(options, components)
    with prepared.journal("apply") as journal:
        return _apply(prepared, journal, detail, yes=yes, output=output)


def _apply(
    prepared: Prepared, journal: Journal, detail: Detail, *, yes: bool, output: str
) -> ExitCode:
    from cloudlet_deploy.cli import _flow, _plan_view, render, view

    predicted = _flow.run(prepared, prepared.plan.predicting(), journal)
    pending = predicted.changed(predicted.good)
    if output == "table":
        view.notices(predicted)
        _plan_view.show_all(pending, detail)
        view.failures(predicted, prepared.user_of, planning=True)
    made: RunOutcome | None = None
    if pending:
        _ask(_plan_view.count(pending), yes=yes)
        journal.phase("change")
        made = _flow.run(prepared, prepared.plan.only(predicted.good), journal)
    code = strongest([predicted.exit_code, made.exit_code if made else ExitCode.DONE])
    # A host that failed in the plan has no other result.
    journal.finish(code, made.including(predicted) if made else predicted)
    if output == "json":
        data: dict[str, Any] = {
            "site": prepared.site.path,
            "run": journal.record.run_id,
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


def _ask(what: str, *, yes: bool) -> None:
    """Go on only if the user wants it."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            f"{what}, and there is no terminal to ask on; nothing was changed.",
            next_step="Look at what 'cloudlet-deploy plan' shows, then repeat this with --yes.",
        )
    if not click.confirm(f"{what}. Apply?", default=False, err=True):
        raise UsageError("Declined; nothing was changed.")
