# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Has the host looked at, and adds what the controller judges: clock and certificates."""

from __future__ import annotations

import time

from ansible.plugins.action import ActionBase
from ansible_collections.cloudlet.deploy.plugins.plugin_utils.preflight_controller import (
    certificate_findings,
    clock_finding,
    system_finding,
)

#: What the host need not know.
_CONTROLLER_ONLY = ("certificates", "health", "probes", "programs", "authorities")


class ActionModule(ActionBase):
    """Fails if a check failed, so that plain ansible-playbook stops there too."""

    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        needs = self._task.args.get("needs") or {}
        asked = {
            component: {k: v for k, v in needed.items() if k not in _CONTROLLER_ONLY}
            for component, needed in needs.items()
        }
        begun = time.time()
        result.update(
            self._execute_module(
                module_name="cloudlet.deploy.host_preflight",
                module_args=dict(self._task.args, needs=asked),
                task_vars=task_vars,
            )
        )
        ended = time.time()
        if result.get("failed"):
            return result
        report = result["report"]
        findings = report["findings"]
        # Between its answer and its arrival the host looked around: that time is known.
        looked = report.pop("ended") - report["told"]
        findings[:0] = [
            system_finding((task_vars or {}).get("ansible_facts", {})),
            clock_finding(begun, ended - looked, report.pop("told")),
        ]
        findings += certificate_findings(needs)
        failed = [finding for finding in findings if finding["status"] == "failed"]
        if failed:
            result.update(
                failed=True,
                msg=" ".join("%s." % finding["detail"] for finding in failed),
                next_step=" ".join(dict.fromkeys(f["next_step"] for f in failed)),
            )
        return result
