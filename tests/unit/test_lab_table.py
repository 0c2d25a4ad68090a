"""The table of systems in ``docs/lab.md`` is whole, and its places are there."""

from __future__ import annotations

import re

import pytest

from cloudlet_deploy import content

TEXT = (content.root() / "docs/lab.md").read_text()
TABLE = TEXT.split("## Every system that the project names")[1].split("\n## ")[0]
ROWS = [line.strip("| ").split(" | ") for line in TABLE.splitlines() if line.startswith("| ")]
SYSTEMS = ROWS[1:]
#: What the two papers name, but for machines, networks and organizations.
NAMED = """
    Ansible, Apache, BeStMan, BeStMan2, Buildah, CIFS, CILogon, Condor, CryoSPARC, Docker,
    Flask, FUSE, GFS, GPFS, GPUs, GUMS, Globus, GlideinTester, GlideinWMS, Gratia, GridFTP,
    HDFS, HFS+, Ibrix, Java, Jetty, LDAP, Lustre, NFS, Open OnDemand, OSG, PVFS2, Pacman,
    Pegasus, Podman, RAPID, RAPID2, Rocky, SELinux, SRM, SSHFS, Slurm, TeamViewer, Tomcat, VDT,
    VNC, VPN, XrootdFS, YUM, bbftp, bridge, camera, clouds, data hop, ftp, grid-mapfile, http,
    https, iperf3, microscope, nginx, noVNC, sshfs, systemd, usermap
"""


@pytest.mark.parametrize("name", re.split(r",\s+", NAMED.strip()))
def test_what_the_papers_name_is_there(name: str) -> None:
    word = re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")
    assert any(word.search(cell) for row in SYSTEMS for cell in row[:2])


@pytest.mark.parametrize("row", SYSTEMS, ids=lambda row: row[0])
def test_each_has_a_word_and_places_that_there_are(row: list[str]) -> None:
    told = row[1]
    assert re.search(r"\breal\b|\*\*stand-in\*\*|\brendered\b|\bnot run\b", told)
    places = re.findall(r"`([^`]+)`", row[2]) if len(row) > 2 else []
    assert places or "not run" in told
    for place in places:
        assert any((content.root() / home / place).exists() for home in ("tests", "molecule")), (
            place
        )
