# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""The grid's trust settings as files and accounts for ``config_set`` and ``account_set``."""

from __future__ import annotations

import os
import re

from ansible.errors import AnsibleFilterError

_CA_FILE = re.compile(r"^[0-9a-f]{8}\.(\d+|r\d+|signing_policy|namespaces|info|crl_url)$")
_CA_CERTIFICATE = re.compile(r"^[0-9a-f]{8}\.\d+$")


def ca_files(source, destination, restart=()):
    """Files of the CA directory ``source`` on the controller, as entries of ``config_set``.

    An empty ``source`` means that the site gets its CA files in another way. Raises
    AnsibleFilterError for a directory without any CA certificate, and for a CA without
    its signing policy, without which Globus trusts nothing the CA signed.
    """
    if not source:
        return []
    try:
        names = sorted(name for name in os.listdir(source) if _CA_FILE.match(name))
    except OSError as exc:
        raise AnsibleFilterError(
            "grid_trust_ca_files: %s cannot be read: %s." % (source, exc.strerror)
        ) from exc
    certificates = [name for name in names if _CA_CERTIFICATE.match(name)]
    if not certificates:
        raise AnsibleFilterError(
            "grid_trust_ca_files: %s holds no CA certificate named HASH.0. "
            "Make the names with openssl rehash, in the old and the new form." % source
        )
    for name in certificates:
        policy = name.partition(".")[0] + ".signing_policy"
        if policy not in names:
            raise AnsibleFilterError(
                "grid_trust_ca_files: %s has no %s beside it in %s." % (name, policy, source)
            )
    return [
        {
            "path": os.path.join(destination, name),
            "src": os.path.join(os.path.abspath(source), name),
            "owner": "root",
            "group": "root",
            "mode": "0644",
            "restart": list(restart),
        }
        for name in names
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

    Raises AnsibleFilterError for a DN that is not written with slashes, holds a quote or
    is mapped to two accounts: which of them would win is the server's secret.
    """
    accounts = {}
    for entry in entries:
        dn, account = str(entry["dn"]), str(entry["account"])
        if not dn.startswith("/") or '"' in dn or "\n" in dn:
            raise AnsibleFilterError(
                "grid_trust_gridmap: write the DN %s in slash form, like /O=Grid/CN=Alice." % dn
            )
        if accounts.setdefault(dn, account) != account:
            raise AnsibleFilterError(
                "grid_trust_gridmap: %s is mapped to %s and to %s. Keep one of them."
                % (dn, accounts[dn], account)
            )
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
