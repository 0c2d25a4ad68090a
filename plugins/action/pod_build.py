# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Fetches and checks what an image is built of, and sends it only to hosts that build."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from ansible.errors import AnsibleActionFail
from ansible_collections.cloudlet.deploy.plugins.action import archive_set


class ActionModule(archive_set.ActionModule):
    """A wrong file is found in check mode already, and no host needs to reach its origin."""

    USED = "used"

    def run(self, tmp=None, task_vars=None):
        # Of archive_set's only the way to a file is wanted here.
        result = super(archive_set.ActionModule, self).run(tmp, task_vars)
        args = dict(self._task.args)
        files = {os.path.basename(urlsplit(one["source"]).path): one for one in args["files"]}
        if len(files) < len(args["files"]):
            raise AnsibleActionFail("pod_build: two files have the same name of %s." % list(files))
        sources = {
            name: self._source(one["source"], "sha256:" + one["sha256"])
            for name, one in files.items()
        }
        args["files"] = [{"name": name, "sha256": one["sha256"]} for name, one in files.items()]
        result.update(self._ask(args, task_vars))
        if result.get("failed") or not result.get("changed") or self._task.check_mode:
            return result
        self._make_tmp_path()
        shell = self._connection._shell
        for name, source in sources.items():
            self._transfer_file(source, shell.join_path(shell.tmpdir, name))
        result.update(self._ask(dict(args, staged=shell.tmpdir), task_vars))
        self._remove_tmp_path(shell.tmpdir)
        return result

    def _ask(self, args, task_vars):
        return self._execute_module(
            module_name="cloudlet.deploy.pod_build", module_args=args, task_vars=task_vars
        )
