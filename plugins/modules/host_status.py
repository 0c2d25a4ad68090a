#!/usr/bin/python
# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Whether a host is still as it was made, in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_status
short_description: Look whether a host is still as it was made
version_added: 0.1.0
description:
  - Compares the managed files with the manifests, reads units, asks each service for a real answer,
    reads until when certificates and revocation lists are valid, which packages there are, and how
    far the processing of movies is behind.
  - Of files it tells what differs, never what they hold.
  - Changes nothing, so check mode does the same. What it finds does not make it fail.
options:
  needs:
    description: What P(cloudlet.deploy.host_needs#module) took down, by component.
    type: dict
    required: true
  state_dir:
    description: Where the manifests are.
    type: path
    default: /var/lib/cloudlet-deploy
attributes:
  check_mode:
    support: full
author: The cloudlet-deploy founders
"""

EXAMPLES = r"""
- name: Look at the host
  cloudlet.deploy.host_status:
    needs: "{{ ansible_facts['cloudlet_needs'] | default({}) }}"
"""

RETURN = r"""
report:
  description: What was seen, by C(sets), C(drift), C(pending), C(units), C(health),
    C(certificates), C(packages), C(programs), C(watches) and C(problems).
  returned: always
  type: dict
changes:
  description: Always empty.
  returned: always
  type: list
"""

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils import status  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import run  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import (  # noqa: E402
    STATE_DIR,
)


def main():
    module = AnsibleModule(
        argument_spec={
            "needs": {"type": "dict", "required": True},
            "state_dir": {"type": "path", "default": STATE_DIR},
        },
        supports_check_mode=True,
    )
    report = status.look(module.params["needs"], run, module.params["state_dir"])
    module.exit_json(changed=False, changes=[], report=report)


if __name__ == "__main__":
    main()
