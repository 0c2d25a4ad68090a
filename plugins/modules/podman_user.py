#!/usr/bin/python
# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""What runs for an account of rootless containers: its manager, and Podman's namespace."""

from __future__ import annotations

DOCUMENTATION = r"""
module: podman_user
short_description: Keep an account's systemd manager running and its Podman namespace current
version_added: 0.1.0
description:
  - Lets the account linger, so that its units run without anybody logged in, and starts its
    manager. Whether it lingered before is in the ledger.
  - Podman keeps its namespace, and with it the ids of the day on which it was made. Where these
    differ from O(maps) it is made anew (C(podman system migrate)), which stops all containers of
    the account. Nothing is done where there is no namespace yet.
options:
  component:
    description: Who needs it. With O(state=absent) it may be left out; then all accounts are meant
      that any component needs.
    type: str
  state:
    description: V(absent) lets the account linger no more if it did not before, and ends what its
      manager runs.
    type: str
    choices: [present, absent]
    default: present
  account:
    description: The account. It need not exist yet in check mode.
    type: str
  maps:
    description: The maps that Podman's namespace is to have, as P(cloudlet.deploy.subid_set#module)
      returns them.
    type: dict
    default: {}
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
- name: Let units of the account run, with the ids that it has now
  cloudlet.deploy.podman_user:
    component: podman_host
    account: oodsvc
    maps: "{{ __podman_host_ids.maps }}"
"""

RETURN = r"""
changes:
  description: What was, or would be, done.
  type: list
  returned: always
"""

import os  # noqa: E402
import signal  # noqa: E402
import time  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils import (  # noqa: E402
    podman_account,
)
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
from ansible_collections.cloudlet.deploy.plugins.module_utils.idmaps import Refused  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils.user_manager import (  # noqa: E402
    entry_of,
)

#: Kind of the ledger's entries: whether an account lingered before.
KIND = "linger"
#: Seconds that a manager may take to start or end, and Podman to stop containers.
_MANAGER, _MIGRATION = 60, 300


class PodmanUser:
    """The account of one component; ``run`` executes commands on the host."""

    def __init__(self, component, state_dir=STATE_DIR, run=run, check=False):
        self.component = component
        self.state_dir = state_dir
        self.run = run
        self.check = check

    def present(self, account, maps):
        """Linger, run, migrate; the module's result."""
        entry = entry_of(account)
        lingers = podman_account.lingers(account)
        changes = []
        if not lingers:
            changes.append(change("account", account, "change", "lingers"))
        elif not self._running(entry):
            changes.append(change("unit", _manager(entry), "start"))
        stale = self._stale(entry, maps)
        if stale:
            detail = "its ids have changed; stops its containers"
            changes.append(change("podman", account, "migrate", detail))
        if not self.check:
            self._claim(account, lingers)
            if entry is None:
                raise Refused(
                    "%s: the account %s does not exist" % (os.uname().nodename, account),
                    "Make it, then apply again.",
                )
            if not lingers:
                self._do(["loginctl", "enable-linger", account])
            if not lingers or not self._running(entry):
                self._do(["systemctl", "start", _manager(entry)], _MANAGER)
            if stale:
                self._migrate(entry)
        return {"changed": bool(changes), "changes": changes}

    def _claim(self, account, lingers):
        if account in Ledger(self.state_dir).owned(KIND, self.component):
            return
        with locked(self.state_dir):
            ledger = Ledger(self.state_dir)
            ledger.record(KIND, account, {"lingers": lingers}, self.component)
            ledger.save()

    def _running(self, entry):
        if entry is None:
            return False
        return self.run(["systemctl", "is-active", "--quiet", _manager(entry)]).rc == 0

    def _stale(self, entry, maps):
        if entry is None or not maps:
            return False
        wanted = {kind: [tuple(extent) for extent in extents] for kind, extents in maps.items()}
        return any(found != wanted for found in podman_account.namespaces(entry.pw_uid).values())

    def _migrate(self, entry):
        # As the account, from a directory that it may enter, with what a login would give it.
        environment = ["HOME=%s" % entry.pw_dir, "XDG_RUNTIME_DIR=/run/user/%d" % entry.pw_uid]
        argv = ["env", "-C", entry.pw_dir, *environment, "podman", "system", "migrate"]
        self._do(["runuser", "-u", entry.pw_name, "--", *argv], _MIGRATION)

    def _do(self, argv, timeout=_MANAGER):
        result = self.run(argv, timeout=timeout)
        if result.rc:
            raise Refused(
                "%s: '%s' failed: %s" % (os.uname().nodename, " ".join(argv), tail(result)),
                "Correct the cause and run again.",
            )

    def absent(self):
        """End what runs, and linger no more; the module's result."""
        ledger = Ledger(self.state_dir)
        owned = ledger.owned(KIND, self.component)
        going = [
            account
            for account, before in ledger.last(KIND, self.component).items()
            if not before.get("lingers") and entry_of(account) and podman_account.lingers(account)
        ]
        changes = [change("account", account, "change", "lingers no more") for account in going]
        if owned and not self.check:
            for account in going:
                self._end(account)
            with locked(self.state_dir):
                ledger = Ledger(self.state_dir)
                for account in owned:
                    ledger.release(KIND, account, self.component)
                ledger.save()
        return {"changed": bool(changes), "changes": changes}

    def _end(self, account):
        entry = entry_of(account)
        self._do(["loginctl", "disable-linger", account])
        sessions = self.run(["loginctl", "show-user", account, "-p", "Sessions", "--value"])
        if not sessions.out.strip():
            self._do(["systemctl", "stop", _manager(entry)])
        # Where Podman was started from elsewhere, its namespace is not the manager's.
        for pid in podman_account.namespaces(entry.pw_uid):
            try:
                os.kill(pid, signal.SIGTERM)
            except ProcessLookupError:
                continue
        deadline = time.monotonic() + 10
        while podman_account.namespaces(entry.pw_uid) and time.monotonic() < deadline:
            time.sleep(0.1)


def _manager(entry):
    return "user@%d.service" % entry.pw_uid


def main():
    module = AnsibleModule(
        argument_spec={
            "component": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "account": {"type": "str"},
            "maps": {"type": "dict", "default": {}},
            "state_dir": {"type": "path", "default": STATE_DIR},
        },
        required_if=[("state", "present", ("component", "account"))],
        supports_check_mode=True,
    )
    options = module.params
    user = PodmanUser(options["component"], options["state_dir"], check=module.check_mode)
    try:
        if options["state"] == "present":
            result = user.present(options["account"], options["maps"])
        else:
            result = user.absent()
    except Refused as exc:
        module.fail_json(msg="%s." % exc, next_step=exc.next_step, changes=[])
    except (StateError, OSError) as exc:
        module.fail_json(msg="The containers' account: %s" % exc)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
