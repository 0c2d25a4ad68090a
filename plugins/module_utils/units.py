# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""What must be done to have a set of systemd units: read, decided and awaited here.

Runs on Python 3.9 and later.
"""

from __future__ import annotations

import time

from ansible_collections.cloudlet.deploy.plugins.module_utils import user_manager
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import change, tail

#: What the decision, the error messages and readings need of ``systemctl show``.
PROPERTIES = (
    "ActiveState", "SubState", "UnitFileState", "InvocationID", "NeedDaemonReload", "LoadState",
    "CanReload", "Type", "Result", "ExecMainStatus", "MainPID", "ControlGroup",
)  # fmt: skip
#: Enablement that ``systemctl enable`` and ``disable`` do not change: others pull the unit in.
_FIXED = ("static", "indirect", "generated", "transient")
_UP = ("active", "reloading", "refreshing")
_JOURNAL_LINES = 10


class UnitError(Exception):
    """A unit cannot be, or does not become, as wanted; the message says what systemd says."""


class Unit:
    """One unit as ``systemctl show`` tells it; without properties: one that is not there."""

    def __init__(self, name, properties=None):
        self.name = name
        self.properties = properties or {"LoadState": "not-found", "ActiveState": "inactive"}

    def __getitem__(self, key):
        return self.properties.get(key, "")

    @property
    def exists(self):
        return self["LoadState"] != "not-found"

    @property
    def masked(self):
        return self["LoadState"] == "masked" or self["UnitFileState"].startswith("masked")

    @property
    def enabled(self):
        """True or False; None where it cannot be changed."""
        if self["UnitFileState"] in _FIXED:
            return None
        return self["UnitFileState"] in ("enabled", "alias")

    @property
    def active(self):
        return self["ActiveState"] in _UP

    @property
    def coming(self):
        """A start is under way. One that waits to try again after a crash is not up."""
        return self["ActiveState"] == "activating" and self["SubState"] != "auto-restart"

    @property
    def restless(self):
        """Neither up nor down: if it does not succeed it may try again, and again, by itself."""
        return self["ActiveState"] in ("activating", "deactivating")

    @property
    def done(self):
        """A oneshot that has run and keeps nothing running."""
        ended = self["ActiveState"] == "inactive" and self["Result"] == "success"
        return self["Type"] == "oneshot" and ended and bool(self["InvocationID"])


class Systemd:
    """The systemd of this host and those of its accounts, through ``systemctl``.

    A name may be one of an account's manager (see ``user_manager``); there is one call for each
    manager, however many names.
    """

    def __init__(self, run, sleep=time.sleep, clock=time.monotonic):
        self._run = run
        self._sleep = sleep
        self._clock = clock

    def show(self, names):
        """{name: Unit}. Raises UnitError where systemd does not answer."""
        found = {}
        for account, called in _by_account(names).items():
            found.update(self._show(account, called))
        return {name: found[name] for name in names}

    def _show(self, account, called):
        """Units of one manager; ``called``: {name: what it calls it}."""
        begin = user_manager.command(account)
        if begin is None:
            return {name: Unit(name) for name in called}
        argv = ["show", "--property=" + ",".join(PROPERTIES), "--", *called.values()]
        result = self._run([*begin, *argv])
        if result.rc and user_manager.is_deaf(account, result.err):
            return {name: Unit(name) for name in called}
        blocks = result.out.strip("\n").split("\n\n") if result.out.strip() else []
        if result.rc or len(blocks) != len(called):
            raise UnitError(
                "systemd does not tell the state of %s: %s. Is it the init of this host?"
                % (", ".join(called), tail(result))
            )
        pairs = [dict(line.split("=", 1) for line in b.splitlines() if "=" in line) for b in blocks]
        return {name: Unit(name, pairs[i]) for i, name in enumerate(called)}

    def daemon_reload(self, names):
        """Make those read their unit files again that have, or are to have, these units."""
        for account in _by_account(names):
            self._checked(account, "daemon-reload")

    def enable(self, names, on=True):
        """Enable, or disable, in one call for each manager."""
        for account, called in _by_account(names).items():
            verb = "enable" if on else "disable"
            self._checked(account, verb, "--quiet", *called.values())

    def _checked(self, account, *arguments):
        result = self._run([*self._begin(account), *arguments])
        if result.rc:
            told = " ".join(["systemctl", *(["--user"] if account else []), *arguments])
            whose = " of the account %s" % account if account else ""
            raise UnitError("'%s'%s failed: %s" % (told, whose, tail(result)))

    def _begin(self, account):
        try:
            return user_manager.awaken(account, self._run)
        except user_manager.ManagerError as exc:
            raise UnitError(str(exc)) from exc

    def act(self, verb, unit, timeout):
        """Start, stop, restart or reload; waits for systemd's own verdict."""
        ((account, called),) = _by_account([unit.name]).items()
        name, begin = called[unit.name], self._begin(account)
        if unit["ActiveState"] == "failed":
            # A unit that hit its start limit would refuse.
            self._run([*begin, "reset-failed", name])
        if verb == "start" and unit.restless:
            # A start would join the try that is under way, by what was read before it was changed,
            # or the end of one, and fail with it.
            verb = "restart"
        result = self._run([*begin, verb, name], timeout=timeout)
        if result.rc:
            raise UnitError(self._story("%s did not %s" % (unit.name, verb), unit.name, result))

    def await_up(self, names, timeout, settle):
        """Wait until all are active and have stayed so for ``settle`` seconds."""
        deadline = self._clock() + timeout
        steady_since, before = self._clock(), None
        while True:
            units = self.show(names)
            now = {name: unit["InvocationID"] for name, unit in units.items()}
            down = [n for n, u in units.items() if not (u.active or u.coming or u.done)]
            if down:
                # One that is bound to another, and was stopped with it, has nothing to tell.
                down.sort(key=lambda name: units[name]["Result"] in ("success", ""))
                raise UnitError(self._story("%s did not stay up" % down[0], down[0]))
            up = all(unit.active or unit.done for unit in units.values())
            if not up or now != before:
                steady_since = self._clock()
            before = now
            if up and self._clock() - steady_since >= settle:
                return
            if self._clock() > deadline + settle:
                late = next(n for n, u in units.items() if not (u.active or u.done))
                raise UnitError(self._story("%s is not up after %d s" % (late, timeout), late))
            self._sleep(0.25)

    def _story(self, headline, name, result=None):
        unit = self.show([name])[name]
        which = user_manager.journal(name)
        said = self._run(
            ["journalctl", *which, "-n", str(_JOURNAL_LINES), "--no-pager", "-o", "cat"]
        ).out.splitlines()[-_JOURNAL_LINES:]
        state = "%s (%s), result %s, exit status %s" % (
            unit["ActiveState"] or "unknown",
            unit["SubState"] or "-",
            unit["Result"] or "-",
            unit["ExecMainStatus"] or "-",
        )
        lines = said or [tail(result) if result else "none"]
        return "%s: it is %s. Its last journal lines:\n  %s\nMore: 'journalctl %s' on the host." % (
            headline,
            state,
            "\n  ".join(lines),
            " ".join(which),
        )


def _by_account(names):
    try:
        return user_manager.by_account(names)
    except user_manager.ManagerError as exc:
        raise UnitError(str(exc)) from exc


def plan_unit(wanted, unit, restart=False, reload=False):
    """Actions, in order, that make ``unit`` as ``wanted`` ({"enabled", "state"}, None: any).

    ``restart``, ``reload``: it runs with the configuration that was there before. A unit that
    is not there yet is planned as it will be: disabled and stopped.
    """
    actions = []
    if wanted.get("enabled") is not None and unit.enabled not in (None, wanted["enabled"]):
        actions.append("enable" if wanted["enabled"] else "disable")
    up = unit.active or unit.coming
    if wanted.get("state") == "stopped":
        return [*actions, "stop"] if unit.active or unit.restless else actions
    if wanted.get("state") == "started" and not up:
        return [*actions, "start"]
    if up and restart:
        return [*actions, "restart"]
    if up and reload:
        return [*actions, "restart" if unit["CanReload"] == "no" else "reload"]
    return actions


def refuse_impossible(wanted, unit, check):
    """Raise UnitError for what no command can do. In check mode a unit may still come."""
    needed = wanted.get("enabled") or wanted.get("state") == "started"
    if needed and unit.masked:
        raise UnitError(
            "%s is masked on this host: somebody decided that it must not run. "
            "'systemctl unmask %s' undoes that." % (unit.name, unit.name)
        )
    if check or not needed:
        return
    if not unit.exists:
        raise UnitError(
            "There is no unit file for %s on this host. Does its package, or its config set, "
            "come before this task?" % unit.name
        )
    if unit["LoadState"] not in ("loaded", ""):
        raise UnitError(
            "The unit file of %s cannot be used (%s). 'systemd-analyze verify %s' on the host "
            "tells why." % (unit.name, unit["LoadState"], unit.name)
        )


def plan_restored(before, unit):
    """Actions that give a unit its before-values ({"enabled", "active"}) back."""
    wanted = {
        "enabled": before.get("enabled"),
        "state": "started" if before.get("active") else "stopped",
    }
    if not unit.exists and not unit.active:
        return []
    # Stopped before it is disabled: a unit never runs that nobody would start again.
    actions = plan_unit(wanted, unit)
    return sorted(actions, key=lambda action: action not in ("stop", "enable"))


def changes_of(plans):
    """The ``changes`` for {name: actions}."""
    return [change("unit", name, action) for name, actions in plans.items() for action in actions]
