#!/usr/bin/python
# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""All groups and accounts of a component on one host, in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: account_set
short_description: Make the groups and accounts of a component, and give the host back as it was
description:
  - Makes what is missing and changes attributes that differ. An attribute that is not given,
    or empty, is left alone on an account that was found.
  - A uid or gid that exists is never changed, and one that somebody else has is refused,
    both before anything is done.
  - O(state=absent) removes what the ledger says was made, and gives changed attributes their
    before-values back. A home directory with anything in it but the skeleton stays.
options:
  component:
    description: Who needs the accounts. With O(state=absent) it may be left out; then those of
      all components are meant.
    type: str
  state:
    description: Whether the component is there.
    type: str
    choices: [present, absent]
    default: present
  groups:
    description: Groups to have. Not looked at when O(state=absent).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the group.
        type: str
        required: true
      gid:
        description: Number that it must have; any if not given.
        type: int
      system:
        description: Whether a new one takes its number from the system range.
        type: bool
        default: false
  accounts:
    description: Accounts to have. Not looked at when O(state=absent).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the account.
        type: str
        required: true
      uid:
        description: Number that it must have; any if not given.
        type: int
      group:
        description: Primary group. A new account without one gets a group of its own name.
        type: str
      groups:
        description: Groups that it must be a member of; it may be in others.
        type: list
        elements: str
        default: []
      home:
        description: Home directory as the account's entry says.
        type: path
      shell:
        description: Login shell.
        type: path
      comment:
        description: The GECOS field.
        type: str
        default: ""
      system:
        description: Whether a new one takes its number from the system range.
        type: bool
        default: false
      create_home:
        description: Whether the home directory of a new account is made.
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
- name: Make the door's account
  cloudlet.deploy.account_set:
    component: bestman
    groups:
      - {name: bestman, system: true}
    accounts:
      - {name: bestman, group: bestman, home: /etc/bestman2, shell: /usr/sbin/nologin,
         system: true}
"""

RETURN = r"""
changes:
  description: What was, or would be, made, changed or removed.
  type: list
  returned: always
kept:
  description: Groups of ours that others have as primary group, and homes with content.
  type: list
  returned: when O(state=absent)
"""

import os  # noqa: E402
import shutil  # noqa: E402
import time  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils import accounts  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import (  # noqa: E402
    change,
    run,
    tail,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import (  # noqa: E402
    STATE_DIR,
    Ledger,
    StateError,
    locked,
)

#: What userdel returns while the account still has processes.
_BUSY = 8


class AccountSet:
    """The accounts of one component; ``run`` executes commands on the host."""

    def __init__(self, component, state_dir, run, host, check=False):
        self.component = component
        self.state_dir = state_dir
        self.run = run
        self.host = host
        self.check = check

    def present(self, groups, wanted):
        """Make and change; returns the module's result."""
        steps = accounts.plan_present(groups, wanted, self.host)
        changes = [step.change for step in steps]
        result = {"changed": bool(steps), "changes": changes}
        if self.check:
            return result
        listed = [("group", g["name"]) for g in groups] + [("account", a["name"]) for a in wanted]
        if not steps and not self._unclaimed(Ledger(self.state_dir), listed):
            return result
        with locked(self.state_dir):
            ledger = Ledger(self.state_dir)
            for kind, name in self._unclaimed(ledger, listed):
                ledger.record(kind, name, None, self.component)
            for step in steps:
                self._record(ledger, step)
            ledger.save()
            try:
                for step in steps:
                    self._do(step.argv)
            except accounts.AccountError:
                self._forget(ledger, steps)
                raise
        return result

    def _unclaimed(self, ledger, listed):
        """What another component made or changed stays when that one goes and we need it."""
        known = [(k, n) for k, n in listed if "%s:%s" % (k, n) in ledger.entries]
        return [(k, n) for k, n in known if n not in ledger.owned(k, self.component)]

    def _record(self, ledger, step):
        ledger.record(step.kind, step.name, step.before, self.component)
        before = ledger.entries["%s:%s" % (step.kind, step.name)]["before"]
        if before.get("exists") is False:
            return
        # A found account of which another attribute is changed now: that one's before-value.
        joined = sorted({*before.get("joined", []), *step.before.get("joined", [])})
        for key, value in step.before.items():
            before.setdefault(key, value)
        if joined:
            before["joined"] = joined

    def _forget(self, ledger, steps):
        """What could not be made may be made by somebody else tomorrow."""
        look_up = {"group": self.host.group, "account": self.host.account}
        for step in steps:
            if step.before.get("exists") is False and look_up[step.kind](step.name) is None:
                ledger.release(step.kind, step.name, self.component)
        ledger.save()

    def _do(self, argv):
        for _ in range(5):
            result = self.run(argv)
            if argv[0] != "userdel" or result.rc != _BUSY:
                break
            time.sleep(1)
        if result.rc:
            raise accounts.AccountError(
                "'%s' failed: %s. Correct the cause and run again." % (" ".join(argv), tail(result))
            )

    def absent(self):
        """Remove and restore; returns the module's result."""
        ledger = Ledger(self.state_dir)
        if not any(ledger.owned(kind, self.component) for kind in ("account", "group")):
            return {"changed": False, "changes": [], "kept": []}
        changes, kept, work = [], [], []
        ours = ledger.last("account", self.component)
        made = [name for name, before in ours.items() if before.get("exists") is False]
        going = self._groups_going(ledger, made, kept)
        for name, before in ours.items():
            if name in made:
                if self.host.account(name) is not None:
                    changes.append(change("account", name, "remove"))
                    work.append(accounts.plan_removed(name, going, self.host))
            else:
                restored = accounts.plan_restored(name, before, self.host)
                if restored is not None:
                    work.append(restored[0])
                    changes.append(restored[1])
        changes += [change("group", name, "remove") for name in going]
        homes = [ours[n]["home"] for n in made if ours[n].get("home")]
        kept += [home for home in homes if not accounts.only_skeleton(home)]
        if not self.check:
            self._undo([argv for commands in work for argv in commands], going, homes)
        return {"changed": bool(changes), "changes": changes, "kept": kept}

    def _groups_going(self, ledger, made, kept):
        going = []
        for name in ledger.last("group", self.component):
            found = self.host.group(name)
            if found is None:
                continue
            others = [a.pw_name for a in self.host.accounts() if a.pw_gid == found.gr_gid]
            (kept if set(others) - set(made) else going).append(name)
        return going

    def _undo(self, commands, groups, homes):
        with locked(self.state_dir):
            for argv in commands:
                self._do(argv)
            for name in groups:
                # userdel takes a group of the account's own name along.
                if self.host.group(name) is not None:
                    self._do(["groupdel", name])
            for home in homes:
                if os.path.isdir(home) and accounts.only_skeleton(home):
                    shutil.rmtree(home)
            ledger = Ledger(self.state_dir)
            for kind in ("account", "group"):
                for name in ledger.owned(kind, self.component):
                    ledger.release(kind, name, self.component)
            ledger.save()


def argument_spec():
    """The module's arguments; DOCUMENTATION says what they mean."""
    name = {"type": "str", "required": True}
    group = {"name": name, "gid": {"type": "int"}, "system": {"type": "bool", "default": False}}
    account = {
        "name": name,
        "uid": {"type": "int"},
        "group": {"type": "str"},
        "groups": {"type": "list", "elements": "str", "default": []},
        "home": {"type": "path"},
        "shell": {"type": "path"},
        "comment": {"type": "str", "default": ""},
        "system": {"type": "bool", "default": False},
        "create_home": {"type": "bool", "default": False},
    }
    return {
        "component": {"type": "str"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "groups": {"type": "list", "elements": "dict", "options": group, "default": []},
        "accounts": {"type": "list", "elements": "dict", "options": account, "default": []},
        "state_dir": {"type": "path", "default": STATE_DIR},
    }


def main():
    module = AnsibleModule(
        argument_spec=argument_spec(),
        required_if=[("state", "present", ("component",))],
        supports_check_mode=True,
    )
    options = module.params
    component = AccountSet(
        options["component"], options["state_dir"], run, accounts.Host(), module.check_mode
    )
    try:
        if options["state"] == "present":
            result = component.present(options["groups"], options["accounts"])
        else:
            result = component.absent()
            for name in result["kept"]:
                module.warn("%s stays: somebody else uses it, or it is not empty" % name)
    except (accounts.AccountError, StateError) as exc:
        module.fail_json(msg=str(exc))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
