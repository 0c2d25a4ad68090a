# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""What CryoSPARC wants of its host before anything is installed. Python 3.9 and later."""

from __future__ import annotations

import os
import re

from ansible_collections.cloudlet.deploy.plugins.module_utils import host_facts, podman_account
from ansible_collections.cloudlet.deploy.plugins.module_utils.idmaps import Refused

UNIT = "cryosparc.service"
#: Of the vendor's documentation: longer paths break what the installers compile.
LONGEST_PATH = 83
#: From the base port on; the vendor's programs count on all of them.
PORTS = 10
_LICENSE = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_VERSION = re.compile(r"v?\d+(\.\d+)+")


def number(version):
    """A version to compare: ``v5.0.1`` is (5, 0, 1)."""
    return tuple(int(part) for part in version.lstrip("v").split("."))


def check_words(license_id, version):
    """Raise Refused for a license or a version that cannot be one. Never tells the license."""
    if not _VERSION.fullmatch(version):
        raise Refused(
            "cryosparc_version is %r, which is no version" % version,
            "Give the version of the archives, such as v5.0.1.",
        )
    if not license_id:
        raise Refused(
            "cryosparc_license is not set", "Give the license's identifier, in a vaulted variable."
        )
    if not _LICENSE.fullmatch(license_id):
        raise Refused(
            "cryosparc_license does not look like a license's identifier",
            "It has 32 hexadecimal digits in five groups, as the vendor's mail says it.",
        )


def check_path(path):
    """Raise Refused for the path of an installation that is too long."""
    if len(path) > LONGEST_PATH:
        raise Refused(
            "%s has %d characters, and CryoSPARC can be installed at a path of %d at most"
            % (path, len(path), LONGEST_PATH),
            "Set cryosparc_directory to a shorter one.",
        )


def check_database(path, mounts="/proc/self/mountinfo"):
    """Raise Refused unless the database at ``path`` would be on a local disk, below a mount."""
    kind, point = podman_account.file_system(path, mounts)
    if podman_account.is_remote(kind):
        raise Refused(
            "cryosparc_database_directory: %s is on %s, which is %s; it needs a local disk"
            % (path, point, kind),
            "Name a directory on a local disk: a network or FUSE file system loses its data.",
        )
    if point == path:
        raise Refused(
            "cryosparc_database_directory: %s is a mount point itself" % path,
            "Name a directory below it, such as %s/database: an upgrade that fails moves the "
            "database aside as a whole." % path,
        )


def check_hostname(name, facts=host_facts):
    """Raise Refused unless ``name`` leads to an address of this host that others can reach."""
    found = facts.addresses_of(name)
    lost = [address for address in found if facts.is_loopback(address)]
    foreign = [a for a in found if not facts.is_loopback(a) and not facts.is_own(a)]
    fault = (
        "has no address on this host"
        if not found
        else "is %s on this host, which nobody else reaches" % lost[0]
        if lost
        else "is %s, which is no address of this host" % foreign[0]
        if foreign
        else ""
    )
    if fault:
        raise Refused(
            "cryosparc_hostname: %s %s" % (name, fault),
            "Correct /etc/hosts or the name service, so that 'getent ahosts %s' here tells the "
            "address that workers and the cluster's nodes connect to; or set another name." % name,
        )


def check_ports(base, listening=None):
    """Raise Refused if somebody else listens on one of the ten ports from ``base`` on."""
    listening = host_facts.listeners() if listening is None else listening
    for port in range(base, base + PORTS):
        if port in listening and not listening[port].may_be(UNIT):
            raise Refused(
                "cryosparc_port: of %d to %d, port %d is taken by %s"
                % (base, base + PORTS - 1, port, listening[port]),
                "Stop that process, or set cryosparc_port to the first of ten free ones.",
            )


def processes_below(path, proc="/proc"):
    """{pid: program} of processes that run from files below ``path``."""
    found = {}
    for pid in (name for name in os.listdir(proc) if name.isdigit()):
        try:
            with open(os.path.join(proc, pid, "cmdline"), "rb") as stream:
                words = stream.read().decode("utf-8", "replace").split("\0")
            with open(os.path.join(proc, pid, "environ"), "rb") as stream:
                root = ("CRYOSPARC_ROOT_DIR=" + path + "/").encode() in stream.read()
        except OSError:
            continue
        if root or any(word.startswith(path + "/") for word in words):
            found[int(pid)] = words[0]
    return found
