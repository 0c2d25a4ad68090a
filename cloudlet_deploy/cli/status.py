"""``status``: whether the site is still as it was made, and works."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cloudlet_deploy.cli.options import AnsibleOptions, ansible_options, output_forms
from cloudlet_deploy.errors import ExitCode

if TYPE_CHECKING:
    from cloudlet_deploy.cli._flow import Prepared
    from cloudlet_deploy.run.status import SiteStatus


@click.command("status")
@ansible_options
@output_forms("table", "json", "prometheus")
def command(options: AnsibleOptions, output: str) -> ExitCode:
    """Show drift and health of all hosts; change nothing on them.

    Compares managed files with what was written, asks each service for a real answer, and
    looks at units, certificates, revocation lists and packages. -v shows what is fine too.
    Exits with 2 if something is not as applied, with 5 if a service does not answer or a
    certificate has expired, with 3 if a host was not reached.

    \b
    Examples:
      cloudlet-deploy status -i mysite
      cloudlet-deploy status -i mysite --limit door.example.org -v
      cloudlet-deploy status -i mysite --output json
      cloudlet-deploy status -i mysite --output prometheus
    """
    # --help needs none of it.
    from cloudlet_deploy.cli import _flow, _status_view, render
    from cloudlet_deploy.cli._looking import sources
    from cloudlet_deploy.run import prometheus

    # What runs is to be seen also when the certificate here has expired.
    prepared = _flow.prepare(options, (), files=False)
    found = status_of(prepared)
    if output == "json":
        data = {"site": prepared.site.path, **_status_view.as_data(found)}
        render.document("status", found.exit_code, data)
    elif output == "prometheus":
        click.echo(prometheus.text(found, ", ".join(sources(prepared))), nl=False)
    else:
        _status_view.show(found, everything=options.verbosity > 0)
    return found.exit_code


def status_of(prepared: Prepared) -> SiteStatus:
    """Look at the hosts that the site's options target; changes nothing, writes no record.

    Raises InterruptedRunError, and RunFailedError where Ansible could not run.
    """
    from cloudlet_deploy.cli._looking import look, sources
    from cloudlet_deploy.run.left import left_hosts
    from cloudlet_deploy.run.record import list_records
    from cloudlet_deploy.run.status import judged

    looked = look(prepared, "status")
    users = {host: prepared.user_of(host) for host in prepared.hosts}
    left = left_hosts(list_records(), sources(prepared), prepared.site.hosts)
    return judged(prepared.hosts, looked, users, left)
