# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""The part of ``lease`` that runs on the controller: says who holds, judges who still does."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.cloudlet.deploy.plugins.module_utils import lease
from ansible_collections.cloudlet.deploy.plugins.plugin_utils import lease_holder

_MODULE = "cloudlet.deploy.lease"
_TOLD = ("run", "command", "user", "controller", "since")


class ActionModule(ActionBase):
    """Takes or gives back the lease on one host."""

    TRANSFERS_FILES = False
    _supports_check_mode = False

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the task; see the module's documentation."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        if result.get("skipped"):
            return result
        _, given = self.validate_argument_spec(
            argument_spec={
                **{key: {"type": "str", "default": ""} for key in _TOLD},
                "run": {"type": "str", "required": True},
                "pid": {"type": "int", "default": 0},
                "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
                "break_lock": {"type": "bool", "default": False},
                "state_dir": {"type": "path"},
            }
        )
        args = {
            "state": given["state"],
            "lease": {key: given[key] for key in _TOLD} | lease_holder.identity(given["pid"]),
            "break_lock": given["break_lock"],
        }
        if given["state_dir"]:
            args["state_dir"] = given["state_dir"]
        said = self._execute_module(module_name=_MODULE, module_args=args, task_vars=task_vars)
        action = "break"
        if said.get("before") and not said["taken"] and lease_holder.is_dead(said["before"]):
            action = "take-over"
            args["instead_of"] = said["before"]["run"]
            said = self._execute_module(module_name=_MODULE, module_args=args, task_vars=task_vars)
        said.pop("invocation", None)
        if not said.get("failed") and "unreachable" not in said:
            said.update(_told(given, said, action))
        return said


def _told(given: dict[str, Any], said: dict[str, Any], action: str) -> dict[str, Any]:
    """``refused`` and the one entry of ``changes``."""
    before = said.pop("before", None)
    taken = said.pop("taken", said["changed"])
    entry = {"kind": "lease", "name": given["run"], "action": "take", "detail": ""}
    if given["state"] == "absent":
        entry["action"] = "give-back"
    elif before:
        entry["action"] = action if taken else "refuse"
        entry["name"], entry["detail"] = before["run"], lease.describe(before)
    told = [entry] if taken or entry["action"] == "refuse" else []
    return {"refused": entry["action"] == "refuse", "changes": told}
