# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Fetches and checks CryoSPARC's archives on the controller, and sends them to who lacks them."""

from __future__ import annotations

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.cloudlet.deploy.plugins.plugin_utils import archives


class ActionModule(ActionBase):
    """An archive that is wrong is found in check mode already, and before anything is changed.

    The license may be in a URL: it is put there here, goes into no message, and to no program.
    """

    TRANSFERS_FILES = True
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        args = dict(self._task.args)
        if args.get("state") == "absent":
            result.update(self._ask(args, task_vars))
            return result
        # Looks, whatever it is called for: it gets no archives yet.
        seen = self._ask(args, task_vars)
        if seen.get("failed") or not seen.get("missing"):
            result.update(seen)
            return result
        on_host = args.get("archives_on") == "host"
        sources = {part: self._source(part, args, on_host) for part in seen["missing"]}
        look = args.get("look") or self._task.check_mode
        if on_host:
            seen = self._ask(dict(args, sources=sources), task_vars)
        elif not look:
            self._make_tmp_path()
            shell = self._connection._shell
            for part, path in sources.items():
                there = shell.join_path(shell.tmpdir, part)
                self._transfer_file(path, there)
                sources[part] = there
            seen = self._ask(dict(args, sources=sources), task_vars)
            self._remove_tmp_path(shell.tmpdir)
        result.update(seen)
        return result

    def _ask(self, args, task_vars):
        return self._execute_module(
            module_name="cloudlet.deploy.cryosparc_install", module_args=args, task_vars=task_vars
        )

    def _source(self, part, args, on_host):
        """Path of the archive of a part: on the controller, checked, or on the host."""
        variable = "cryosparc_%s_archive" % part
        archive, checksum = args.get(part + "_archive") or "", args.get(part + "_checksum") or ""
        if not archive:
            raise AnsibleActionFail(
                "%s is not set: name the vendor's archive of %s." % (variable, args["version"])
            )
        if not archives.is_checksum(checksum):
            raise AnsibleActionFail(
                "cryosparc_%s_checksum is %r: write sha256: and 64 hexadecimal digits, as "
                "sha256sum tells them of the archive." % (part, checksum)
            )
        remote = archives.is_url(archive)
        if on_host and remote:
            raise AnsibleActionFail(
                "%s is a URL, and cryosparc_archives_on is host: URLs are fetched by the "
                "controller." % variable
            )
        if on_host:
            return archive
        license_id = str(args["license"])
        url = archive.replace("{license}", license_id).replace("{version}", str(args["version"]))
        try:
            return (
                archives.fetched(url, checksum) if remote else archives.checked(archive, checksum)
            )
        except archives.WrongArchive as exc:
            raise AnsibleActionFail(
                "%s: the archive has the checksum %s, not %s as the inventory says. It is damaged, "
                "cut short, or of another version: fetch it again. Nothing was unpacked."
                % (variable, exc.found, checksum)
            ) from None
        except OSError as exc:
            how, why = ("fetched", exc) if remote else ("read", exc.strerror)
            told = "%s: %s cannot be %s: %s." % (variable, archive, how, why)
            # Some errors name the address.
            raise AnsibleActionFail(told.replace(license_id, "***")) from None
