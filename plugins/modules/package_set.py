#!/usr/bin/python
# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""All packages of a component on one host, in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: package_set
short_description: Install the packages of a component, and give the host back as it was
description:
  - Installs what is missing, without recommended packages. What a package brings is neither
    started nor enabled before it is configured; M(cloudlet.deploy.unit_set) does that.
  - Every package that arrives, dependencies too, is written to the ledger before it does.
  - O(state=absent) removes those that the ledger says came with this component, unless
    another component or another package needs them. Packages that were there before stay.
  - Works with apt and dnf, on hosts without their Python bindings too.
options:
  component:
    description: Who needs the packages. With O(state=absent) it may be left out; then those of
      all components are meant.
    type: str
  names:
    description: Names of real packages. Not looked at when O(state=absent).
    type: list
    elements: str
    default: []
  state:
    description: Whether the component is there.
    type: str
    choices: [present, absent]
    default: present
  hold_units:
    description: Whether services and sockets of newly installed O(names) are disabled until
      M(cloudlet.deploy.unit_set) enables them. Dependencies are left as their packages say.
    type: bool
    default: true
  keep:
    description: With O(state=absent), remove no package, only forget that they came with the
      component.
    type: bool
    default: false
  state_dir:
    description: Where the ledger is.
    type: path
    default: /var/lib/cloudlet-deploy
attributes:
  check_mode:
    support: full
author: [The cloudlet-deploy founders]
"""

EXAMPLES = r"""
- name: Install the GridFTP server
  cloudlet.deploy.package_set:
    component: gridftp
    names: [globus-gridftp-server-progs]
"""

RETURN = r"""
changes:
  description: What was, or would be, installed or removed. Dependencies are not predicted,
    and not listed, on installation.
  type: list
  returned: always
installed:
  description: All that arrived, dependencies too.
  type: list
  returned: when something was installed
kept:
  description: Packages of ours that stay because something else needs them.
  type: list
  returned: when O(state=absent)
"""

import os  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import (  # noqa: E402
    change,
    run,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import (  # noqa: E402
    STATE_DIR,
    Ledger,
    StateError,
    locked,
    read_json,
    write_json,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.packages import (  # noqa: E402
    INSTALLED,
    LEFTOVER,
    PackageError,
    backend,
    restore_policy,
    services_held,
    unit_names,
)

KIND = "package"
#: States of packages that are not there; of the second only configuration is.
_GONE = (None, "not-installed", LEFTOVER)


class PackageSet:
    """The packages of one component; ``run`` executes commands on the host."""

    def __init__(self, manager, component, state_dir, run, check=False):
        self.manager = manager
        self.component = component
        self.state_dir = state_dir
        self.run = run
        self.check = check
        self._holding = os.path.join(state_dir, "holding-units.json")

    def present(self, names, hold_units=True):
        """Install what is missing; returns the module's result."""
        names = list(dict.fromkeys(names))
        missing = self._missing(names)
        changes = [change(KIND, name, "install") for name in missing]
        if not self.check:
            self._finish_holding()
            self._adopt([name for name in names if name not in missing])
        if not missing or self.check:
            return {"changed": bool(missing), "changes": changes}
        arrived = self._install(missing, hold_units)
        return {"changed": True, "changes": changes, "installed": arrived}

    def _missing(self, names):
        if not names:
            return []
        states = self.manager.states(names)
        return [name for name in names if states.get(name) != INSTALLED]

    def _adopt(self, names):
        """What another component brought stays when that one goes and we still need it."""
        entries = Ledger(self.state_dir).entries
        known = [name for name in names if "package:" + name in entries]
        ours = [n for n in known if self.component not in entries["package:" + n]["owners"]]
        if ours:
            self.manager.keep(ours)
            self._record(ours, {})

    def _record(self, names, before):
        """Write to the ledger what arrives; returns what is new there."""
        with locked(self.state_dir):
            ledger = Ledger(self.state_dir)
            fresh = []
            for name in names:
                value = {"installed": False, "configuration": before.get(name) == LEFTOVER}
                if ledger.record(KIND, name, value, self.component):
                    fresh.append(name)
            if fresh:
                ledger.save()
        return fresh

    def _forget(self, names):
        with locked(self.state_dir):
            ledger = Ledger(self.state_dir)
            for name in names:
                ledger.release(KIND, name, self.component)
            ledger.save()

    def _install(self, missing, hold_units):
        with services_held() as environment:
            arriving = self.manager.prepare(missing, environment)
            before = self.manager.states()
            fresh = self._record(arriving, before)
            if hold_units:
                write_json(self._holding, {"names": missing})
            try:
                self.manager.install(missing, environment)
            except PackageError:
                self._finish_holding()
                raise
            finally:
                arrived = self._settle(before, fresh)
        after = self.manager.states()
        absent = [name for name in missing if after.get(name) != INSTALLED]
        if absent:
            raise PackageError(
                "%s: the package manager reported success, but no package of this name is "
                "installed. If it is a virtual package, name the real one." % ", ".join(absent)
            )
        self._finish_holding()
        return arrived

    def _settle(self, before, fresh):
        """Make the ledger say what really arrived, also after a failure; returns it."""
        after = self.manager.states()
        arrived = sorted(n for n in after if after[n] == INSTALLED and before.get(n) != INSTALLED)
        # What did not arrive may be installed by somebody else tomorrow.
        self._forget([name for name in fresh if after.get(name) in _GONE])
        self._record(arrived, before)
        return arrived

    def _finish_holding(self):
        """Disable what new packages enabled; a run that was killed before is made up for."""
        document = read_json(self._holding)
        if document is None:
            return
        files = [path for name in document["names"] for path in self.manager.files(name)]
        units = unit_names(files)
        if units:
            self.run(["systemctl", "disable", "--quiet", *units])
        os.unlink(self._holding)

    def forgotten(self):
        """Keep what came with this component as if it had been there; the module's result."""
        owned = sorted(Ledger(self.state_dir).owned(KIND, self.component))
        if owned and not self.check:
            self._finish_holding()
            self._forget(owned)
        return {"changed": False, "changes": [], "kept": owned}

    def absent(self):
        """Remove what came with this component; returns the module's result."""
        ledger = Ledger(self.state_dir)
        owned = sorted(ledger.owned(KIND, self.component))
        if not owned:
            return {"changed": False, "changes": [], "kept": []}
        before = ledger.last(KIND, self.component)
        states = self.manager.states()
        configured = {name for name, value in before.items() if value.get("configuration")}
        there = sorted(name for name in before if states.get(name) not in _GONE)
        removable = self.manager.removable(there)
        kept = sorted(set(there) - set(removable))
        # A removal that was killed may have left configuration only.
        leftover = {name for name in before if states.get(name) == LEFTOVER} - configured
        going = sorted(leftover.union(removable))
        if not self.check:
            if going:
                self.manager.remove(going, configured)
            self._let_go(owned, {n: before[n] for n in kept})
        changes = [change(KIND, name, "remove") for name in going]
        return {"changed": bool(going), "changes": changes, "kept": kept}

    def _let_go(self, owned, kept):
        """Release all; what must stay passes to the components that may be why."""
        with locked(self.state_dir):
            ledger = Ledger(self.state_dir)
            for name in owned:
                ledger.release(KIND, name, self.component)
            others = {
                owner
                for key, entry in ledger.entries.items()
                if key.startswith(KIND + ":")
                for owner in entry["owners"]
            }
            for name in kept:
                for owner in sorted(others):
                    ledger.record(KIND, name, kept[name], owner)
            if owned:
                ledger.save()


def main():
    module = AnsibleModule(
        argument_spec={
            "component": {"type": "str"},
            "keep": {"type": "bool", "default": False},
            "names": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "hold_units": {"type": "bool", "default": True},
            "state_dir": {"type": "path", "default": STATE_DIR},
        },
        required_if=[("state", "present", ("component",))],
        supports_check_mode=True,
    )
    options = module.params
    try:
        if not module.check_mode:
            restore_policy()
        packages = PackageSet(
            backend(run), options["component"], options["state_dir"], run, module.check_mode
        )
        if options["state"] == "present":
            result = packages.present(options["names"], options["hold_units"])
        elif options["keep"]:
            result = packages.forgotten()
        else:
            result = packages.absent()
            if result["kept"]:
                module.warn("packages that others need stay: " + ", ".join(result["kept"]))
    except (PackageError, StateError) as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
