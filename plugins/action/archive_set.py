# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Fetches and checks an archive on the controller, and sends it only to hosts that lack it."""

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
        if not _CHECKSUM.fullmatch(str(checksum)):
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
        if not _URL.match(archive):
            try:
                found = _digest(archive)
            except OSError as exc:
                raise AnsibleActionFail("%s cannot be read: %s." % (archive, exc.strerror)) from exc
            return self._checked(archive, archive, found, checksum)
        kept = os.path.join(_cache(), checksum.partition(":")[2])
        if not os.path.exists(kept) or _digest(kept) != checksum:
            self._fetch(archive, kept, checksum)
        return kept

    def _fetch(self, url, kept, checksum):
        fd, part = tempfile.mkstemp(dir=os.path.dirname(kept))
        try:
            with os.fdopen(fd, "wb") as stream:
                answer = open_url(url, timeout=60)
                for block in iter(lambda: answer.read(_BLOCK), b""):
                    stream.write(block)
            self._checked(url, part, _digest(part), checksum)
            os.replace(part, kept)
        except OSError as exc:
            raise AnsibleActionFail("%s cannot be fetched: %s." % (url, exc)) from exc
        finally:
            if os.path.exists(part):
                os.unlink(part)

    def _checked(self, name, path, found, wanted):
        if found != wanted:
            raise AnsibleActionFail(
                "%s has the checksum %s, not %s as the inventory says. It is damaged, or another "
                "version: compare both with what its origin publishes. It was not %s."
                % (name, found, wanted, self.USED)
            )
        return path
