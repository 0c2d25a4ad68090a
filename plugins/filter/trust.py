# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""The grid's trust settings as files and accounts for ``config_set`` and ``account_set``."""

from __future__ import annotations

import os

from ansible.errors import AnsibleFilterError
from ansible_collections.cloudlet.deploy.plugins.plugin_utils.credential_checks import (
    ca_names,
    ca_problems,
)
from ansible_collections.cloudlet.deploy.plugins.plugin_utils.grid_names import gridmap_problems


def ca_files(source, destination, restart=()):
    """Files of the CA directory ``source`` on the controller, as entries of ``config_set``.

    An empty ``source`` means that the site gets its CA files in another way. Raises
    AnsibleFilterError for a directory without any CA certificate, and for a CA without
    its signing policy, without which Globus trusts nothing the CA signed.
    """
    if not source:
        return []
    for one in ca_problems(source, contents=False):
        raise AnsibleFilterError("grid_trust_ca_files: %s. %s" % (one.problem, one.next_step))
    return [
        {
            "path": os.path.join(destination, name),
            "src": os.path.join(os.path.abspath(source), name),
            "owner": "root",
            "group": "root",
            "mode": "0644",
            "restart": list(restart),
        }
        for name in ca_names(source)
    ]


def voms_files(servers, destination):
    """``VO/HOST.lsc`` for each server ``{vo, host, dn, ca_dn}``: its DN and that of its CA."""
    return [
        {
            "path": os.path.join(destination, server["vo"], server["host"] + ".lsc"),
            "content": "%s\n%s\n" % (server["dn"], server["ca_dn"]),
            "owner": "root",
            "group": "root",
            "mode": "0644",
        }
        for server in servers
    ]


def voms_directories(servers, destination):
    """One directory for each VO of ``servers``."""
    return [
        {"path": os.path.join(destination, vo), "owner": "root", "group": "root", "mode": "0755"}
        for vo in sorted({server["vo"] for server in servers})
    ]


def gridmap(entries):
    """The text of a grid-mapfile from ``{dn, account}`` entries, one line each.

    Raises AnsibleFilterError for a DN that is not written with slashes, for an account that
    is none, and for a DN that is mapped to two: which of them would win is the server's secret.
    """
    for _index, _key, problem, next_step in gridmap_problems(entries):
        raise AnsibleFilterError("grid_trust_gridmap: %s. %s" % (problem, next_step))
    accounts = {str(entry["dn"]): str(entry["account"]) for entry in entries}
    return "".join('"%s" %s\n' % item for item in accounts.items())


def mapped_accounts(accounts, health_account, shell):
    """``groups`` and ``accounts`` for ``account_set``: the mapped ones and the health check's."""
    wanted = [
        {
            "name": account["name"],
            "uid": account.get("uid"),
            "group": account.get("group") or account["name"],
            "groups": account.get("groups") or [],
            "home": account.get("home") or "/home/" + account["name"],
            "shell": account.get("shell") or shell,
            "system": False,
            "comment": account.get("comment") or "Mapped grid account",
            "create_home": False,
        }
        for account in accounts
    ]
    gids = {}
    for account in accounts:
        group = account.get("group") or account["name"]
        gids.setdefault(group, account.get("gid") or account.get("uid"))
    groups = [{"name": name, "gid": gid, "system": False} for name, gid in gids.items()]
    if health_account:
        groups.append({"name": health_account, "gid": None, "system": True})
        wanted.append(
            {
                "name": health_account,
                "uid": None,
                "group": health_account,
                "groups": [],
                "home": "/nonexistent",
                "shell": shell,
                "system": True,
                "comment": "Health checks of cloudlet-deploy",
                "create_home": False,
            }
        )
    return {"groups": groups, "accounts": wanted}


class FilterModule:
    def filters(self):
        return {
            "ca_files": ca_files,
            "gridmap": gridmap,
            "mapped_accounts": mapped_accounts,
            "voms_directories": voms_directories,
            "voms_files": voms_files,
        }
