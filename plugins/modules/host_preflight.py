#!/usr/bin/python
# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Whether a host has what its roles need, in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_preflight
short_description: Look whether a host has what its roles need
version_added: 0.1.0
description:
  - Looks at memory, disk space, directories, names, ports, accounts, package sources and SELinux.
    The action plugin of the same name adds the clock and the certificates, which the controller
    judges.
  - Fails if a check failed; a warning is only told. Changes nothing, so check mode does the same.
options:
  needs:
    description: What P(cloudlet.deploy.host_needs#module) took down, by component.
    type: dict
    required: true
  memory_mb:
    description: Memory that the site says the host has, in MB; V(0) if it does not say.
    type: int
    default: 0
attributes:
  check_mode:
    support: full
author: The cloudlet-deploy founders
"""

EXAMPLES = r"""
- name: Look at the host
  cloudlet.deploy.host_preflight:
    needs: "{{ ansible_facts['cloudlet_needs'] | default({}) }}"
"""

RETURN = r"""
report:
  description: C(findings), each with C(check), C(component), C(status) (V(ok), V(warning) or
    V(failed)), C(detail) and C(next_step).
  returned: always
  type: dict
changes:
  description: Always empty.
  returned: always
  type: list
"""

import time  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils import preflight  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import run  # noqa: E402


def main():
    module = AnsibleModule(
        argument_spec={
            "needs": {"type": "dict", "required": True},
            "memory_mb": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    told = time.time()
    findings = preflight.look(
        module.params["needs"], preflight.Host(run), module.params["memory_mb"]
    )
    module.exit_json(
        changed=False, changes=[], report={"findings": findings, "told": told, "ended": time.time()}
    )


if __name__ == "__main__":
    main()
