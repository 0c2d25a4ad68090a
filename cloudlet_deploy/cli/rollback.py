"""``rollback``: earlier configuration back in place."""

from __future__ import annotations

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
from cloudlet_deploy.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from cloudlet_deploy.cli._flow import Prepared
    from cloudlet_deploy.cli._undoing import How
    from cloudlet_deploy.run.generations import Choice
    from cloudlet_deploy.run.looking import Looked
    from cloudlet_deploy.run.record import Journal


@click.command("rollback")
@ansible_options
@component_option
@click.option(
    "--to",
    "number",
    type=click.IntRange(min=0),
    metavar="GENERATION",
    help="This generation of one --component.",
)
@click.option("--list", "listing", is_flag=True, help="Only show the generations that there are.")
@click.option("--check", is_flag=True, help="Only show what would change.")
@yes_option
@break_lock_option
@diff_option
@output_option
def command(
    *,
    options: AnsibleOptions,
    components: tuple[str, ...],
    number: int | None,
    listing: bool,
    check: bool,
    yes: bool,
    break_lock: bool,
    diff: bool,
    output: str,
) -> ExitCode:
    """Bring back the configuration of before the last run.

    Files, directories, owners and modes come back as new generations, and the services that
    read them restart. A second rollback goes back one run more; --to goes to any generation
    that is kept, also forward again. Packages and accounts are not rolled back. The site
    need not be valid for this, and is not changed: the next apply does what it says.

    \b
    Examples:
      cloudlet-deploy rollback -i mysite --list
      cloudlet-deploy rollback -i mysite
      cloudlet-deploy rollback -i mysite --limit door.example.org --check
      cloudlet-deploy rollback -i mysite --component bestman --to 3
    """
    _refuse_options(components, number)
    from cloudlet_deploy.cli import _plan_view, _undoing  # --help needs none of it
    from cloudlet_deploy.cli._looking import look

    prepared = _undoing.prepare(options, "rollback", components=list(components), to=number)
    if listing:
        return _list(prepared, look(prepared, "generations"), components, output)
    detail = _plan_view.Detail.of(diff=diff, verbosity=options.verbosity)
    how = _undoing.How(detail, check=check, break_lock=break_lock, output=output)
    with prepared.journal("rollback") as journal:
        looked = look(prepared, "generations")
        choice = _choose(looked, components, number)
        return _roll_back(prepared, journal, choice, looked, how, yes=yes)


def _refuse_options(components: tuple[str, ...], number: int | None) -> None:
    if number is None:
        return
    if len(components) != 1:
        raise UsageError(
            "--to needs exactly one --component: each numbers its generations itself.",
            next_step="'cloudlet-deploy rollback --list' shows components and generations.",
        )
    if number == 0:
        raise UsageError(
            "Generation 0 is what was there before the component.",
            next_step="'cloudlet-deploy destroy' brings the hosts back to that.",
        )


def _choose(looked: Looked, components: tuple[str, ...], number: int | None) -> Choice:
    from cloudlet_deploy.run import generations

    found = generations.histories(looked.reports, components)
    return generations.undo_last(found) if number is None else generations.go_to(found, number)


def _roll_back(
    prepared: Prepared, journal: Journal, choice: Choice, looked: Looked, how: How, *, yes: bool
) -> ExitCode:
    from cloudlet_deploy.cli import _undoing, render

    before = _undoing.lost(looked.failures.values())
    if how.table:
        _introduce(choice, looked)
    if choice.hosts:
        plan = _undoing.with_variables(
            prepared.plan.only(choice.hosts),
            rollback_generations=choice.targets(),
            rollback_undoes=choice.undoes or "",
        )
        done = _undoing.carry_out(
            *(prepared, plan, journal, how, lambda what: _undoing.ask(what, yes=yes)),
            before=before,
            together=True,
        )
    else:
        done = _undoing.Done(before, None, before.exit_code)
    journal.finish(done.code, done.whole)
    if not how.table:
        data: dict[str, Any] = {
            "site": prepared.site.path,
            "run": journal.record.run_id,
            "undoes": choice.undoes,
            "sets": [vars(step) for step in choice.steps],
            "stays": [{"host": one.host, "name": one.name} for one in choice.stays],
            **done.data(prepared),
        }
        render.document("rollback", done.code, data)
        return done.code
    _undoing.show(done, prepared, journal.record.run_id, how)
    if done.made:
        render.lines("The next apply does what the site says: change the site too.")
    return done.code


def _introduce(choice: Choice, looked: Looked) -> None:
    """Say what is undone, and of which hosts and sets nothing is."""
    from cloudlet_deploy.cli import render

    if choice.continues:
        render.lines("A rollback did not come to its end; this one finishes it.", "bold")
    if choice.undoes and choice.steps:
        render.lines(f"Undoes run {choice.undoes}. Packages and accounts stay.", "bold")
    for one in choice.stays:
        render.lines(
            f"{one} stays: it is in its first generation. To undo that, 'cloudlet-deploy "
            f"destroy --limit {one.host}'."
        )
    for host in looked.reports:
        if host not in choice.hosts:
            render.lines(f"{host}: nothing to roll back.")


def _list(prepared: Prepared, looked: Looked, components: tuple[str, ...], output: str) -> ExitCode:
    from cloudlet_deploy.cli import _generations_view, _undoing, render, view
    from cloudlet_deploy.run import generations

    found = generations.histories(looked.reports, components)
    before = _undoing.lost(looked.failures.values())
    if output == "json":
        data = {
            "site": prepared.site.path,
            "hosts": _generations_view.as_data(looked.reports, found),
            "failures": view.as_data(before, prepared.user_of)["hosts"],
        }
        render.document("rollback", before.exit_code, data)
        return before.exit_code
    _generations_view.show(looked.reports, found)
    view.failures(before, prepared.user_of)
    return before.exit_code
