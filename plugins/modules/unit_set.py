#!/usr/bin/python
# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""All systemd units of a component on one host, in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: unit_set
short_description: Enable, start, restart and reload the units of a component
description:
  - Reads all units at once, makes systemd read changed unit files, enables and disables, then
    restarts or reloads those of O(units) that run with an older configuration, and starts or
    stops the rest.
  - What must restart is read from the manifests of all config sets on the host, so that a run
    that was killed before the restart is finished by the next one.
  - A unit that was started must be up and stay up; otherwise the task fails with its last
    journal lines.
  - O(state=absent) gives the units that this component enabled or started their former
    enablement and state back.
options:
  component:
    description: Whose units these are. With O(state=absent) it may be left out; then those of
      all components are meant.
    type: str
  state:
    description: Whether the component is there. V(activated) restarts or reloads whatever is
      pending on the host, whosever it is, and starts or enables nothing.
    type: str
    choices: [present, absent, activated]
    default: present
  units:
    description: The units. Only looked at when O(state=present).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description:
          - Name with its suffix, such as C(bestman2.service).
          - C(~ACCOUNT/NAME.service) is a unit of the account's own systemd, which must linger.
            Where it does not run, or there is no such account yet, its units are not there.
        type: str
        required: true
      enabled:
        description: Whether it starts at boot; left alone if not given, and for units whose
          enablement is static or generated.
        type: bool
      state:
        description: Whether it runs; left alone if not given.
        type: str
        choices: [started, stopped]
  pending:
    description: Units that must restart or reload, as P(cloudlet.deploy.config_set) returns
      them; in check mode they are what it predicts. For units that a config set on the host
      names, the manifests decide. Units that are not in O(units) are not touched.
    type: dict
    default: {}
    suboptions:
      restart:
        description: Names of units.
        type: list
        elements: str
        default: []
      reload:
        description: Names of units.
        type: list
        elements: str
        default: []
  start_timeout:
    description: Seconds for one unit to come up.
    type: int
    default: 90
  settle:
    description: Seconds that started units must stay up.
    type: float
    default: 2
  state_dir:
    description: Where the ledger and the manifests are.
    type: path
    default: /var/lib/cloudlet-deploy
attributes:
  check_mode:
    support: full
author: [The cloudlet-deploy founders]
"""

EXAMPLES = r"""
- name: Run the door
  cloudlet.deploy.unit_set:
    component: bestman
    units:
      - {name: bestman2.service, enabled: true, state: started}
    pending: "{{ ansible_facts['cloudlet_units_pending'] | default({}) }}"
"""

RETURN = r"""
changes:
  description: What was, or would be, done to which unit.
  type: list
  returned: always
"""

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils import (  # noqa: E402
    activation,
    units,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import run  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import (  # noqa: E402
    STATE_DIR,
    Ledger,
    StateError,
    locked,
)

KIND = "unit"
#: Actions that change what a reboot, or the admin, finds afterwards.
_LASTING = ("enable", "disable", "start", "stop")


def pending_on_host(ordered, state_dir, check):
    """{"restart": set, "reload": set} of unit names.

    Check mode adds what config sets predicted. For real their manifests know it better than
    the order, which does not see that another task has restarted the unit since.
    """
    found = activation.pending_units(state_dir)
    pending = {kind: set(found[kind]) for kind in activation.KINDS}
    documents = [] if check else activation.manifests(state_dir).values()
    for kind in activation.KINDS:
        known = {
            unit
            for document in documents
            for entry in document.get("files", {}).values()
            for unit in entry.get(kind, ())
        }
        pending[kind].update(set(ordered.get(kind) or ()) - known)
    return pending


class UnitSet:
    """The units of one component."""

    def __init__(self, systemd, component, state_dir, check=False):
        self.systemd = systemd
        self.component = component
        self.state_dir = state_dir
        self.check = check

    def present(self, wanted, pending, start_timeout, settle):
        """Make the units so; returns the module's result. ``wanted``: {name: its options}."""
        found, stale = self._read(wanted, pending)
        plans = {}
        for name, options in wanted.items():
            units.refuse_impossible(options, found[name], self.check)
            plans[name] = units.plan_unit(
                options,
                found[name],
                # A start that is under way goes by the unit file of before.
                name in pending["restart"] or (name in stale and found[name].coming),
                name in pending["reload"],
            )
        changes = units.changes_of(plans)
        result = {"changed": bool(changes), "changes": changes}
        if self.check:
            return result
        if self.component is not None:
            self._remember(found, plans)
        self._act(found, plans, start_timeout)
        started = [n for n, actions in plans.items() if {"start", "restart"} & set(actions)]
        coming = [n for n in plans if found[n].coming and wanted[n].get("state") == "started"]
        self._await(sorted({*started, *coming}), start_timeout, settle if started else 0)
        self._mark([n for n in plans if plans[n] and n in pending["reload"]])
        return result

    def activated(self, pending, start_timeout, settle):
        """Restart and reload what is pending; returns the module's result."""
        names = sorted(pending["restart"] | pending["reload"])
        return self.present(
            {name: {"name": name} for name in names}, pending, start_timeout, settle
        )

    def _read(self, wanted, pending):
        """The units, and the names of those whose files had changed since systemd read them."""
        try:
            found = self.systemd.show(list(wanted))
        except units.UnitError:
            if not self.check:
                raise
            return {name: units.Unit(name) for name in wanted}, set()
        stale = {n for n, unit in found.items() if unit["NeedDaemonReload"] == "yes"}
        concerned = set(wanted) & (pending["restart"] | pending["reload"])
        concerned |= stale
        concerned |= {n for n, options in wanted.items() if not found[n].exists and _up(options)}
        if concerned and not self.check:
            self.systemd.daemon_reload(sorted(concerned))
            found = self.systemd.show(list(wanted))
        return found, stale

    def _remember(self, found, plans):
        """Write before-values down; also that we need a unit which another component started."""
        entries = Ledger(self.state_dir).entries
        touched = {
            name
            for name, actions in plans.items()
            if set(actions) & set(_LASTING)
            or self.component not in entries.get("unit:" + name, {}).get("owners", [self.component])
        }
        if not touched:
            return
        with locked(self.state_dir):
            ledger = Ledger(self.state_dir)
            fresh = False
            for name in sorted(touched):
                before = {"enabled": found[name].enabled, "active": found[name].active}
                fresh = ledger.record(KIND, name, before, self.component) or fresh
            if fresh:
                ledger.save()

    def _act(self, found, plans, timeout):
        for action in ("enable", "disable"):
            names = [name for name, actions in plans.items() if action in actions]
            self.systemd.enable(names, on=action == "enable")
        for name, actions in plans.items():
            for action in actions:
                if action not in ("enable", "disable"):
                    self.systemd.act(action, found[name], timeout)

    def _await(self, names, timeout, settle):
        if names:
            self.systemd.await_up(names, timeout, settle)

    def _mark(self, names):
        if names:
            with locked(self.state_dir):
                for name in names:
                    activation.mark_reloaded(self.state_dir, name)

    def absent(self, start_timeout, settle):
        """Give back what this component enabled and started; returns the module's result."""
        ledger = Ledger(self.state_dir)
        owned = ledger.owned(KIND, self.component)
        last = ledger.last(KIND, self.component)
        found = self.systemd.show(list(last))
        plans = {name: units.plan_restored(before, found[name]) for name, before in last.items()}
        changes = units.changes_of(plans)
        if not self.check:
            for name, actions in plans.items():
                for action in actions:
                    if action in ("enable", "disable"):
                        self.systemd.enable([name], on=action == "enable")
                    else:
                        self.systemd.act(action, found[name], start_timeout)
            self._await([n for n in plans if "start" in plans[n]], start_timeout, settle)
            self._release(owned)
        return {"changed": bool(changes), "changes": changes}

    def _release(self, names):
        if names:
            with locked(self.state_dir):
                ledger = Ledger(self.state_dir)
                for name in names:
                    ledger.release(KIND, name, self.component)
                ledger.save()


def _up(options):
    return options.get("enabled") or options.get("state") == "started"


def wanted_units(entries):
    """{name: options}, in order. Raises UnitError for names that systemd would guess at."""
    for entry in entries:
        if "." not in entry["name"].rpartition("/")[2]:
            raise units.UnitError(
                "Unit %s has no suffix: write %s.service." % (entry["name"], entry["name"])
            )
    return {entry["name"]: entry for entry in entries}


def argument_spec():
    """The module's arguments; DOCUMENTATION says what they mean."""
    unit = {
        "name": {"type": "str", "required": True},
        "enabled": {"type": "bool"},
        "state": {"type": "str", "choices": ["started", "stopped"]},
    }
    names = {"type": "list", "elements": "str", "default": []}
    return {
        "component": {"type": "str"},
        "state": {
            "type": "str",
            "choices": ["present", "absent", "activated"],
            "default": "present",
        },
        "units": {"type": "list", "elements": "dict", "options": unit, "default": []},
        "pending": {"type": "dict", "options": {"restart": names, "reload": names}, "default": {}},
        "start_timeout": {"type": "int", "default": 90},
        "settle": {"type": "float", "default": 2},
        "state_dir": {"type": "path", "default": STATE_DIR},
    }


def main():
    module = AnsibleModule(
        argument_spec=argument_spec(),
        required_if=[("state", "present", ("component",))],
        supports_check_mode=True,
    )
    options = module.params
    timing = (options["start_timeout"], options["settle"])
    try:
        component = UnitSet(
            units.Systemd(run), options["component"], options["state_dir"], module.check_mode
        )
        if options["state"] == "absent":
            result = component.absent(*timing)
        else:
            pending = pending_on_host(options["pending"], options["state_dir"], module.check_mode)
            if options["state"] == "activated":
                if module.check_mode:
                    # What waits now, another task may be about to stop: the order knows.
                    pending = {k: set(options["pending"].get(k) or ()) for k in activation.KINDS}
                result = component.activated(pending, *timing)
            else:
                result = component.present(wanted_units(options["units"]), pending, *timing)
    except (units.UnitError, StateError) as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
