"""``destroy``: the hosts as they were before the first apply."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cloudlet_deploy.cli.options import (
    AnsibleOptions,
    ansible_options,
    break_lock_option,
    diff_option,
    output_option,
)
from cloudlet_deploy.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from cloudlet_deploy.cli._flow import Prepared

#: Variable by which a site may declare its name.
_NAME = "cloudlet_site_name"


@click.command("destroy")
@ansible_options
@click.option("--confirm", "typed", metavar="NAME", help="The site's name, instead of a question.")
@click.option("--keep-packages", is_flag=True, help="Remove no package.")
@click.option(
    "--purge-data", is_flag=True, help="Remove logs and stored files too, which stay otherwise."
)
@click.option("--check", is_flag=True, help="Only show what would be undone.")
@break_lock_option
@diff_option
@output_option
def command(
    *,
    options: AnsibleOptions,
    typed: str | None,
    keep_packages: bool,
    purge_data: bool,
    check: bool,
    break_lock: bool,
    diff: bool,
    output: str,
) -> ExitCode:
    """Undo everything that was done to the hosts.

    Services, files, packages and accounts get back what was there before the first apply, as
    it was recorded on each host; what was there before stays. Shows what that means, and
    wants the name of the site typed: the name of its directory, or the value of
    cloudlet_site_name. A destroy that was interrupted is finished by the next one.

    Logs and stored files stay, unless --purge-data: then those go that are in directories
    which were made for them.

    \b
    Examples:
      cloudlet-deploy destroy -i mysite --check
      cloudlet-deploy destroy -i mysite
      cloudlet-deploy destroy -i mysite --confirm mysite --keep-packages
      cloudlet-deploy destroy -i mysite --limit data2.example.org --purge-data
    """
    from cloudlet_deploy.cli import _plan_view, _undoing, render  # --help needs none of it

    prepared = _undoing.prepare(
        options, "destroy", keep_packages=keep_packages, purge_data=purge_data
    )
    names = _names(prepared)
    if typed is not None:
        _compare(typed, names)
    detail = _plan_view.Detail.of(diff=diff, verbosity=options.verbosity)
    how = _undoing.How(detail, check=check, break_lock=break_lock, output=output)
    plan = _undoing.with_variables(
        prepared.plan, destroy_keep_packages=keep_packages, destroy_purge_data=purge_data
    )
    with prepared.journal("destroy") as journal:
        done = _undoing.carry_out(
            *(prepared, plan, journal, how, lambda what: _ask(what, typed, names)),
            before=_undoing.lost(()),
        )
        journal.finish(done.code, done.whole)
    if output == "json":
        site = {"site": prepared.site.path, "run": journal.record.run_id}
        data: dict[str, Any] = {**site, **done.data(prepared)}
        render.document("destroy", done.code, data)
    else:
        _undoing.show(done, prepared, journal.record.run_id, how)
    return done.code


def _names(prepared: Prepared) -> tuple[str, ...]:
    """What the site may be called."""
    first = prepared.plan.inventory[0]
    path = Path(first).expanduser()
    own = [path.absolute().name] if path.is_dir() else [path.absolute().parent.name, path.name]
    declared = (
        prepared.site.hosts[host].values.get(_NAME)
        for host in prepared.site.targets
        if host in prepared.site.hosts
    )
    told = [str(value.value) for value in declared if value and isinstance(value.value, str)]
    return tuple(dict.fromkeys(name for name in (*told, *own) if name))


def _compare(typed: str, names: tuple[str, ...]) -> None:
    if typed.strip() not in names:
        raise UsageError(
            f"{typed!r} is not the name of this site; nothing was changed.",
            next_step=f"It is called {' or '.join(names)}.",
        )


def _ask(what: str, typed: str | None, names: tuple[str, ...]) -> None:
    """Go on only if the name of the site was typed."""
    if typed is not None:
        return
    from cloudlet_deploy.cli import _asking

    answer = _asking.ask_for_name(
        what,
        f"This undoes the site {names[0]}. Type its name to go on",
        next_step=f"Look at what --check shows, then repeat this with --confirm {names[0]}.",
    )
    _compare(answer, names)
