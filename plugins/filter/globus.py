# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Configuration of the Globus Toolkit's Java container."""

from __future__ import annotations

from ansible.errors import AnsibleFilterError
from ansible_collections.cloudlet.deploy.plugins.plugin_utils.globus_wsdd import (
    problem_of,
    with_settings,
)


def container_settings(text, settings):
    """A ``server-config.wsdd`` with ``settings`` in its globalConfiguration, all else kept."""
    try:
        return with_settings(text, settings)
    except ValueError as error:
        raise AnsibleFilterError("The server-config.wsdd %s." % error) from None


def container_faults(text, file):
    """Why the ``server-config.wsdd`` with this text cannot be used, one text each; or nothing."""
    if not text:
        return [
            "bestman_globus_config: %s cannot be read. Copy server-config.wsdd from the door to "
            "this machine and name the copy." % file
        ]
    problem = problem_of(text)
    return ["bestman_globus_config: %s %s. Correct the file." % (file, problem)] if problem else []


class FilterModule:
    def filters(self):
        return {
            "container_faults": container_faults,
            "container_settings": container_settings,
        }
