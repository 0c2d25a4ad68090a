# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Paths and endpoints that the roles put together."""

from __future__ import annotations

import posixpath

from ansible.errors import AnsibleFilterError


def below(entries, parent):
    """``entries`` with each ``path`` placed below ``parent``.

    Raises AnsibleFilterError for a path that leads out of it.
    """
    placed = []
    for entry in entries:
        path = posixpath.normpath(posixpath.join(parent, entry["path"]))
        if path == posixpath.normpath(parent) or posixpath.commonpath([path, parent]) != (
            posixpath.normpath(parent)
        ):
            raise AnsibleFilterError(
                "%s does not lie below %s: write it relative to that." % (entry["path"], parent)
            )
        placed.append(dict({"mode": "0755"}, **dict(entry, path=path)))
    return placed


def transfer_endpoints(hosts, hostvars):
    """``gsiftp://HOST[:PORT]`` of each host; the port only where the inventory sets one."""
    endpoints = []
    for host in hosts:
        port = hostvars[host].get("gridftp_port")
        endpoints.append("gsiftp://%s%s" % (host, ":%s" % port if port else ""))
    return endpoints


class FilterModule:
    def filters(self):
        return {"below": below, "transfer_endpoints": transfer_endpoints}
