"""``validate``: every fault of a site at once, without touching a host."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cloudlet_deploy.cli.options import AnsibleOptions, output_option, site_options
from cloudlet_deploy.errors import ExitCode

if TYPE_CHECKING:
    from cloudlet_deploy.site import Site
    from cloudlet_deploy.site.validation import Fault, Unchecked

_WIDTH = 80
_HOSTS_SHOWN = 8


@click.command("validate")
@site_options
@output_option
def command(options: AnsibleOptions, output: str) -> ExitCode:
    """Check a site offline and show all its faults at once.

    Variables and values, ports, memory, groups, the gridmap, certificates and keys on this
    machine, and secrets in plain text: each fault comes with file, line and what to do.
    Vaulted values without their password ("opaque"), and values that only a host or a run
    can tell ("deferred"), are named and not checked. Exits with 4 if there is an error;
    warnings do not change the exit code.

    \b
    Examples:
      cloudlet-deploy validate -i mysite
      cloudlet-deploy validate -i mysite --vault-password-file ~/.vault-password
      cloudlet-deploy validate -i mysite --limit door.example.org --output json
    """
    from cloudlet_deploy.cli._site import load_site  # --help needs none of it
    from cloudlet_deploy.site import Site, components, validation
    from cloudlet_deploy.site.syntax import UnreadableSiteError

    try:
        site = load_site(options)
        faults, unchecked = validation.validate(site), validation.unchecked(site)
    except UnreadableSiteError as error:
        site = Site(", ".join(map(str, options.inventory)), {}, {}, ())
        faults, unchecked = list(error.faults), []
    errors = [fault for fault in faults if fault.severity is validation.Severity.ERROR]
    code = ExitCode.INVALID if errors else ExitCode.DONE
    targets = [site.hosts[name] for name in site.targets]
    parts = sorted({role for host in targets for role in components.of_host(host)})
    if output == "json":
        _as_json(site, faults, unchecked, parts, code)
        return code
    for fault in faults:
        click.echo(_as_text(fault))
    if unchecked:
        click.echo("Not checked:")
    for one in unchecked:
        click.echo(_as_line(one))
    warnings = len(faults) - len(errors)
    if errors:
        also = f" and {_count(warnings, 'warning')}" if warnings else ""
        click.echo(f"invalid: {_count(len(errors), 'error')}{also} in {site.path}")
    else:
        click.echo(f"valid: {_count(len(targets), 'host')}, {_count(len(parts), 'component')}")
    return code


def _as_json(
    site: Site,
    faults: list[Fault],
    unchecked: list[Unchecked],
    parts: list[str],
    code: ExitCode,
) -> None:
    from cloudlet_deploy.cli import render

    data: dict[str, Any] = {
        "hosts": list(site.targets),
        "components": parts,
        "faults": [{**vars(fault), "severity": fault.severity.value} for fault in faults],
        "unchecked": [{**vars(one), "why": one.why.value} for one in unchecked],
    }
    render.document("validate", code, data)


def _as_text(fault: Fault) -> str:
    """One fault in 80 columns: where and what, then the hosts, then the next step."""
    name = f"{fault.variable}: " if fault.variable else ""
    where = f"{_near(fault.where)}: " if fault.where else ""
    mark = "" if fault.severity.value == "error" else f"{fault.severity.value}: "
    value = f", not {fault.value}" if fault.value is not None else ""
    lines = [_wrapped(f"{where}{mark}{name}{fault.message}{value}", "", "    ")]
    if fault.hosts:
        lines.append(_wrapped(f"on {_some(fault.hosts)}", "    ", "       "))
    if fault.next_step:
        lines.append(_wrapped(f"next: {fault.next_step}", "    ", "          "))
    return "\n".join(lines)


def _as_line(one: Unchecked) -> str:
    """One value that was not checked, and why."""
    parts = (_near(one.where), one.variable, f"{one.why.value}: {one.detail}")
    return _wrapped(": ".join(part for part in parts if part), "  ", "    ")


def _some(hosts: tuple[str, ...]) -> str:
    """The first hosts by name, the others by number; ``--output json`` names all."""
    shown = ", ".join(hosts[:_HOSTS_SHOWN])
    more = len(hosts) - _HOSTS_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _wrapped(text: str, first: str, rest: str) -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _near(where: str) -> str:
    """``where`` relative to the working directory, if it lies below it."""
    here = f"{Path.cwd()}/"
    return where.removeprefix(here)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
