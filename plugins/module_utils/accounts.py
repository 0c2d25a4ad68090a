# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""What must be done to have a set of groups and accounts: decided here, done elsewhere.

Nothing in this file changes the host. Runs on Python 3.9 and later.
"""

from __future__ import annotations

import filecmp
import grp
import os
import pwd
from typing import Any, NamedTuple

from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import change

_NO_SUBORDINATE_IDS = ["-K", "SUB_UID_COUNT=0", "-K", "SUB_GID_COUNT=0"]


class AccountError(Exception):
    """The accounts cannot be as wanted; the message names both sides of the clash."""


class Step(NamedTuple):
    """One command, the change it makes, and what the ledger must know before it."""

    change: dict[str, str]
    argv: list[str]
    kind: str
    name: str
    before: Any


class Host:
    """Accounts and groups as the host's name service tells them, directories included."""

    def account(self, name):
        """The entry called ``name``, or None."""
        return _found(pwd.getpwnam, name)

    def account_of(self, uid):
        """The entry with this uid, or None."""
        return _found(pwd.getpwuid, uid)

    def group(self, name):
        """The group called ``name``, or None."""
        return _found(grp.getgrnam, name)

    def group_of(self, gid):
        """The group with this gid, or None."""
        return _found(grp.getgrgid, gid)

    def accounts(self):
        """All entries that the name service lists."""
        return pwd.getpwall()

    def exists(self, path):
        """Whether anything is at ``path``."""
        return os.path.lexists(path)

    def is_local(self, name, path="/etc/passwd"):
        """Whether the entry is in the host's own file, where usermod can change it."""
        with open(path, encoding="utf-8", errors="replace") as stream:
            return any(line.startswith(name + ":") for line in stream)


def _found(look_up, key):
    try:
        return look_up(key)
    except KeyError:
        return None


def plan_present(groups, accounts, host):
    """Steps that make ``groups`` and ``accounts`` (as in the module's arguments) so.

    Raises AccountError for every clash, before anything is done.
    """
    groups = _with_own_groups(groups, accounts, host)
    steps = []
    for group in groups:
        steps += _plan_group(group, groups, host)
    coming = {group["name"] for group in groups}
    for account in accounts:
        steps += _plan_account(account, accounts, coming, host)
    return steps


def _with_own_groups(groups, accounts, host):
    """An account to be made without a group gets one of its own name."""
    listed = {group["name"] for group in groups}
    own = []
    for account in accounts:
        name = account["name"]
        needs_own = not account.get("group") and host.account(name) is None
        if needs_own and name not in listed and host.group(name) is None:
            own.append({"name": name, "gid": None, "system": account.get("system")})
    return [*groups, *own]


def _plan_group(group, groups, host):
    name, gid = group["name"], group.get("gid")
    found = host.group(name)
    if found is not None:
        if gid is not None and found.gr_gid != gid:
            raise AccountError(
                "Group %s has the gid %d on this host, %d is wanted. A gid is never changed "
                "under the files that carry it: set the variable to %d, or change the group and "
                "its files by hand." % (name, found.gr_gid, gid, found.gr_gid)
            )
        return []
    if gid is not None:
        holder = host.group_of(gid)
        rival = next((g for g in groups if g.get("gid") == gid and g["name"] != name), None)
        if holder is not None or rival is not None:
            raise AccountError(
                "Group %s wants the gid %d, which group %s has. Choose another gid."
                % (name, gid, holder.gr_name if holder is not None else rival["name"])
            )
    argv = ["groupadd", *(["-r"] if group.get("system") else [])]
    argv += ["-g", str(gid)] if gid is not None else []
    detail = "" if gid is None else "gid %d" % gid
    entry = change("group", name, "create", detail)
    return [Step(entry, [*argv, name], "group", name, {"exists": False})]


def _plan_account(account, accounts, coming, host):
    name = account["name"]
    for group in [account.get("group"), *(account.get("groups") or [])]:
        if group and group not in coming and host.group(group) is None:
            raise AccountError(
                "Account %s wants the group %s, which is not on this host. List it under "
                "'groups', or correct its name." % (name, group)
            )
    found = host.account(name)
    if found is not None:
        return _plan_change(account, found, host)
    _refuse_uid_clash(account, accounts, host)
    return [_plan_creation(account, host)]


def _refuse_uid_clash(account, accounts, host):
    name, uid = account["name"], account.get("uid")
    if uid is None:
        return
    holder = host.account_of(uid)
    rival = next((a for a in accounts if a.get("uid") == uid and a["name"] != name), None)
    if holder is not None or rival is not None:
        raise AccountError(
            "Account %s wants the uid %d, which account %s has. Choose another uid."
            % (name, uid, holder.pw_name if holder is not None else rival["name"])
        )


def _plan_creation(account, host):
    name, uid, home = account["name"], account.get("uid"), account.get("home")
    before = {"exists": False}
    if account.get("create_home") and not host.exists(home or "/home/" + name):
        before["home"] = home or "/home/" + name
    # Services run no containers: the subordinate ids of useradd's own choice could only collide
    # with those that a directory service gave to people, or that an admin has given away.
    argv = ["useradd", *(["-r"] if account.get("system") else _NO_SUBORDINATE_IDS)]
    argv += ["-u", str(uid)] if uid is not None else []
    argv += ["-g", account.get("group") or name]
    argv += ["-G", ",".join(account["groups"])] if account.get("groups") else []
    argv += ["-d", home] if home else []
    argv += ["-s", account["shell"]] if account.get("shell") else []
    argv += ["-c", account["comment"]] if account.get("comment") else []
    argv += ["-m" if account.get("create_home") else "-M", name]
    detail = "" if uid is None else "uid %d" % uid
    entry = change("account", name, "create", detail)
    return Step(entry, argv, "account", name, before)


def _plan_change(account, found, host):
    name, uid = account["name"], account.get("uid")
    if uid is not None and found.pw_uid != uid:
        raise AccountError(
            "Account %s has the uid %d on this host, %d is wanted. A uid is never changed under "
            "the files that carry it: set the variable to %d, or change the account and its "
            "files by hand." % (name, found.pw_uid, uid, found.pw_uid)
        )
    primary = host.group_of(found.pw_gid)
    is_now = {
        "group": primary.gr_name if primary is not None else str(found.pw_gid),
        "home": found.pw_dir,
        "shell": found.pw_shell,
        "comment": found.pw_gecos,
    }
    wanted = {key: account[key] for key in is_now if account.get(key)}
    before = {key: is_now[key] for key in wanted if wanted[key] != is_now[key]}
    joins = [g for g in account.get("groups") or [] if not _is_member(found, g, host)]
    if not before and not joins:
        return []
    if not host.is_local(name):
        raise AccountError(
            "Account %s comes from a directory service, and its %s is not as wanted. Change it "
            "there, or set the variable to what the directory says."
            % (name, ", ".join([*before, *(["groups"] if joins else [])]))
        )
    changed = {key: wanted[key] for key in before}
    argv = usermod(name, changed, joins)
    detail = ["%s %s, was %s" % (k, changed[k], before[k] or "empty") for k in before]
    detail += ["joins %s" % group for group in joins]
    if joins:
        before["joined"] = joins
    entry = change("account", name, "change", "; ".join(detail))
    return [Step(entry, argv, "account", name, before)]


def _is_member(found, group, host):
    entry = host.group(group)
    return entry is not None and (found.pw_name in entry.gr_mem or entry.gr_gid == found.pw_gid)


_OPTIONS = (("group", "-g"), ("home", "-d"), ("shell", "-s"), ("comment", "-c"))


def usermod(name, values, joins=()):
    """The command that gives an account ``values`` and lets it join groups."""
    argv = ["usermod"]
    for key, option in _OPTIONS:
        if key in values:
            argv += [option, values[key]]
    if joins:
        argv += ["-a", "-G", ",".join(joins)]
    return [*argv, name]


def plan_restored(name, before, host):
    """(commands, change) that give a found account its before-values back, or None."""
    found = host.account(name)
    if found is None or not host.is_local(name):
        return None
    primary = host.group_of(found.pw_gid)
    is_now = {
        "group": primary.gr_name if primary is not None else "",
        "home": found.pw_dir,
        "shell": found.pw_shell,
        "comment": found.pw_gecos,
    }
    values = {key: before[key] for key in is_now if key in before and before[key] != is_now[key]}
    if "group" in values and host.group(values["group"]) is None:
        del values["group"]
    leaves = []
    for group in before.get("joined", []):
        entry = host.group(group)
        if entry is not None and name in entry.gr_mem:
            leaves.append(group)
    commands = [usermod(name, values)] if values else []
    commands += [["gpasswd", "-d", name, group] for group in leaves]
    if not commands:
        return None
    detail = ["%s %s" % (key, values[key] or "empty") for key in values]
    detail += ["leaves %s" % group for group in leaves]
    return commands, change("account", name, "change", "; ".join(detail))


def plan_removed(name, groups_going, host):
    """Commands that remove an account of ours; its group goes only if in ``groups_going``."""
    commands = []
    found, own = host.account(name), host.group(name)
    if own is not None and found.pw_gid == own.gr_gid and name not in groups_going:
        # userdel would take a group of the same name along, whoever made it.
        other = next(g for g in map(host.group, ("nogroup", "nobody")) if g is not None)
        commands.append(["usermod", "-g", str(other.gr_gid), name])
    return [*commands, ["userdel", name]]


def only_skeleton(home, skeleton="/etc/skel"):
    """Whether ``home`` holds nothing but what useradd copied there."""
    for directory, directories, files in os.walk(home):
        relative = os.path.relpath(directory, home)
        for name in directories + files:
            path = os.path.join(directory, name)
            origin = os.path.join(skeleton, relative, name)
            if os.path.islink(path) or os.path.islink(origin):
                if not (os.path.islink(path) and os.path.islink(origin)):
                    return False
                if os.readlink(path) != os.readlink(origin):
                    return False
            elif os.path.isdir(path):
                if not os.path.isdir(origin):
                    return False
            elif not (os.path.isfile(origin) and filecmp.cmp(path, origin, shallow=False)):
                return False
    return True
