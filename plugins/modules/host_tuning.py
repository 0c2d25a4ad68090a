#!/usr/bin/python
# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""What a host is, and what it really has of each setting that can be tuned, in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_tuning
short_description: Look what of the tuned settings a host really has
version_added: 0.1.0
description:
  - Reads memory, cores, network speed and hard limits of the host, and of each setting that
    P(cloudlet.deploy.host_needs#module) named in O(needs) what our file says and what is in force.
  - Asks the running process and the kernel, since what a file asks for may have been clamped, or
    written after the process started. A HotSpot JVM is asked through its attach protocol, as
    C(jcmd) does; whatever else a unit runs gets no signal.
  - Changes nothing, so check mode does the same. What it finds does not make it fail; a damaged
    ledger or manifest does.
options:
  needs:
    description: What P(cloudlet.deploy.host_needs#module) took down, by component.
    type: dict
    required: true
  state_dir:
    description: Where the ledger and the manifests are.
    type: path
    default: /var/lib/cloudlet-deploy
attributes:
  check_mode:
    support: full
author: The cloudlet-deploy founders
"""

EXAMPLES = r"""
- name: Look at the host
  cloudlet.deploy.host_tuning:
    needs: "{{ ansible_facts['cloudlet_needs'] | default({}) }}"
"""

RETURN = r"""
report:
  description:
    - What the host is, by C(memory_mb), C(cores), C(kernel), C(container), C(nic_mbps),
      C(nofile_hard) and C(java_version); what could not be read, in C(problems).
    - In C(settings), by variable, C(configured) and C(effective), null where they are not known;
      C(before), that of the kernel before the first change of ours; C(settable), which is false
      where no value has an effect on this host; and C(cause), the reason of either.
  returned: success
  type: dict
changes:
  description: Always empty.
  returned: success
  type: list
"""

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils import tuning  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import run  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import (  # noqa: E402
    STATE_DIR,
    StateError,
)


def main():
    module = AnsibleModule(
        argument_spec={
            "needs": {"type": "dict", "required": True},
            "state_dir": {"type": "path", "default": STATE_DIR},
        },
        supports_check_mode=True,
    )
    try:
        report = tuning.look(module.params["needs"], run, module.params["state_dir"])
    except StateError as exc:
        module.fail_json(
            msg=str(exc),
            next_step="Restore the file from a backup of the host: what was there before a tune is "
            "known from it alone.",
        )
    module.exit_json(changed=False, changes=[], report=report)


if __name__ == "__main__":
    main()
