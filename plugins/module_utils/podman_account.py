# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""What an account that runs rootless containers has on its host: storage, namespace, manager.

Looks only. Python 3.9 and later.
"""

from __future__ import annotations

import os
import re

from ansible_collections.cloudlet.deploy.plugins.module_utils.idmaps import Extent, Refused, parsed

#: File systems that do not take other accounts' ids, or are away when the network is.
_NOT_LOCAL = re.compile(
    r"nfs\d?|cifs|smb\d?|smbfs|fuse(\..*|blk)?|9p|virtiofs|afs|autofs|beegfs|ceph|coda|glusterfs"
    r"|gpfs|lustre|orangefs|pvfs2|panfs|wekafs"
)
#: Programs that keep Podman's namespace: its pause process and the monitors of containers.
_KEEPERS = ("catatonit", "conmon", "podman", "podman pause")
LINGER = "/var/lib/systemd/linger"


def file_system(path, mounts="/proc/self/mountinfo"):
    """(type, mount point) of what ``path`` is on, or would be. Never touches the path itself."""
    best = ("", "/")
    with open(mounts, encoding="utf-8", errors="replace") as stream:
        for line in stream:
            fields = line.split(" ")
            point = fields[4].encode("utf-8").decode("unicode_escape")
            below = path == point or path.startswith(point.rstrip("/") + "/")
            # Of mounts on the same place the last one is seen.
            if below and len(point) >= len(best[1]):
                best = (fields[fields.index("-") + 1], point)
    return best


def is_remote(kind):
    """Whether a file system of this type is a network's, or a program's."""
    return bool(_NOT_LOCAL.fullmatch(kind))


def check_storage(path, host, mounts="/proc/self/mountinfo"):
    """Raise Refused if ``path`` is not on a local disk."""
    kind, point = file_system(path, mounts)
    if is_remote(kind):
        raise Refused(
            "%s: %s is on %s (%s), and containers are stored on a local disk only"
            % (host, path, point, kind),
            "Set podman_host_home to a directory on a local disk.",
        )


def namespaces(uid, proc="/proc"):
    """{pid: {"uid": extents, "gid": extents}} of processes that keep the Podman of ``uid``."""
    found = {}
    for pid in sorted((name for name in os.listdir(proc) if name.isdigit()), key=int):
        base = os.path.join(proc, pid)
        try:
            # Without the rest of the account's processes, which may be in other namespaces.
            if os.stat(base).st_uid != uid or _text(base, "comm").strip() not in _KEEPERS:
                continue
            maps = {kind: parsed(_text(base, kind + "_map")) for kind in ("uid", "gid")}
        except OSError:  # it has ended
            continue
        if maps["uid"][:1] == [Extent(0, uid, 1)]:
            found[int(pid)] = maps
    return found


def _text(base, name):
    with open(os.path.join(base, name), encoding="utf-8", errors="replace") as stream:
        return stream.read()


def lingers(account, directory=LINGER):
    """Whether the account's manager runs without anybody logged in."""
    return os.path.exists(os.path.join(directory, account))
