"""``lab``: hosts on this machine that behave like real ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cloudlet_deploy.cli.options import output_option
from cloudlet_deploy.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from cloudlet_deploy.lab import Lab, Removed

_name_option = click.option(
    "--name", default="lab", show_default=True, metavar="NAME", help="Which lab."
)


@click.group("lab")
def command() -> None:
    """Make, look at and remove hosts on this machine.

    A lab has one systemd host per host of an inventory, reached over real ssh. It needs root
    and Podman. Labs with different names do not disturb each other.

    \b
    Examples:
      sudo cloudlet-deploy lab up
      sudo cloudlet-deploy lab up --name mine --from inventories/mine
      sudo cloudlet-deploy lab run client.lab.test --user alice -- id
      sudo cloudlet-deploy lab down --name mine
    """


@command.command()
@_name_option
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Inventory to make hosts for (default: the one that comes with cloudlet-deploy).",
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Where the lab's site is written (default: below the state directory).",
)
@click.option("--hosts", metavar="PATTERN", help="Only these hosts, as for --limit.")
@click.option(
    "--vm",
    is_flag=True,
    help="The lab of a cloudlet, whose host is a virtual machine with SELinux in force.",
)
@output_option
def up(
    *,
    name: str,
    source: Path | None,
    directory: Path | None,
    hosts: str | None,
    vm: bool,
    output: str,
) -> None:
    """Make the hosts that are missing and start those that stand.

    Doing it again is harmless. The first time it builds the hosts' images, which takes some
    minutes; they are cached in Podman's storage. With --vm it needs /dev/net/tun too.

    \b
    Examples:
      sudo cloudlet-deploy lab up
      sudo cloudlet-deploy lab up --name mine --dir ./site --hosts 'all:!gridftp'
      sudo cloudlet-deploy lab up --vm --name cloudlet
    """
    from cloudlet_deploy import content, lab  # heavy

    if vm and source:
        raise UsageError(
            "--vm and --from name two inventories.",
            next_step="Give one; in an inventory of your own, `lab_image: vm` makes a host one.",
        )
    source = content.root() / "inventories" / "lab-cloudlet" if vm else source
    made = lab.up(source, name=name, directory=directory, hosts=hosts, progress=_progress)
    _show([made], output, "lab up")
    if output == "table":
        click.echo(f"Use it: cloudlet-deploy apply -i {made.site}")


@command.command()
@_name_option
@click.option("--all", "everything", is_flag=True, help="Every lab of this state directory.")
@output_option
def down(name: str, everything: bool, output: str) -> None:
    """Remove a lab: its hosts, shared directories, network and site.

    Also removes what is left of one that was half made. --all removes the labs that were made
    with this XDG_STATE_HOME; those of others stay.
    """
    from cloudlet_deploy import lab  # heavy

    removed = lab.down_all() if everything else (lab.down(name),)
    if output == "json":
        _document("lab down", {"removed": [_removed(one) for one in removed]})
        return
    for one in removed:
        if not one.anything:
            click.echo(f"There is no lab {one.name}: nothing to remove.")
        for kind, items in _removed(one).items():
            for item in items if isinstance(items, list) else [items] if kind != "name" else []:
                if item:
                    click.echo(f"removed {kind.removesuffix('s')} {item}")


@command.command()
@click.option("--name", metavar="NAME", help="Which lab (default: all).")
@output_option
def status(name: str | None, output: str) -> None:
    """Show labs, their hosts and where their sites are."""
    from cloudlet_deploy import lab  # heavy

    _show([lab.status(name)] if name else list(lab.labs()), output, "lab status", one=bool(name))


@command.command()
def images() -> None:
    """Build the hosts' images if they are missing; `lab up` does it too."""
    from cloudlet_deploy import lab  # heavy

    for kind, reference in lab.images(_progress).items():
        click.echo(f"{kind}: {reference}")


@command.command(context_settings={"ignore_unknown_options": True})
@_name_option
@click.option("--user", default="root", show_default=True, help="Whose login shell.")
@click.argument("host")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, required=True)
def run(name: str, user: str, host: str, arguments: tuple[str, ...]) -> None:
    """Run a command on a host over ssh; its exit code becomes ours.

    alice and mallory on client hosts have grid certificates; mallory is in no gridmap.

    \b
    Example:
      sudo cloudlet-deploy lab run --user alice client.lab.test -- grid-proxy-init
    """
    from cloudlet_deploy import lab  # heavy

    raise click.exceptions.Exit(lab.command_on(name, host, arguments, user=user))


def _host_command(what: str, doc: str) -> click.Command:
    @_name_option
    @click.argument("host")
    def act(name: str, host: str) -> None:
        from cloudlet_deploy import lab  # heavy

        getattr(lab, what)(name, host)
        click.echo(f"{host}: {what} done")

    return command.command(what, help=doc)(act)


_host_command("kill", "Cut a host's power: every process ends at once.")
_host_command("start", "Start a host that was killed: same address, same files.")
_host_command("reset", "Make a host anew from its image; shared directories stay.")


def _progress(line: str) -> None:
    click.echo(line, err=True)


def _document(what: str, data: dict[str, Any]) -> None:
    from cloudlet_deploy.cli import render

    render.document(what, ExitCode.DONE, data)


def _removed(removed: Removed) -> dict[str, Any]:
    return {
        "name": removed.name,
        "hosts": list(removed.hosts),
        "volumes": list(removed.volumes),
        "network": removed.network,
        "site": str(removed.site or ""),
    }


def _data(lab: Lab) -> dict[str, Any]:
    return {
        "name": lab.name,
        "site": str(lab.site),
        "network": lab.network,
        "made": list(lab.made),
        "hosts": [
            {"name": h.name, "state": h.state, "address": h.address, "image": h.image}
            for h in lab.hosts
        ],
    }


def _show(labs: list[Lab], output: str, what: str, *, one: bool = True) -> None:
    if output == "json":
        _document(what, _data(labs[0]) if one else {"labs": [_data(lab) for lab in labs]})
        return
    if not labs:
        click.echo("There are no labs on this machine.")
    for lab in labs:
        click.echo(f"lab {lab.name}: site {lab.site}")
        for host in lab.hosts:
            click.echo(f"  {host.state:8} {host.address:15} {host.name}  ({host.image})")
