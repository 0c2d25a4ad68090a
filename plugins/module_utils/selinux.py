# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""SELinux contexts for ``config_set`` and ``host_sets``. Runs on Python 3.9 and later."""

from __future__ import annotations


class SELinux:
    """Contexts by way of AnsibleModule, which knows special file systems."""

    def __init__(self, module):
        self.module = module

    def of(self, path):
        """Context of ``path`` as a list, or None."""
        return self._known(self.module.selinux_context(path))

    def default(self, path, mode):
        """Context that the policy gives ``path``, or None."""
        return self._known(self.module.selinux_default_context(path, mode))

    def set(self, path, context):
        """Give ``path`` the ``context`` (None: leave it)."""
        if context:
            self.module.set_context_if_different(path, list(context), False)

    @staticmethod
    def _known(context):
        return list(context) if context and context[0] is not None else None
