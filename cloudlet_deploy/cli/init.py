"""``init``: write a new site."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cloudlet_deploy.cli.options import output_option
from cloudlet_deploy.errors import ExitCode

if TYPE_CHECKING:
    from cloudlet_deploy.site.scaffold import Scaffold


@click.command("init")
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--kind",
    type=click.Choice(["storage-element", "cloudlet"]),
    default="storage-element",
    show_default=True,
    help="What the site is.",
)
@click.option("--door", metavar="HOST", help="The SRM door.")
@click.option(
    "--transfer", multiple=True, metavar="HOST", help="A transfer server; may be given repeatedly."
)
@click.option("--namenode", metavar="HOST", help="The name node of HDFS, to store the data there.")
@click.option(
    "--datanode", multiple=True, metavar="HOST", help="A data node of it; may be given repeatedly."
)
@click.option("--ca-files", metavar="DIR", help="Directory with the CA files by hash.")
@click.option("--portal", metavar="HOST", help="The host of the portal, of a cloudlet.")
@click.option(
    "--cryosparc",
    metavar="HOST",
    help="The host of CryoSPARC, of a cloudlet that has it; it may be the portal's.",
)
@output_option
def command(
    *,
    directory: Path,
    kind: str,
    door: str | None,
    transfer: tuple[str, ...],
    namenode: str | None,
    datanode: tuple[str, ...],
    ca_files: str | None,
    portal: str | None,
    cryosparc: str | None,
    output: str,
) -> ExitCode:
    """Write a new site into DIRECTORY, which must be new or empty.

    Every setting is in the files with its meaning. What only you can know has a
    placeholder; these are listed at the end. --portal and --cryosparc are for a
    cloudlet; all other options that name hosts and CA files, for a storage element.

    \b
    Examples:
      cloudlet-deploy init mysite
      cloudlet-deploy init mysite --door door.example.org \\
          --transfer data1.example.org --transfer data2.example.org \\
          --ca-files /etc/grid-security/certificates
      cloudlet-deploy init mysite --door door.example.org --namenode nn.example.org \\
          --datanode data1.example.org --transfer data1.example.org \\
          --datanode data2.example.org --transfer data2.example.org
      cloudlet-deploy init mycloudlet --kind cloudlet
      cloudlet-deploy init mycloudlet --kind cloudlet \\
          --portal cloudlet.example.org --cryosparc cloudlet.example.org
    """
    from cloudlet_deploy.site import scaffold  # --help needs none of it

    path = str(Path(ca_files).expanduser().absolute()) if ca_files else None
    site = scaffold.render(
        kind,
        door=door,
        transfer=tuple(dict.fromkeys(transfer)),
        ca_files=path,
        namenode=namenode,
        datanodes=tuple(dict.fromkeys(datanode)),
        portal=portal,
        cryosparc=cryosparc,
    )
    scaffold.write(site, directory)
    if output == "json":
        from cloudlet_deploy.cli import render

        data = {
            "site": str(directory),
            "files": sorted(site.files),
            "fill_in": [vars(item) for item in site.fill_in],
        }
        render.document("init", ExitCode.DONE, data)
    else:
        _show(site, directory)
    return ExitCode.DONE


def _show(site: Scaffold, directory: Path) -> None:
    click.echo(f"Wrote {len(site.files)} files to {directory}.")
    if site.fill_in:
        click.echo("Fill in:")
    for item in site.fill_in:
        click.echo(f"  {directory / item.file}:{item.line}: {item.setting}")
    click.echo("Then:")
    click.echo(f"  cloudlet-deploy validate -i {directory}")
    click.echo(f"  cloudlet-deploy apply -i {directory}")
