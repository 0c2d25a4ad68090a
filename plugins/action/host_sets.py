# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""The part of ``host_sets`` that runs on the controller: says whose run it is, makes diffs."""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.cloudlet.deploy.plugins.plugin_utils import (
    config_set_diff,
    lease_holder,
)

_MODULE = "cloudlet.deploy.host_sets"


class ActionModule(ActionBase):
    """Asks the host, which alone knows what there is to go back to."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: Any = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the task; see the module's documentation."""
        task_vars = dict(task_vars or {})
        super().run(tmp, task_vars)
        run = task_vars.get("cloudlet_run_id")
        told = {
            "run": None if run is None else str(run),
            "leased": bool(task_vars.get("cloudlet_leased")),
        }
        result = self._ask(told, task_vars)
        holder = result.pop("lease", None)
        if result.get("failed") and holder and run is None and lease_holder.is_dead(holder):
            result = self._ask({**told, "disregard": holder["run"]}, task_vars)
            result.pop("lease", None)
        result.pop("invocation", None)
        raw = result.pop("raw_diff", [])
        pending = result.pop("all_units_pending", None)
        if not result.get("failed") and pending is not None:
            if self._task.diff:
                result["diff"] = config_set_diff.diff_entries(raw, {})
            result["ansible_facts"] = {"cloudlet_units_pending": pending}
        return result

    def _ask(self, told: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        args = {**self._task.args, "told": told}
        result: dict[str, Any] = self._execute_module(
            module_name=_MODULE, module_args=args, task_vars=task_vars
        )
        return result
