# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Fetches and checks an archive on the controller, and sends it only to hosts that lack it."""

from __future__ import annotations

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.cloudlet.deploy.plugins.plugin_utils import archives


class ActionModule(ActionBase):
    """A wrong archive is found in check mode already, and no host needs to reach its origin."""

    TRANSFERS_FILES = True
    #: What has not been done with a wrong one.
    USED = "unpacked"
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        args = dict(self._task.args)
        archive, checksum = args.pop("archive", ""), args.get("checksum", "")
        if args.get("state", "present") == "absent":
            result.update(self._ask(args, task_vars))
            return result
        if not archives.is_checksum(checksum):
            raise AnsibleActionFail(
                "archive_set: the checksum of %s is %r: write sha256: and 64 hexadecimal digits."
                % (archive, checksum)
            )
        source = self._source(str(archive), str(checksum))
        result.update(self._ask(args, task_vars))
        if result.get("failed") or not result.get("changed") or self._task.check_mode:
            return result
        self._make_tmp_path()
        there = self._connection._shell.join_path(self._connection._shell.tmpdir, "archive")
        self._transfer_file(source, there)
        result.update(self._ask(dict(args, source=there), task_vars))
        self._remove_tmp_path(self._connection._shell.tmpdir)
        return result

    def _ask(self, args, task_vars):
        return self._execute_module(
            module_name="cloudlet.deploy.archive_set", module_args=args, task_vars=task_vars
        )

    def _source(self, archive, checksum):
        """Path on the controller of the archive, checked."""
        remote = archives.is_url(archive)
        try:
            return (archives.fetched if remote else archives.checked)(archive, checksum)
        # Without a cause, whose words Ansible would add to the message.
        except archives.WrongArchive as exc:
            raise AnsibleActionFail(
                "%s has the checksum %s, not %s as the inventory says. It is damaged, or another "
                "version: compare both with what its origin publishes. It was not %s."
                % (archive, exc.found, checksum, self.USED)
            ) from None
        except OSError as exc:
            how, why = ("fetched", exc) if remote else ("read", exc.strerror)
            raise AnsibleActionFail("%s cannot be %s: %s." % (archive, how, why)) from None
