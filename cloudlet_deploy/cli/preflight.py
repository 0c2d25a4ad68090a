"""``preflight``: whether the hosts can be deployed to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cloudlet_deploy.cli.options import (
    AnsibleOptions,
    ansible_options,
    component_option,
    output_option,
)
from cloudlet_deploy.errors import ExitCode

if TYPE_CHECKING:
    from cloudlet_deploy.cli._flow import Prepared
    from cloudlet_deploy.run.preflight import Preflight


@click.command("preflight")
@ansible_options
@component_option
@output_option
def command(options: AnsibleOptions, components: tuple[str, ...], output: str) -> ExitCode:
    """Look whether the hosts can be deployed to; change nothing on them.

    Looks at reach, privilege, system, memory, disk space, clock, names, certificates, ports,
    accounts and package sources, and says of each failure what to do. -v shows the checks
    that are fine too. Exits with 5 if a check failed, with 3 if a host was not reached;
    warnings alone exit with 0.

    \b
    Examples:
      cloudlet-deploy preflight -i mysite
      cloudlet-deploy preflight -i mysite --limit door.example.org -v
      cloudlet-deploy preflight -i mysite --forks 20 --output json
    """
    from cloudlet_deploy.cli import _flow, _preflight_view, render  # --help needs none of it

    prepared = _flow.prepare(options, components)
    found = preflight_of(prepared)
    code = found.exit_code
    if output == "json":
        data = {"site": prepared.site.path, "hosts": _preflight_view.as_data(found)}
        render.document("preflight", code, data)
    else:
        _preflight_view.show(found, everything=options.verbosity > 0)
    return code


def preflight_of(prepared: Prepared, hosts: tuple[str, ...] | None = None) -> Preflight:
    """Look at ``hosts`` (default: all that the site's options target).

    Changes nothing and writes no record. Raises InterruptedRunError, and RunFailedError where
    Ansible could not run.
    """
    from cloudlet_deploy.cli._looking import look
    from cloudlet_deploy.run.preflight import judged

    looked = look(prepared, "preflight", hosts)
    users = {host: prepared.user_of(host) for host in prepared.hosts}
    return judged(hosts or prepared.hosts, looked, users)
