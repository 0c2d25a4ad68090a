# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Paths and endpoints that the roles put together."""

from __future__ import annotations

import posixpath

from ansible.errors import AnsibleFilterError


def below(entries, parent, accounts=()):
    """``entries`` with each ``path`` placed below ``parent``.

    Owners and groups that ``accounts`` (``{name, uid, group, gid}``) tells the numbers of
    become numbers: a file system that outlives its hosts holds numbers, and on a new host a
    plan has to compare before the accounts are made. Raises AnsibleFilterError for a path
    that leads out of ``parent``.
    """
    uids = {account["name"]: str(account["uid"]) for account in accounts}
    gids = {}
    for account in accounts:
        gid = account.get("gid") or account["uid"]
        gids.setdefault(account.get("group") or account["name"], str(gid))
    placed = []
    for entry in entries:
        path = posixpath.normpath(posixpath.join(parent, entry["path"]))
        if path == posixpath.normpath(parent) or posixpath.commonpath([path, parent]) != (
            posixpath.normpath(parent)
        ):
            raise AnsibleFilterError(
                "%s does not lie below %s: write it relative to that." % (entry["path"], parent)
            )
        one = {"mode": "0755", **entry, "path": path}
        if "owner" in one:
            one["owner"] = uids.get(one["owner"], one["owner"])
        if "group" in one:
            one["group"] = gids.get(one["group"], one["group"])
        placed.append(one)
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
