"""``smoke``: what a site carries after a deployment, with verdict and report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cloudlet_deploy.cli.options import AnsibleOptions, ansible_options, output_option
from cloudlet_deploy.errors import ExitCode, UsageError, strongest

if TYPE_CHECKING:
    from cloudlet_deploy.cli._flow import Prepared

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("smoke")
@ansible_options
@click.option(
    "--only",
    type=click.Choice(["storage", "cloudlet"]),
    help="Of a site that is both, measure this part.",
)
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
    only: str | None,
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
    """Measure what the site carries, and judge it.

    Of a cloudlet: each hop of smoke_hops with iperf3, and each mount by reading and writing.

    Of a storage element: clients of the real protocols list test directories, each in a
    closed loop with a new session per request, from this machine or from the hosts of the
    group load_generators. Makes the directories through the storage itself and removes them
    again. Without options: 50, 200 and 500 clients on a small directory, 50 on larger ones,
    in under three minutes.

    Ends with a verdict on the demands of the site (smoke_least_rate and others) and an HTML
    report. Exits with 5 if a demand does not hold.

    \b
    Examples:
      cloudlet-deploy smoke -i mysite
      cloudlet-deploy smoke -i mysite --clients 100,400 --overload 3000
      cloudlet-deploy smoke -i mysite --full
      cloudlet-deploy smoke -i mysite --baseline 20261124T101500Z-1a2b3c
      cloudlet-deploy smoke -i mysite --clean
      cloudlet-deploy smoke -i mysite --only cloudlet
    """
    if cert is None and key is not None:
        raise UsageError("--key is the key of --cert, which is missing.")
    if cert is not None and proxy is not None:
        raise UsageError("--proxy and --cert exclude each other.")
    if full and (clients or entries):
        raise UsageError("--full has its own numbers of clients and entries.")
    # --help needs none of it.
    from cloudlet_deploy.cli import _flow, _smoke_cloudlet, _smoking

    prepared = _flow.prepare(options, (), files=False)
    parts = _parts(prepared, "storage" if clean else only)
    if len(parts) > 1 and output == "json":
        raise UsageError(
            "The site is a storage element and a cloudlet, and --output json tells of one.",
            next_step="Choose with --only storage or --only cloudlet.",
        )
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
    if clean:
        return _smoking.clean(prepared, wish)
    codes = []
    for part in parts:
        if part == "storage":
            codes.append(_smoking.smoke(prepared, wish, verbose=options.verbosity > 0))
        else:
            codes.append(_smoke_cloudlet.smoke(prepared, directory=report, yes=yes, output=output))
    return strongest(codes)


def _parts(prepared: Prepared, only: str | None) -> tuple[str, ...]:
    """What of the site is to be measured; without ``only`` what it has, or else the storage."""
    from cloudlet_deploy.cli import _smoke_cloudlet, _smoking

    if only:
        return (only,)
    found = [("storage", _smoking.is_for), ("cloudlet", _smoke_cloudlet.is_for)]
    return tuple(part for part, is_for in found if is_for(prepared)) or ("storage",)
