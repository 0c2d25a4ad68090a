"""``plan``: what ``apply`` would change."""

from __future__ import annotations

import click

from cloudlet_deploy.cli.options import (
    AnsibleOptions,
    ansible_options,
    component_option,
    diff_option,
    output_option,
)
from cloudlet_deploy.errors import ExitCode, strongest


@click.command("plan")
@ansible_options
@component_option
@diff_option
@output_option
def command(
    options: AnsibleOptions, components: tuple[str, ...], diff: bool, output: str
) -> ExitCode:
    """Show what apply would change, with diffs, and change nothing.

    Of new and removed files only the names are shown; --diff adds their contents. Secret
    files are never shown; -v adds their digests. Exits with 2 when something would change,
    with 0 when the hosts are as the site says.

    \b
    Examples:
      cloudlet-deploy plan -i mysite
      cloudlet-deploy plan -i mysite --limit door.example.org --diff
      cloudlet-deploy plan -i mysite --component gridftp --output json
    """
    # --help needs none of it.
    from cloudlet_deploy.cli import _flow, _plan_view, render, view

    prepared = _flow.prepare(options, components)
    with prepared.journal("plan") as journal:
        predicted = _flow.run(prepared, prepared.plan.predicting(), journal)
        pending = predicted.changed(predicted.good)
        codes = [predicted.exit_code, ExitCode.PENDING if pending else ExitCode.DONE]
        code = strongest(codes)
        journal.finish(code, predicted)
    if output == "json":
        data = {"run": journal.record.run_id, "plan": view.as_data(predicted, prepared.user_of)}
        render.document("plan", code, {"site": prepared.site.path, **data})
        return code
    view.notices(predicted)
    _plan_view.show_all(pending, _plan_view.Detail.of(diff=diff, verbosity=options.verbosity))
    view.failures(predicted, prepared.user_of)
    if pending:
        click.echo(_plan_view.count(pending))
    else:
        view.nothing(predicted)
    return code
