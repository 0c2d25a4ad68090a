# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""The Podman of an account. Runs on Python 3.9 and later."""

from __future__ import annotations

from ansible_collections.cloudlet.deploy.plugins.module_utils import user_manager


class Podman:
    """What one account's Podman is asked; ``run`` is as ``commands.run``."""

    def __init__(self, account, run, timeout):
        self.account = account
        self._run = run
        self._timeout = timeout
        self._entry = user_manager.entry_of(account)

    @property
    def exists(self):
        return self._entry is not None

    @property
    def _home(self):
        return self._entry.pw_dir

    def _podman(self, *arguments, **options):
        argv = [*user_manager.as_account(self._entry), "podman", *arguments]
        return self._run(argv, timeout=self._timeout, **options)
