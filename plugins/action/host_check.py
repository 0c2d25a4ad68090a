# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Reads a host in one shell command, as facts, and refuses it where it cannot be deployed to."""

from __future__ import annotations

from shlex import quote

from ansible.errors import AnsibleConnectionFailure, AnsibleError
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
        wanted = str(self._templar.template(task_vars.get("ansible_python_interpreter", "auto")))
        chosen = not wanted.startswith("auto")
        said, problem = self._ask(
            SCRIPT % (quote(wanted) if chosen else "/usr/bin/python3 python3")
        )
        if problem:
            return self._refusal(result, [self._no_root(problem)])
        reading = host_reading(said)
        faults = host_faults(reading)
        if faults:
            return self._refusal(result, faults)
        if chosen:
            del reading["discovered_interpreter_python"]
        result.update(changed=False, changes=[], ansible_facts=reading)
        return result

    def _ask(self, script):
        """What the script printed, and why it could not run: one of them is empty."""
        try:
            said = self._low_level_execute_command(script, sudoable=True)
        except AnsibleConnectionFailure:
            raise
        except AnsibleError as exc:
            return "", exc.message
        if said["rc"] != 0:
            reason = (said["stderr"] or said["stdout"]).strip().splitlines()
            return "", reason[-1] if reason else "no answer"
        return said["stdout"], ""

    def _no_root(self, reason):
        user = self._get_remote_user() or "the login user"
        return (
            "user %s could not run a command as root: %s." % (user, reason.rstrip(".")),
            "Give the user passwordless sudo, or its password with --ask-become-pass (-K).",
        )

    @staticmethod
    def _refusal(result, faults):
        """The faults and what to do about them, apart: the caller shows each in its place."""
        result.update(
            failed=True,
            changed=False,
            msg=" ".join(fault for fault, _advice in faults),
            next_step=" ".join(dict.fromkeys(advice for _fault, advice in faults)),
        )
        return result
