#!/usr/bin/python
# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""All kernel settings of a component on one host, in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: sysctl_set
short_description: Set kernel settings of the running host, and give the former ones back
version_added: 0.1.0
description:
  - Before a setting is first changed its value is written to the ledger, once; when it is wanted
    no more, it gets that value back. A file that sets it at boot is the caller's.
  - What is not settable on the host is found without changing anything, so check mode fails as
    the run would. A setting that has its wanted value need not be settable.
  - After writing the value is read back. Where the kernel made another one of it, the former
    value is put back and the module fails.
options:
  component:
    description: Whose settings they are. With O(state=absent) it may be left out; then those of
      all components are meant.
    type: str
  state:
    description:
      - V(absent) gives back the former values of all that O(component) set.
      - V(followed) sets what the file of the component's config set says, if a rollback brings
        it back or a former one ended before this was done.
    type: str
    choices: [present, absent, followed]
    default: present
  values:
    description: Values by name. What the ledger knows of the component and is not named here
      gets its former value back.
    type: dict
    default: {}
  maxima:
    description: The last number by name, for settings of three numbers. The other two are kept.
    type: dict
    default: {}
  generations:
    description: With O(state=followed), as for M(cloudlet.deploy.host_sets).
    type: dict
    default: {}
  tree:
    description: Where the kernel shows its settings as files.
    type: path
    default: /proc/sys
  state_dir:
    description: Where the ledger lies.
    type: path
    default: /var/lib/cloudlet-deploy
attributes:
  check_mode:
    support: full
author: The cloudlet-deploy founders
"""

EXAMPLES = r"""
- name: Let many connections wait
  cloudlet.deploy.sysctl_set:
    component: kernel
    values:
      net.core.somaxconn: 8192
    maxima:
      net.ipv4.tcp_rmem: 16777216
"""

RETURN = r"""
changes:
  description: What was, or in check mode would be, set and restored.
  returned: always
  type: list
wanted:
  description: The whole values that the host is to have, by name.
  returned: success
  type: dict
"""

from typing import NamedTuple  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils import (  # noqa: E402
    config_files,
    config_history,
    config_store,
    sysctls,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import (  # noqa: E402
    change,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import (  # noqa: E402
    STATE_DIR,
    Ledger,
    StateError,
    locked,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.sysctls import (  # noqa: E402
    KIND,
    Refused,
)


class Order(NamedTuple):
    """One setting that is to get another value."""

    name: str
    action: str
    now: str
    value: str

    def told(self):
        """As an entry of ``changes``."""
        return change(KIND, self.name, self.action, "%s -> %s" % (self.now, self.value))


class SysctlSet:
    """The settings of one component, or with None of all."""

    def __init__(self, component, state_dir=STATE_DIR, tree=sysctls.TREE, check=False):
        self.component = component
        self.state_dir = state_dir
        self.tree = tree
        self.check = check

    def present(self, values, maxima=()):
        """Have exactly ``values`` and ``maxima``; the module's result. Raises Refused."""
        wanted = self._whole(values, dict(maxima))
        orders = self._orders(self._ledger(), wanted)
        result = {"changed": bool(orders), "wanted": wanted}
        if not self.check and (orders or self._unrecorded(wanted)):
            with locked(self.state_dir):
                ledger = self._ledger()
                orders = self._orders(ledger, wanted)
                self._carry_out(ledger, orders, wanted)
        return dict(result, changes=[order.told() for order in orders])

    def absent(self):
        """Give all former values back; the module's result. Raises Refused."""
        return self.present({})

    def followed(self, generations):
        """Have what the file has that a rollback brings back; the module's result."""
        store = config_store.SetStore(self.state_dir, self.component)
        manifest = config_history.current_manifest(store)
        named = generations.get(self.component)
        if manifest is None or not (named or sysctls.behind(store, manifest)):
            return {"changed": False, "changes": [], "wanted": {}}
        # By the time of a real run it is in place, as the present one.
        number = named["to"] if named and self.check else manifest["generation"]
        return self.present(sysctls.of_generation(store, number))

    def _ledger(self):
        return sysctls.checked(Ledger(self.state_dir))

    def _whole(self, values, maxima):
        wanted = {name: sysctls.normal(value) for name, value in values.items()}
        for name in (*values, *maxima):
            if not sysctls.is_name(name):
                raise Refused(
                    "%r is no name of a setting" % name, "Write it as net.core.somaxconn."
                )
        for name, maximum in maxima.items():
            wanted[name] = sysctls.with_maximum(name, maximum, self.tree)
        return dict(sorted(wanted.items()))

    def _orders(self, ledger, wanted):
        """What is to be written. Raises Refused, with all that cannot be, before anything is."""
        going = {
            name: before
            for name, before in ledger.last(KIND, self.component).items()
            if name not in wanted
        }
        orders, faults = [], []
        for action, values in (("set", wanted), ("restore", going)):
            for name, value in values.items():
                now = sysctls.read(name, self.tree)
                if now == value or (now is None and action == "restore"):
                    continue  # with its kernel module the value went, too
                cause = sysctls.obstacle(name, self.tree)
                if not cause and not sysctls.alike(now, value):
                    cause = "it is of another kind"
                if cause:
                    faults.append(_fault(name, value, now, cause))
                orders.append(Order(name, action, now, value))
        if faults:
            raise Refused("; ".join(faults), _advice(faults, bool(wanted)))
        return orders

    def _unrecorded(self, wanted):
        """Whether the ledger is to know of more, or of less, than it does."""
        ledger = self._ledger()
        if self.component is None:
            return bool(ledger.owned(KIND, None))
        notes = ledger.notes(KIND)
        return {name: notes.get(name) for name in ledger.owned(KIND, self.component)} != wanted

    def _carry_out(self, ledger, orders, wanted):
        for name in wanted:
            ledger.record(KIND, name, sysctls.read(name, self.tree), self.component)
        ledger.save()
        faults, done = [], []
        for order in orders:
            cause = sysctls.write(order.name, order.value, self.tree)
            if cause:
                # What the kernel made of it is neither the wanted nor the former value.
                sysctls.write(order.name, order.now, self.tree)
                now = sysctls.read(order.name, self.tree)
                faults.append(_fault(order.name, order.value, now, cause))
            else:
                done.append(order)
        failed = {order.name for order in orders} - {order.name for order in done}
        for name in wanted:
            if name not in failed:
                ledger.note(KIND, name, wanted[name])
        for name in ledger.owned(KIND, self.component):
            if name not in wanted and name not in failed:
                ledger.release(KIND, name, self.component)
        ledger.save()
        if faults:
            told = [order.told() for order in done]
            raise Refused("; ".join(faults), _advice(faults, bool(wanted)), told)


def _fault(name, value, now, cause):
    found = "nothing" if now is None else now
    return "%s: wanted %s, found %s: %s" % (name, value, found, cause)


def _advice(faults, wanting):
    it = "it" if len(faults) == 1 else "them"
    if not wanting:
        return "Give %s these values by hand where that is possible, then run this again." % it
    return (
        "Leave %s out of the settings of this host, or, if it is a container, set %s on the "
        "machine that it runs on." % (it, it)
    )


def main():
    module = AnsibleModule(
        argument_spec={
            "component": {"type": "str"},
            "state": {
                "type": "str",
                "choices": ["present", "absent", "followed"],
                "default": "present",
            },
            "values": {"type": "dict", "default": {}},
            "maxima": {"type": "dict", "default": {}},
            "generations": {"type": "dict", "default": {}},
            "tree": {"type": "path", "default": sysctls.TREE},
            "state_dir": {"type": "path", "default": STATE_DIR},
        },
        required_if=[
            ("state", "present", ("component",)),
            ("state", "followed", ("component",)),
        ],
        supports_check_mode=True,
    )
    options = module.params
    settings = SysctlSet(
        options["component"], options["state_dir"], options["tree"], module.check_mode
    )
    try:
        if options["state"] == "present":
            result = settings.present(options["values"], options["maxima"])
        elif options["state"] == "absent":
            result = settings.absent()
        else:
            result = settings.followed(options["generations"])
    except Refused as exc:
        told = {"changed": bool(exc.changes), "changes": exc.changes}
        module.fail_json(msg="%s." % exc, next_step=exc.next_step, **told)
    except (StateError, config_files.ConfigError, OSError) as exc:
        module.fail_json(msg="Kernel settings: %s" % exc)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
