"""``plan``: what ``apply`` would change."""

from __future__ import annotations

import click

from cloudlet_deploy.cli.options import (
    AnsibleOptions,
    ansible_options,
    component_option,
    output_option,
)
from cloudlet_deploy.errors import ExitCode, strongest


@click.command("plan")
@ansible_options
@component_option
@output_option
def command(options: AnsibleOptions, components: tuple[str, ...], output: str) -> ExitCode:
    """Show what apply would change, with diffs, and change nothing.

    Exits with 2 when something would change, with 0 when the hosts are as the site says.
    """
    from cloudlet_deploy.cli import _flow, render, view  # noqa: PLC0415 - --help needs none of it

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
    view.plan(pending, whole=options.verbosity > 0)
    view.failures(predicted, prepared.user_of)
    if pending:
        click.echo(view.count(pending))
    else:
        view.nothing(predicted)
    return code
