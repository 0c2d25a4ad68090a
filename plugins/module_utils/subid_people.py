# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Which real ids may be delegated to a service account, and which never are.

Whoever has a delegated id is at the mercy of the service account. So ids of the system and of
its administrators are refused. Reads the host's name service. Python 3.9 and later.
"""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re
from typing import NamedTuple

from ansible_collections.cloudlet.deploy.plugins.module_utils.idmaps import Refused, merged

#: Whose members may become root.
ADMIN_GROUPS = frozenset(["root", "sudo", "wheel", "admin"])
#: Groups that give root's powers, or a part of them, whatever their number is.
NEVER_GROUPS = ADMIN_GROUPS | frozenset(
    ["adm", "disk", "docker", "incus-admin", "kmem", "kvm", "libvirt", "lxd", "podman", "shadow",
     "systemd-journal"]
)  # fmt: skip
#: nobody, and what 16 bits have for "no id".
_NOBODY = (65534, 65535)
_NEVER_BELOW, _LAST = 1000, 2**32 - 2
#: Ids without a name service that lists all are asked for one by one, up to this many.
_FEW = 256
_RANGE = re.compile(r"(\d+)(?:-(\d+))?")


class People:
    """Accounts and groups as the name service tells them, directories included."""

    def __init__(self, login_defs="/etc/login.defs"):
        self.host = os.uname().nodename
        limits = _limits(login_defs)
        self.least_uid = max(_NEVER_BELOW, limits.get("UID_MIN", 0))
        self.least_gid = max(_NEVER_BELOW, limits.get("GID_MIN", 0))

    def account(self, name):
        """The entry, or None."""
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
        return None

    def account_of(self, uid):
        """The entry with this uid, or None."""
        with contextlib.suppress(KeyError):
            return pwd.getpwuid(uid)
        return None

    def accounts(self):
        """All that the name service lists."""
        return pwd.getpwall()

    def groups(self):
        """All that the name service lists."""
        return grp.getgrall()

    def group_name(self, gid):
        """The name of the group, "" if it has none."""
        with contextlib.suppress(KeyError):
            return grp.getgrgid(gid).gr_name
        return ""

    def gids_of(self, entry):
        """All groups of an account, the primary one first."""
        rest = os.getgrouplist(entry.pw_name, entry.pw_gid)
        return [entry.pw_gid, *sorted(set(rest) - {entry.pw_gid})]


def _limits(path):
    found = {}
    with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as stream:
        for line in stream:
            words = line.split()
            if len(words) == 2 and words[1].isdigit():
                found[words[0]] = int(words[1])
    return found


class Approved(NamedTuple):
    """Ranges (start, count) of real ids, and in words which groups were left out."""

    uids: tuple
    gids: tuple
    left_out: tuple


def approve(account, users, uids, gids, people):
    """The ids of ``users`` and those given as ``5`` or ``"5-9"``. Raises Refused, with all faults.

    ``account`` is the service account, whose own ids are never delegated to it.
    """
    faults, left_out, own_uids, own_gids = [], [], [], []
    service = people.account(account)
    never_gids = {service.pw_gid} if service is not None else set()
    for name in users:
        entry = people.account(name)
        if entry is None:
            faults.append((
                "%s: the user %s of podman_host_approved_users does not exist"
                % (people.host, name),
                "Make the account, see whether the directory service answers ('getent passwd %s' on"
                " the host), or correct the name." % name,
            ))  # fmt: skip
            continue
        faults += _faults_of_account(entry, account, people)
        own_uids.append((entry.pw_uid, 1))
        primary, *others = people.gids_of(entry)
        cause = _cause(primary, never_gids, people)
        if cause:
            faults.append((
                "%s: the primary group of the user %s is %d, %s"
                % (people.host, name, primary, cause),
                "Give the user a primary group of its own, or do not approve the user.",
            ))  # fmt: skip
        own_gids.append((primary, 1))
        for gid in others:
            cause = _cause(gid, never_gids, people)
            if cause:
                left_out.append("%s is in the group %d, %s" % (name, gid, cause))
            else:
                own_gids.append((gid, 1))
    given_uids = _ranges(uids, "podman_host_delegated_uids", people.least_uid, faults, people)
    given_gids = _ranges(gids, "podman_host_delegated_gids", people.least_gid, faults, people)
    for entry in _accounts_in(given_uids, people):
        faults += _faults_of_account(entry, account, people)
    for gid, cause in _groups_in(given_gids, never_gids, people):
        faults.append((
            "%s: podman_host_delegated_gids has %d, %s" % (people.host, gid, cause),
            "Take it out of the inventory.",
        ))  # fmt: skip
    if faults:
        raise Refused("; ".join(dict(faults)), faults[0][1])
    return Approved(
        tuple(merged([*own_uids, *given_uids])),
        tuple(merged([*own_gids, *given_gids])),
        tuple(dict.fromkeys(left_out)),
    )


def _faults_of_account(entry, account, people):
    admin = {people.group_name(gid) for gid in people.gids_of(entry)} & ADMIN_GROUPS
    cause = (
        "is the service account itself" if entry.pw_name == account else
        "is an account of the system" if entry.pw_uid < people.least_uid else
        "is nobody" if entry.pw_uid in _NOBODY else
        "may become root (group %s)" % ", ".join(sorted(admin)) if admin else ""
    )  # fmt: skip
    if not cause:
        return []
    return [(
        "%s: the user %s (uid %d) %s, and is never delegated"
        % (people.host, entry.pw_name, entry.pw_uid, cause),
        "Approve an ordinary account instead.",
    )]  # fmt: skip


def _cause(gid, never, people):
    """Why a group is never delegated, in words; "" if it may be."""
    name = people.group_name(gid)
    if gid < people.least_gid:
        return "a group of the system%s" % (" (%s)" % name if name else "")
    if gid in _NOBODY:
        return "the group of nobody"
    if name in NEVER_GROUPS:
        return "the group %s, which gives rights on the host" % name
    return "the service account's own group" if gid in never else ""


def _ranges(values, variable, least, faults, people):
    found = []
    for value in values:
        match = _RANGE.fullmatch(str(value).strip())
        first = int(match.group(1)) if match else 0
        last = int(match.group(2) or first) if match else -1
        if not first <= last <= _LAST:
            faults.append((
                "%s: %r is no id and no range of ids" % (variable, value),
                "Write 123456, or \"123456-123460\" in quotes.",
            ))  # fmt: skip
        elif first < least or any(first <= nobody <= last for nobody in _NOBODY):
            faults.append((
                "%s: %s: %s has ids of the system (below %d, or nobody's)"
                % (people.host, variable, value, least),
                "Take them out of the inventory.",
            ))  # fmt: skip
        else:
            found.append((first, last - first + 1))
    return found


def _accounts_in(ranges, people):
    """Accounts that have an id in ``ranges``."""
    entries = {entry.pw_name: entry for entry in people.accounts()} if ranges else {}
    for start, count in ranges:
        if count <= _FEW:
            asked = (people.account_of(uid) for uid in range(start, start + count))
            entries.update((entry.pw_name, entry) for entry in asked if entry is not None)
    return [
        entry
        for _, entry in sorted(entries.items())
        if any(start <= entry.pw_uid < start + count for start, count in ranges)
    ]


def _groups_in(ranges, never, people):
    """(gid, cause) of those in ``ranges`` that are never delegated."""
    known = {group.gr_gid for group in people.groups()} | never if ranges else set()
    for start, count in ranges:
        known.update(range(start, start + count) if count <= _FEW else ())
    for gid in sorted(known):
        if any(start <= gid < start + count for start, count in ranges):
            cause = _cause(gid, never, people)
            if cause:
                yield gid, cause
