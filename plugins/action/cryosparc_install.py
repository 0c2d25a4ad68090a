# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Fetches and checks CryoSPARC's archives on the controller, and sends them to who lacks them."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile

from ansible.errors import AnsibleActionFail
from ansible.module_utils.urls import open_url
from ansible.plugins.action import ActionBase

_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}")
_URL = re.compile(r"^(https?|ftp)://")
_BLOCK = 1 << 20


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
        if not _CHECKSUM.fullmatch(str(checksum)):
            raise AnsibleActionFail(
                "cryosparc_%s_checksum is %r: write sha256: and 64 hexadecimal digits, as "
                "sha256sum tells them of the archive." % (part, checksum)
            )
        if not _URL.match(archive):
            return archive if on_host else self._checked(variable, archive, archive, checksum)
        if on_host:
            raise AnsibleActionFail(
                "%s is a URL, and cryosparc_archives_on is host: URLs are fetched by the "
                "controller." % variable
            )
        kept = os.path.join(_cache(), checksum.partition(":")[2])
        if not os.path.exists(kept) or _digest(kept) != checksum:
            self._fetch(variable, archive, args, kept, checksum)
        return kept

    def _fetch(self, variable, archive, args, kept, checksum):
        license_id = str(args["license"])
        url = archive.replace("{license}", license_id).replace("{version}", str(args["version"]))
        fd, part = tempfile.mkstemp(dir=os.path.dirname(kept))
        try:
            with os.fdopen(fd, "wb") as stream:
                answer = open_url(url, timeout=60)
                for block in iter(lambda: answer.read(_BLOCK), b""):
                    stream.write(block)
            self._checked(variable, archive, part, checksum)
            os.replace(part, kept)
        except OSError as exc:
            # Some errors name the address.
            why = str(exc).replace(license_id, "***")
            raise AnsibleActionFail("%s cannot be fetched: %s." % (variable, why)) from None
        finally:
            if os.path.exists(part):
                os.unlink(part)

    def _checked(self, variable, name, path, wanted):
        try:
            found = _digest(path)
        except OSError as exc:
            raise AnsibleActionFail(
                "%s: %s cannot be read: %s." % (variable, name, exc.strerror)
            ) from exc
        if found != wanted:
            raise AnsibleActionFail(
                "%s: the archive has the checksum %s, not %s as the inventory says. It is damaged, "
                "cut short, or of another version: fetch it again. Nothing was unpacked."
                % (variable, found, wanted)
            )
        return path


def _digest(path):
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(_BLOCK), b""):
            digest.update(block)
    return "sha256:" + digest.hexdigest()


def _cache():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    path = os.path.join(base, "cloudlet-deploy", "archives")
    os.makedirs(path, mode=0o700, exist_ok=True)
    return path
