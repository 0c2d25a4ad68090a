"""``smoke``: the scaling test after a deployment, with verdict and report."""

from __future__ import annotations

from pathlib import Path

import click

from cloudlet_deploy.cli.options import AnsibleOptions, ansible_options, output_option
from cloudlet_deploy.errors import ExitCode, UsageError

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("smoke")
@ansible_options
@click.option("--full", is_flag=True, help="The whole grid of the paper: about 40 minutes.")
@click.option("--clients", metavar="N,N...", help="Numbers of clients at a time.")
@click.option("--entries", metavar="N,N...", help="Sizes of the larger directories; 0 for none.")
@click.option("--overload", type=click.IntRange(0), metavar="N", help="Clients that are too many.")
@click.option("--seconds", type=click.IntRange(1, 3600), metavar="S", help="Length of a point.")
@click.option("--warm-up", type=click.IntRange(0, 3600), metavar="S", help="Before each point.")
@click.option("--think", type=click.FloatRange(0), metavar="S", help="Pause between requests.")
@click.option("--timeout", type=click.IntRange(1, 3600), metavar="S", help="For one request.")
@click.option("--keep-alive", is_flag=True, help="One connection a client, not one a request.")
@click.option(
    "--service",
    type=click.Choice(["all", "srm", "gridftp"]),
    default="all",
    show_default=True,
    help="What to load.",
)
@click.option("--processes", type=click.IntRange(1, 256), metavar="N", help="Load processes.")
@click.option("--proxy", type=_FILE, metavar="FILE", help="Test as the user of this proxy.")
@click.option("--cert", type=_FILE, metavar="FILE", help="Test as the user of this certificate.")
@click.option("--key", type=_FILE, metavar="FILE", help="The key of --cert.")
@click.option("--ca-dir", type=click.Path(path_type=Path), metavar="DIR", help="CA directory.")
@click.option("--baseline", metavar="RUN", help="Compare with this earlier run, or its JSON file.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where to write the report (default: beside the run's record).",
)
@click.option("--clean", is_flag=True, help="Only remove what killed runs left in the storage.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask before loading a production site.")
@output_option
def command(
    *,
    options: AnsibleOptions,
    full: bool,
    clients: str | None,
    entries: str | None,
    overload: int | None,
    seconds: int | None,
    warm_up: int | None,
    think: float | None,
    timeout: int | None,
    keep_alive: bool,
    service: str,
    processes: int | None,
    proxy: Path | None,
    cert: Path | None,
    key: Path | None,
    ca_dir: Path | None,
    baseline: str | None,
    report: Path | None,
    clean: bool,
    yes: bool,
    output: str,
) -> ExitCode:
    """Measure how many clients the site carries, and judge it.

    Clients of the real protocols list test directories, each in a closed loop with a new
    session per request, from this machine or from the hosts of the group load_generators.
    Makes the directories through the storage itself and removes them again. Ends with a
    verdict on the demands of the site (smoke_least_rate and others) and an HTML report with
    the plots of the paper. Without options: 50, 200 and 500 clients on a small directory, 50
    on larger ones, in under three minutes. Exits with 5 if a demand does not hold.

    \b
    Examples:
      cloudlet-deploy smoke -i mysite
      cloudlet-deploy smoke -i mysite --clients 100,400 --overload 3000
      cloudlet-deploy smoke -i mysite --full
      cloudlet-deploy smoke -i mysite --baseline 20261124T101500Z-1a2b3c
      cloudlet-deploy smoke -i mysite --clean
    """
    if cert is None and key is not None:
        raise UsageError("--key is the key of --cert, which is missing.")
    if cert is not None and proxy is not None:
        raise UsageError("--proxy and --cert exclude each other.")
    if full and (clients or entries):
        raise UsageError("--full has its own numbers of clients and entries.")
    # --help needs none of it.
    from cloudlet_deploy.cli import _smoking

    wish = _smoking.Wish(
        full=full,
        clients=clients,
        entries=entries,
        overload=overload,
        seconds=seconds,
        warm_up=warm_up,
        think=think,
        timeout=timeout,
        keep_alive=keep_alive,
        service=service,
        processes=processes,
        proxy=proxy,
        certificate=cert,
        key=key,
        ca_dir=ca_dir,
        baseline=baseline,
        report=report,
        yes=yes,
        output=output,
    )
    return _smoking.clean(options, wish) if clean else _smoking.smoke(options, wish)
