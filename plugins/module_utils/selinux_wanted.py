# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""What a component wants of SELinux, checked against the host before anything is changed.

Python 3.9 and later.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ansible_collections.cloudlet.deploy.plugins.module_utils import selinux_relabel
from ansible_collections.cloudlet.deploy.plugins.module_utils.selinux_policy import (
    BOOLEAN,
    CONTEXT,
    DISABLED,
    ENFORCING,
    EQUIVALENT,
    LOGIN,
    MODULE,
    PORT,
    Refused,
)

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_PORT = re.compile(r"(\d+)(?:-(\d+))?")
_LEVELS = re.compile(r"s\d+(:c[\d.,c]+)?(-s\d+(:c[\d.,c]+)?)?")
#: What is not structure in CIL: strings and comments.
_FLAT = re.compile(r'"[^"]*"|;[^\n]*')
_CORRECT = "Correct it in the inventory."


class Wanted(NamedTuple):
    """What is to be, by (kind, name); what is to be labeled; what cannot be told yet."""

    values: dict
    relabel: list
    doubts: list


class Check:
    """Turns what is asked for into values, and collects what cannot be had."""

    def __init__(self, policy, planning, ours=()):
        self.policy = policy
        # A plan is made before packages bring what it may speak of.
        self.planning = planning
        # Ports of the component alone: they make room for what it wants now.
        self.ours = ours
        self.values, self.faults, self.doubts = {}, [], []
        self.defined = set()

    def wanted(self, asked):
        """``asked`` as the module's options; raises Refused with all faults at once."""
        self._modules(asked.get("modules") or ())
        for name, value in sorted((asked.get("booleans") or {}).items()):
            self._boolean(name, value)
        for one in asked.get("equivalents") or ():
            self._equivalent(one["path"], one["like"])
        for one in asked.get("contexts") or ():
            self._context(one["path"], one["type"])
        for one in asked.get("ports") or ():
            self._port(str(one["port"]), one["protocol"], one["type"])
        for one in asked.get("logins") or ():
            self._login(one["account"], one["user"], one["levels"])
        relabel = sorted(set(asked.get("relabel") or ()))
        for path in relabel:
            try:
                selinux_relabel.refuse(path, self.policy.root)
            except Refused as exc:
                self._fault(str(exc), exc.next_step)
        if self.faults:
            steps = list(dict.fromkeys(step for _fault, step in self.faults))
            raise Refused("; ".join(fault for fault, _step in self.faults), " ".join(steps))
        return Wanted(self.values, relabel, self.doubts)

    def _fault(self, message, step=_CORRECT):
        self.faults.append((message, step))

    def _unknown(self, kind, name, where):
        """What the host does not know is a slip, or comes with a package yet."""
        likely = self.policy.likely(kind, name)
        word = "boolean" if kind == BOOLEAN else "type"
        message = "%s: the host's policy has no %s %s" % (where, word, name)
        if likely:
            self._fault("%s; did you mean %s?" % (message, likely))
        elif self.planning:
            self.doubts.append(message + " yet; unless a package brings it, apply will fail")
        else:
            self._fault(message, "Correct it, or install the package that brings it.")

    def _modules(self, modules):
        for one in modules:
            name, text = one["name"], one["cil"].strip() + "\n"
            where = "policy module %s" % name
            if not _WORD.fullmatch(name):
                self._fault("%s: that is no name of a module" % where)
                continue
            flat = _FLAT.sub("", text)
            if flat.count("(") != flat.count(")") or "(" not in flat:
                self._fault("%s: its parentheses do not match" % where)
            hidden = self.policy.hides(name)
            if hidden:
                self._fault(
                    "%s: it would hide another one of that name (priority %s)"
                    % (where, ", ".join(hidden)),
                    "Give it a name that begins with cloudlet_.",
                )
            self.defined.update(re.findall(r"\(type\s+(\w+)\s*\)", flat))
            self.values[MODULE, name] = text

    def _boolean(self, name, value):
        if not isinstance(value, bool):
            self._fault("boolean %s: %r is neither true nor false" % (name, value))
        elif not _WORD.fullmatch(name) or self.policy.boolean(name) is None:
            self._unknown(BOOLEAN, name, "boolean %s" % name)
        self.values[BOOLEAN, name] = {"live": value, "kept": value}

    def _equivalent(self, path, like):
        where = "equivalent %s" % path
        for one in (path, like):
            if not re.fullmatch(r"/\S*[^/\s]", one):
                self._fault("%s: %r is no absolute path" % (where, one))
        given = self.policy.given().get(path)
        if given is not None and given != like:
            self._fault("%s: the policy itself has it like %s" % (where, given))
        self.values[EQUIVALENT, path] = like

    def _context(self, path, type_):
        where = "context %s" % path
        try:
            re.compile(path)
        except re.error as exc:
            self._fault("%s: it is no regular expression: %s" % (where, exc))
        stem = re.split(r"[\\^$.|?*+()\[{]", path)[0]
        if not path.startswith("/") or len(path.split()) != 1 or len(stem) < 2:
            self._fault("%s: it is no pattern of absolute paths" % where)
        for place, what in selinux_relabel.FORBIDDEN.items():
            # What is below /usr is labeled with its package, and may need a rule of its own.
            if place != "/usr" and selinux_relabel.within(stem.rstrip("/"), place):
                self._fault("%s: what is in %s (%s) keeps its labels" % (where, place, what))
        equivalents = {
            **self.policy.given(),
            **self.policy.found(EQUIVALENT),
            **{name: like for (kind, name), like in self.values.items() if kind == EQUIVALENT},
        }
        for alias, like in equivalents.items():
            if selinux_relabel.within(stem, alias) and like is not None:
                self._fault(
                    "%s: it would never be looked at, as %s is labeled like %s"
                    % (where, alias, like),
                    "Write it as %s." % (like + path[len(alias) :]),
                )
        self._type((CONTEXT, path), type_, where)

    def _port(self, port, protocol, type_):
        where = "port %s/%s" % (protocol, port)
        match = _PORT.fullmatch(port)
        first, last = (int(one or match.group(1)) for one in match.groups()) if match else (0, 0)
        if not 0 < first <= last < 65536:
            self._fault("%s: it is neither a port nor a range as 9000-9010" % where)
            return
        name = "%s/%d" % (protocol, first) + ("-%d" % last if last > first else "")
        for other, context in self.policy.found(PORT).items():
            theirs, _slash, numbers = other.partition("/")
            begin, _dash, end = numbers.partition("-")
            overlaps = int(begin) <= last and first <= int(end or begin)
            if theirs == protocol and overlaps and other not in (name, *self.ours):
                self._fault(
                    "%s: the host has a local setting for %s already (%s)"
                    % (where, other, context.split(":")[2]),
                    "Remove that one ('semanage port -d -p %s %s') if it is not wanted."
                    % (theirs, numbers),
                )
        self._type((PORT, name), type_, where)

    def _login(self, account, user, levels):
        if not _WORD.fullmatch(account) or not _WORD.fullmatch(user):
            self._fault("login %s: it, or the SELinux user %r, is no name" % (account, user))
        if not _LEVELS.fullmatch(levels):
            self._fault("login %s: %r is no level as s0 or s0-s0:c0.c1023" % (account, levels))
        self.values[LOGIN, account] = "%s:%s" % (user, levels)

    def _type(self, key, type_, where):
        if not _WORD.fullmatch(type_):
            self._fault("%s: %r is no type" % (where, type_))
            return
        if type_ not in self.defined and self.policy.live and not self.policy.knows(type_):
            self._unknown("type", type_, where)
        now = self.policy.now(*key)
        # A whole context that says the same is as good.
        same = now is not None and now.split(":")[2:3] == [type_]
        self.values[key] = now if same else self.policy.context(type_)


def refuse_mode(policy, accept):
    """Raises Refused where SELinux does not enforce, now and after a reboot, or need not."""
    if policy.mode == DISABLED in accept:
        return  # what the file says may be for another kernel
    found = {"now": policy.mode, "in /etc/selinux/config": policy.configured}
    wrong = {where: mode for where, mode in found.items() if mode not in {ENFORCING, *accept}}
    if not wrong:
        return
    told = " and ".join("%s %s" % (mode, where) for where, mode in wrong.items())
    mode = next(iter(wrong.values()))
    raise Refused(
        "SELinux is to be enforcing, and is %s" % told,
        "Enforce it ('setenforce 1' where it is permissive, SELINUX=enforcing in "
        "/etc/selinux/config, a reboot where it is disabled), or accept it by name: "
        "selinux_accept_mode: %s." % mode,
    )
