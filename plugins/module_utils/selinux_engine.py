# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""The local changes to the policy that components want of one host, and their way back.

Python 3.9 and later.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from ansible_collections.cloudlet.deploy.plugins.module_utils import (
    selinux_relabel,
    selinux_wanted,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import change
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import (
    STATE_DIR,
    Ledger,
    StateError,
    locked,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.selinux_policy import (
    BOOLEAN,
    CONTEXT,
    DISABLED,
    EQUIVALENT,
    KINDS,
    LABEL,
    LOGIN,
    MODULE,
    PORT,
    Policy,
    Refused,
)

#: What is given back, where the same is not wanted once more.
_SET, _RESTORE = "set", "restore"


class Order(NamedTuple):
    """One thing that is to get another value."""

    kind: str
    name: str
    action: str
    now: object
    value: object

    def told(self):
        """As an entry of ``changes``."""
        kind = CONTEXT if self.kind == EQUIVALENT else self.kind
        if self.kind == BOOLEAN and self.now["live"] == self.value["live"]:
            detail = "in the store: %s -> %s" % tuple(
                {True: "on", False: "off", None: "not set"}[one["kept"]]
                for one in (self.now, self.value)
            )
        else:
            detail = "%s -> %s" % (_words(self.kind, self.now), _words(self.kind, self.value))
        return change(kind, self.name, self.action, detail)


class Relabeling(NamedTuple):
    """A directory, and the files in it that are to get another label."""

    path: str
    action: str
    labels: list

    def told(self):
        first = self.labels[0]
        types = [label.split(":")[2] for label in (first.now, first.wanted)]
        count = len(self.labels)
        detail = "%d %s, %s -> %s" % (count, "path" if count == 1 else "paths", *types)
        return change(LABEL, self.path, self.action, detail)


class Engine:
    """SELinux for one component, or with None for all."""

    def __init__(self, component, state_dir=STATE_DIR, root="/", check=False):
        self.component = component
        self.state_dir = state_dir
        self.policy = Policy(root)
        self.check = check

    def present(self, asked, accept=()):
        """Have exactly what is ``asked``, as the module's options; its result. Raises Refused."""
        selinux_wanted.refuse_mode(self.policy, accept)
        if self.policy.mode == DISABLED:
            said = "SELinux is disabled, as the inventory accepts: nothing is set."
            return self._result([], [], [said])
        ours = self._ledger().last(PORT, self.component)
        wanted = selinux_wanted.Check(self.policy, self.check, ours).wanted(asked)
        return self._have(wanted)

    def absent(self):
        """Give everything back; the module's result. Raises Refused."""
        return self._have(selinux_wanted.Wanted({}, [], []))

    def _result(self, orders, relabelings, warnings):
        changes = [one.told() for one in (*orders, *relabelings)]
        return {
            "changed": bool(changes),
            "changes": changes,
            "mode": self.policy.mode,
            "warnings": warnings,
        }

    def _have(self, wanted):
        ledger = self._ledger()
        self._refuse_others(ledger, wanted)
        orders = self._orders(ledger, wanted)
        warnings = list(wanted.doubts)
        relabelings = self._relabelings(ledger, wanted, orders, warnings)
        if not self.check and (orders or relabelings or self._unrecorded(ledger, wanted)):
            with locked(self.state_dir):
                # Another module may have been at work since.
                ledger = self._ledger()
                orders = self._orders(ledger, wanted)
                relabelings = self._carry_out(ledger, orders, wanted, relabelings)
        return self._result(orders, relabelings, warnings)

    def _ledger(self):
        ledger = Ledger(self.state_dir)
        for kind in (*KINDS, LABEL):
            for name, entry in ledger.owned(kind, None).items():
                whole = isinstance(name, str) and name
                if kind == BOOLEAN:
                    whole = whole and isinstance(entry, dict) and {"live", "kept"} == set(entry)
                else:
                    whole = whole and (entry is None or isinstance(entry, str))
                if not whole:
                    raise StateError(
                        "%s: the entry %s:%s is not as it was written: it was damaged or edited"
                        % (ledger.path, kind, name)
                    )
        return ledger

    # --- what is to be done -----------------------------------------------------------------

    def _refuse_others(self, ledger, wanted):
        """Raises Refused for what another component, or a hand, has made otherwise."""
        faults = []
        for (kind, name), value in wanted.values.items():
            entry = ledger.entries.get("%s:%s" % (kind, name))
            if entry is None:
                now = self.policy.now(kind, name) if kind == PORT else None
                if now not in (None, value):
                    faults.append(
                        "port %s: wanted %s, and the host has a local setting already, %s"
                        % (name, _words(kind, value), _words(kind, now))
                    )
                continue
            others = [owner for owner in entry["owners"] if owner != self.component]
            if others and entry.get("note", value) != value:
                faults.append(
                    "%s %s: wanted %s, but %s by %s"
                    % (
                        kind,
                        name,
                        _words(kind, value),
                        _words(kind, entry["note"]),
                        " and ".join(others),
                    )
                )
        if faults:
            raise Refused("; ".join(faults), "Have one of both give way.")

    def _orders(self, ledger, wanted):
        orders = []
        for kind in KINDS:
            asked = {name: value for (k, name), value in wanted.values.items() if k == kind}
            for name, value in sorted(asked.items()):
                orders.append(Order(kind, name, _SET, self.policy.now(kind, name), value))
            for name, before in ledger.last(kind, self.component).items():
                if name not in asked:
                    now = self.policy.now(kind, name)
                    orders.append(
                        Order(kind, name, _RESTORE, now, self._possible(kind, before, now))
                    )
        return [order for order in orders if order.now != order.value]

    @staticmethod
    def _possible(kind, before, now):
        # Where the kernel has no policy loaded, or not that boolean any more, it has no value.
        if kind == BOOLEAN and now["live"] is None:
            return dict(before, live=None)
        return before

    def _relabelings(self, ledger, wanted, orders, warnings):
        rules = _by_kind(orders)
        found = []
        for path, action in self._directories(ledger, wanted):
            reset = action == _RESTORE
            try:
                if reset:
                    selinux_relabel.refuse(path, self.policy.root)
                labels = selinux_relabel.plan(
                    self.policy, path, rules[CONTEXT], rules[EQUIVALENT], reset
                )
                selinux_relabel.refuse_certificates(path, labels)
            except Refused as exc:
                if not reset:
                    raise
                # It must not keep a destroy from its end.
                warnings.append("%s; it keeps its labels" % exc)
                continue
            if labels:
                found.append(Relabeling(path, action, labels))
        return found

    def _directories(self, ledger, wanted):
        """The directories to label, and those to give their former labels."""
        going = [p for p in ledger.last(LABEL, self.component) if p not in wanted.relabel]
        if not self.policy.live:
            return []
        return [(path, _SET) for path in wanted.relabel] + [(path, _RESTORE) for path in going]

    def _unrecorded(self, ledger, wanted):
        """Whether the ledger is to know of more, or of less, than it does."""
        keys = {(LABEL, path): None for path in wanted.relabel}
        keys.update(wanted.values)
        for kind in (*KINDS, LABEL):
            owned = ledger.owned(kind, self.component)
            asked = {name: value for (k, name), value in keys.items() if k == kind}
            notes = ledger.notes(kind)
            if {name: notes.get(name) for name in owned} != asked:
                return True
        return False

    # --- doing it ---------------------------------------------------------------------------

    def _carry_out(self, ledger, orders, wanted, relabelings):
        """What was labeled. Raises Refused."""
        for (kind, name), value in wanted.values.items():
            ledger.record(kind, name, self.policy.now(kind, name), self.component)
            ledger.note(kind, name, value)
        for path in wanted.relabel:
            ledger.record(LABEL, path, None, self.component)
            ledger.note(LABEL, path, None)
        ledger.save()
        self._change(orders)
        labeled = []
        for one in relabelings:
            try:
                labels = selinux_relabel.apply(self.policy, one.path, one.action == _RESTORE)
            except Refused as exc:
                told = [order.told() for order in (*orders, *labeled)]
                raise Refused(str(exc), exc.next_step, told) from exc
            if labels:
                labeled.append(one._replace(labels=labels))
        keys = {*wanted.values, *((LABEL, path) for path in wanted.relabel)}
        for kind in (*KINDS, LABEL):
            for name in ledger.owned(kind, self.component):
                if (kind, name) not in keys:
                    ledger.release(kind, name, self.component)
        ledger.save()
        return labeled

    def _change(self, orders):
        rules = _by_kind(orders)
        # What is wrong in the kernel only needs no transaction.
        kept = {
            order.name: order.value["kept"]
            for order in orders
            if order.kind == BOOLEAN and order.now["kept"] != order.value["kept"]
        }
        store = {kind: rules[kind] for kind in (MODULE, CONTEXT, PORT, LOGIN)}
        store[BOOLEAN] = kept
        if any(store.values()):
            self.policy.commit({kind: values for kind, values in store.items() if values})
        # A new policy keeps the kernel's booleans, and a module may have brought new ones.
        self.policy.set_live(
            {
                name: value["live"]
                for name, value in rules[BOOLEAN].items()
                if value["live"] not in (None, self.policy.boolean(name))
            }
        )
        self.policy.set_equivalents(rules[EQUIVALENT])


def _by_kind(orders):
    rules = {kind: {} for kind in KINDS}
    for order in orders:
        rules[order.kind][order.name] = order.value
    return rules


def _words(kind, value):
    if kind == BOOLEAN:
        return {True: "on", False: "off", None: "unknown"}[value["live"]]
    if value is None:
        return "none"
    if kind == MODULE:
        return hashlib.sha256(value.encode("utf-8")).hexdigest()[:12]
    if kind == LOGIN:
        return value
    return "like " + value if kind == EQUIVALENT else value.split(":")[2]
