# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Reads a host in one shell command, as facts, and refuses it where it cannot be deployed to."""

from __future__ import annotations

from shlex import quote

from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.cloudlet.deploy.plugins.plugin_utils.host_reading import (
    SCRIPT,
    host_faults,
    host_reading,
)


class ActionModule(ActionBase):
    """Sends no module, so the host needs no Python; changes nothing, so check mode is the same."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _VALID_ARGS = frozenset()

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        task_vars = task_vars or {}
        host = task_vars.get("inventory_hostname", "the host")
        wanted = str(self._templar.template(task_vars.get("ansible_python_interpreter", "auto")))
        chosen = not wanted.startswith("auto")
        said = self._ask(SCRIPT % (quote(wanted) if chosen else "/usr/bin/python3 python3"), host)
        reading = host_reading(said)
        faults = host_faults(reading, host)
        if faults:
            raise AnsibleActionFail(" ".join(faults))
        if chosen:
            del reading["discovered_interpreter_python"]
        result.update(changed=False, changes=[], ansible_facts=reading)
        return result

    def _ask(self, script, host):
        try:
            said = self._low_level_execute_command(script, sudoable=True)
        except AnsibleConnectionFailure:
            raise
        except AnsibleError as exc:
            raise AnsibleActionFail(self._no_root(host, exc.message)) from exc
        if said["rc"] != 0:
            reason = (said["stderr"] or said["stdout"]).strip().splitlines()
            raise AnsibleActionFail(self._no_root(host, reason[-1] if reason else "no answer"))
        return said["stdout"]

    def _no_root(self, host, reason):
        user = self._get_remote_user() or "The user"
        return (
            "%s could not run a command as root on %s: %s. Give %s sudo rights there, "
            "or pass --ask-become-pass." % (user, host, reason.rstrip("."), user)
        )
