#!/usr/bin/python
# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""The subordinate ids of one service account on one host, in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: subid_set
short_description: Delegate ids to a service account in /etc/subuid and /etc/subgid
version_added: 0.1.0
description:
  - Gives the account one base range and the real ids of approved users, one to one. Ids that
    follow each other share a line.
  - Both files are edited by line, under the locks that C(usermod) takes. Lines that were found
    stay as they are, byte for byte; lines that were made are in the ledger.
  - Everything is looked at before anything is changed, in check mode too. Refused are ids of the
    system and of administrators, ranges that meet an account's id or somebody else's range, and
    maps that the kernel does not take. It is asked, by making namespaces with these maps.
options:
  component:
    description: Who needs the ids. With O(state=absent) it may be left out; then those of all
      components are meant.
    type: str
  state:
    description: V(checked) only looks, and tells no changes. V(absent) removes what was made.
    type: str
    choices: [present, checked, absent]
    default: present
  account:
    description: The service account. It need not exist yet.
    type: str
  uid:
    description: The number that it will have if it does not exist; 0 if that is not known.
    type: int
    default: 0
  gid:
    description: The same for its primary group.
    type: int
    default: 0
  base_start:
    description: First id of the base range. With 0 it stays where it is, and a new one begins
      beyond all ids that accounts and ranges of the host have, at 2000000 at least.
    type: int
    default: 0
  base_count:
    description: Number of ids in it.
    type: int
    default: 65536
  users:
    description: Accounts whose user id and group ids are delegated.
    type: list
    elements: str
    default: []
  uids:
    description: Further user ids, V(123456) or V(123456-123460).
    type: list
    elements: str
    default: []
  gids:
    description: Further group ids.
    type: list
    elements: str
    default: []
  storage:
    description: Where the account stores containers. Refused unless it is on a local file system.
    type: path
  directory:
    description: Where the files are, with those that say what numbers the system has.
    type: path
    default: /etc
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
- name: Delegate the users' ids to the portal's account
  cloudlet.deploy.subid_set:
    component: podman_host
    account: oodsvc
    users: [alice, bob]
"""

RETURN = r"""
changes:
  description: Lines that were, or would be, made and removed.
  type: list
  returned: always
ids:
  description: What is delegated. C(account), C(base) with C(uid) and C(gid) as [start, count],
    C(uids) and C(gids) as lists of [start, count]. Also the fact C(cloudlet_delegated_ids), for
    the pods of the same play.
  type: dict
  returned: unless O(state=absent)
maps:
  description: The maps of Podman's namespace, C(uid) and C(gid), as lists of
    [inside, outside, count].
  type: dict
  returned: unless O(state=absent)
left_out:
  description: Groups of users that are never delegated, in words.
  type: list
  returned: unless O(state=absent)
"""

import os  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils import (  # noqa: E402
    subid_look,
    subid_people,
    subids,
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
from ansible_collections.cloudlet.deploy.plugins.module_utils.idmaps import Refused  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils.subids import KIND  # noqa: E402


class SubidSet:
    """The ranges of one component in the files of ``place`` (a ``subid_look.Place``).

    ``label`` gives the SELinux label of a file that is to be made, or None.
    """

    def __init__(self, component, place, state_dir=STATE_DIR, check=False, label=None):
        self.component = component
        self.place = place
        self.paths = place.paths
        self.state_dir = state_dir
        self.check = check
        self.label = label or (lambda path: None)

    def checked(self, wanted):
        """Look only; the module's result."""
        return self._result(wanted, self._look(wanted, Ledger(self.state_dir)), [])

    def present(self, wanted):
        """Delegate exactly what is ``wanted`` (the module's arguments); the module's result."""
        found = self._look(wanted, Ledger(self.state_dir))
        orders = self._orders(found.plans)
        if orders and not self.check:
            with locked(self.state_dir), subids.locked(list(self.paths.values())):
                ledger = Ledger(self.state_dir)
                found = self._look(wanted, ledger)
                orders = self._orders(found.plans)
                self._carry_out(found, ledger)
        return self._result(wanted, found, orders)

    def _look(self, wanted, ledger):
        made = subid_look.Made(ledger.owned(KIND, self.component), ledger.notes(KIND))
        return subid_look.look(wanted, self.place, made)

    def _result(self, wanted, found, orders):
        ids = {
            "account": wanted["account"],
            "base": {kind: list(plan.base) for kind, plan in found.plans.items()},
            "uids": [list(one) for one in found.approved.uids],
            "gids": [list(one) for one in found.approved.gids],
        }
        return {
            "changed": bool(orders),
            "changes": orders,
            "ids": ids,
            "ansible_facts": {"cloudlet_delegated_ids": ids},
            "maps": {kind: [list(e) for e in extents] for kind, extents in found.maps.items()},
            "left_out": list(found.approved.left_out),
        }

    def _orders(self, plans):
        orders = []
        for kind, path in self.paths.items():
            for line in plans[kind].gone:
                orders.append(change(KIND, "%s %s" % (path, line), "remove"))
            for line in plans[kind].new:
                if not line.number:
                    orders.append(change(KIND, "%s %s" % (path, line), "create"))
        return orders

    def _carry_out(self, found, ledger):
        wanted = set()
        for kind, path in self.paths.items():
            ledger.record(KIND, path, _before(found.contents[kind]), self.component)
            wanted.add(path)
            for line in found.plans[kind].new:
                name = "%s %s" % (path, line)
                ledger.record(KIND, name, {"exists": False}, self.component)
                if (line.start, line.count) == found.plans[kind].base:
                    ledger.note(KIND, name, "base")
                wanted.add(name)
        ledger.save()
        for kind, path in self.paths.items():
            plan = found.plans[kind]
            new = [str(line) for line in plan.new if not line.number]
            self._write(path, found.contents[kind], [str(line) for line in plan.gone], new)
        for name in ledger.owned(KIND, self.component):
            if name not in wanted:
                ledger.release(KIND, name, self.component)
        ledger.save()

    def _write(self, path, content, gone, new):
        data = subids.changed(content or b"", gone, new)
        if data != content:
            subids.write(path, data, self.label(path))

    def absent(self):
        """Remove what was made; the module's result."""
        ledger = Ledger(self.state_dir)
        if not ledger.owned(KIND, self.component):
            return {"changed": False, "changes": []}
        if self.check:
            return self._removal(ledger)
        with locked(self.state_dir), subids.locked(list(self.paths.values())):
            ledger = Ledger(self.state_dir)
            result = self._removal(ledger)
            for name in ledger.owned(KIND, self.component):
                ledger.release(KIND, name, self.component)
            ledger.save()
        return result

    def _removal(self, ledger):
        changes, ours = [], ledger.last(KIND, self.component)
        for path in self.paths.values():
            content = subids.read(path)
            if content is None:
                continue
            there = {str(line) for line in subids.lines_of(content)}
            gone = [text for text in subid_look.texts(ours, path) if text in there]
            changes += [change(KIND, "%s %s" % (path, text), "remove") for text in gone]
            if not self.check:
                self._restore(path, subids.changed(content, gone, []), ours.get(path) or {})
        return {"changed": bool(changes), "changes": changes}

    def _restore(self, path, data, before):
        last = before.get("unterminated", "").encode("utf-8", "surrogateescape")
        if last and data.endswith(b"\n") and data.splitlines()[-1] == last:
            data = data[:-1]
        if before.get("exists") is False and not data:
            os.unlink(path)
        elif data != subids.read(path):
            subids.write(path, data)


def _before(content):
    if content is None:
        return {"exists": False}
    last = content.rpartition(b"\n")[2]
    return {"exists": True, "unterminated": last.decode("utf-8", "surrogateescape")}


def argument_spec():
    """The module's arguments; DOCUMENTATION says what they mean."""
    words = {"type": "list", "elements": "str", "default": []}
    return {
        "component": {"type": "str"},
        "state": {
            "type": "str",
            "choices": ["present", "checked", "absent"],
            "default": "present",
        },
        "account": {"type": "str"},
        "uid": {"type": "int", "default": 0},
        "gid": {"type": "int", "default": 0},
        "base_start": {"type": "int", "default": 0},
        "base_count": {"type": "int", "default": 65536},
        "users": words,
        "uids": words,
        "gids": words,
        "storage": {"type": "path"},
        "directory": {"type": "path", "default": "/etc"},
        "state_dir": {"type": "path", "default": STATE_DIR},
    }


def main():
    module = AnsibleModule(
        argument_spec=argument_spec(),
        required_if=[
            ("state", "present", ("component", "account")),
            ("state", "checked", ("component", "account")),
        ],
        supports_check_mode=True,
    )
    options = module.params

    def label(path):
        context = module.selinux_default_context(path)
        known = module.selinux_enabled() and context and context[0] is not None
        return ":".join(context).encode("ascii") + b"\0" if known else None

    people = subid_people.People(os.path.join(options["directory"], "login.defs"))
    place = subid_look.Place(options["directory"], people)
    ranges = SubidSet(
        options["component"], place, options["state_dir"], module.check_mode, label=label
    )
    try:
        if options["state"] == "absent":
            result = ranges.absent()
        elif options["state"] == "checked":
            result = ranges.checked(options)
            for group in result["left_out"]:
                module.warn("%s: not delegated: %s" % (people.host, group))
        else:
            result = ranges.present(options)
    except Refused as exc:
        module.fail_json(msg="%s." % exc, next_step=exc.next_step, changes=[])
    except (StateError, OSError) as exc:
        module.fail_json(msg="Subordinate ids: %s" % exc)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
