# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""The lanes that a CryoSPARC master has, by ``cryosparcm``. Runs on Python 3.9 and later."""

from __future__ import annotations

import os

from ansible_collections.cloudlet.deploy.plugins.module_utils import user_manager
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import Result, run, tail
from ansible_collections.cloudlet.deploy.plugins.module_utils.idmaps import Refused

#: Seconds that cryosparcm may take; it starts slowly.
_PATIENCE = 120


class CryoSparc:
    """The master of an account, asked by ``cryosparcm``; ``run`` is as ``commands.run``."""

    def __init__(self, account, master, run=run):
        self.account, self.master, self._run = account, master, run
        self._entry = user_manager.entry_of(account)

    def shell(self, text, *arguments, timeout=_PATIENCE):
        """Run ``text`` by bash as the account, with ``arguments`` as $1 and so on."""
        if self._entry is None:
            return Result(1, "", "the account %s does not exist" % self.account)
        as_account = user_manager.as_account(self._entry)
        return self._run([*as_account, "bash", "-c", text, "bash", *arguments], timeout=timeout)

    def lanes(self):
        """The names of all lanes, in a set. Raises Refused where it does not answer."""
        done = self._asked("list")
        if done.rc:
            raise Refused(
                "%s: CryoSPARC does not tell its lanes: %s" % (os.uname().nodename, tail(done)),
                "See 'systemctl status cryosparc.service' on the host, then apply again.",
            )
        return {line.split()[0] for line in done.out.splitlines() if line.split()}

    def connect(self, directory):
        """Connect the lane whose files are in ``directory``."""
        self._succeeds(self._asked("connect", cwd=directory), "connected: " + directory)

    def remove(self, name):
        """Remove a lane."""
        self._succeeds(self._asked("remove", name), "removed: " + name)

    def _asked(self, verb, *arguments, cwd="/"):
        text = 'cd -- "$1" && shift && exec "$@"'
        return self.shell(text, cwd, self.master, "cluster", verb, *arguments)

    def _succeeds(self, done, what):
        if done.rc:
            raise Refused(
                "%s: a lane cannot be %s: %s" % (os.uname().nodename, what, tail(done)),
                "See what 'cryosparcm cluster' says as %s on the host." % self.account,
            )
