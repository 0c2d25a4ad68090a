# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Whose systemd has a unit, and how that one is spoken to.

A unit of the host has its plain name; ``~ACCOUNT/NAME.service`` is one of the account's own
manager (``user@UID.service``), which lingers. Nothing else knows of the difference.

The way there is setpriv(1), which is part of util-linux: ``systemctl --machine=ACCOUNT@`` wants
systemd-container, and a session of PAM for each question would fill the journal.

Runs on Python 3.9 and later.
"""

from __future__ import annotations

import os
import pwd
import re

from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import tail

#: The host's own manager.
SYSTEM = ""
RUNTIME = "/run/user"
#: One file for each account whose manager runs without a login.
LINGER = "/var/lib/systemd/linger"
#: Seconds that a manager may take to come up; it may start units of its own.
PATIENCE = 120
_NAME = re.compile(r"~([A-Za-z0-9_][A-Za-z0-9_.-]*)/([^/]+)\Z")
#: How systemctl says that nobody listens behind a socket that was left behind.
_DEAF = "Failed to connect to"


class ManagerError(Exception):
    """A manager that is needed does not run; the message says what to do."""


def split(name):
    """(account, unit); the account is SYSTEM for a unit of the host. Raises ManagerError."""
    if name.startswith("~") or "/" in name:
        match = _NAME.match(name)
        if not match:
            raise ManagerError(
                "%s is no name of a unit: write NAME.service, or ~ACCOUNT/NAME.service for a unit "
                "of an account's own systemd." % name
            )
        return match.group(1), match.group(2)
    return SYSTEM, name


def by_account(names):
    """{account: {name: what its manager calls it}}, in the order of ``names``."""
    found = {}
    for name in names:
        account, unit = split(name)
        found.setdefault(account, {})[name] = unit
    return found


def command(account, program="systemctl"):
    """The beginning of a ``systemctl`` command for the manager of ``account``.

    None where there is none that runs, or no such account (yet): its units are not there then.
    """
    if account == SYSTEM:
        return [program]
    entry = entry_of(account)
    if not entry or not os.path.exists(os.path.join(_runtime(entry), "systemd", "private")):
        return None
    return [*as_account(entry), program, "--user"]


def entry_of(account):
    """What ``pwd`` says of the account; None if there is none."""
    try:
        return pwd.getpwnam(account)
    except KeyError:
        return None


def as_account(entry):
    """The beginning of a command that is run as the account ``entry`` (of ``pwd``).

    Who became root left an environment that would lead to another manager, or other files.
    """
    return [
        "setpriv",
        "--reuid=%d" % entry.pw_uid,
        "--regid=%d" % entry.pw_gid,
        "--init-groups",
        "env",
        "--chdir=/",
        "--unset=DBUS_SESSION_BUS_ADDRESS",
        "--unset=XDG_CONFIG_HOME",
        "--unset=XDG_DATA_HOME",
        "HOME=" + entry.pw_dir,
        "USER=" + entry.pw_name,
        "LOGNAME=" + entry.pw_name,
        "XDG_RUNTIME_DIR=" + _runtime(entry),
    ]


def _runtime(entry):
    return os.path.join(RUNTIME, str(entry.pw_uid))


def is_deaf(account, complaint):
    """Whether ``systemctl`` failed because the manager of ``account`` has ended."""
    return account != SYSTEM and _DEAF in complaint


def awaken(account, run):
    """The beginning of a command as ``command`` has it, of a manager that must run.

    Starts that of an account that lingers: just after that was allowed it may not be up yet.
    Raises ManagerError where it cannot run.
    """
    found = command(account)
    if found:
        return found
    try:
        uid = pwd.getpwnam(account).pw_uid
    except KeyError:
        raise ManagerError(
            "There is no account %s on this host, so nothing of its own can be started. Is it made "
            "before this task?" % account
        ) from None
    if not os.path.exists(os.path.join(LINGER, account)):
        raise ManagerError(
            "The systemd of the account %s does not run, and no boot would start it. "
            "'loginctl enable-linger %s' on the host makes it run." % (account, account)
        )
    unit = "user@%d.service" % uid
    done = run(["systemctl", "start", unit], timeout=PATIENCE)
    found = command(account)
    if done.rc or not found:
        raise ManagerError(
            "The systemd of the account %s does not start: %s. See why: 'journalctl -u %s' on the "
            "host." % (account, tail(done), unit)
        )
    return found


def journal(name):
    """What ``journalctl`` is told to show the lines of a unit, its manager's remarks included."""
    account, unit = split(name)
    if account == SYSTEM:
        return ["-u", unit]
    try:
        uid = pwd.getpwnam(account).pw_uid
    except KeyError:
        return ["_SYSTEMD_USER_UNIT=" + unit]
    # --user-unit would mean root's own; and the account need not be allowed to read its lines.
    mine = "_UID=%d" % uid
    return [mine, "_SYSTEMD_USER_UNIT=" + unit, "+", mine, "USER_UNIT=" + unit]
