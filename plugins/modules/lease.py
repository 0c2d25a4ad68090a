#!/usr/bin/python
# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""The part of ``lease`` that runs on the host."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.cloudlet.deploy.plugins.module_utils import (
    config_files,
    host_state,
    lease,
)

DOCUMENTATION = r"""
module: lease
short_description: Hold a host for one run
version_added: 0.1.0
description:
  - While a run holds a host, M(cloudlet.deploy.config_set) works for that run only.
  - A lease whose process is dead is taken over, if it ran on this controller.
  - A host that another run holds is no failure. The result says RV(refused).
options:
  state:
    description: V(present) takes the host, V(absent) gives it back.
    type: str
    choices: [present, absent]
    default: present
  run:
    description: The id of the run.
    type: str
    required: true
  command:
    description: What the run does, for others to read.
    type: str
    default: ""
  user:
    description: Who started it, for others to read.
    type: str
    default: ""
  controller:
    description: Name of the machine that it was started on, for others to read.
    type: str
    default: ""
  since:
    description: When it began, for others to read.
    type: str
    default: ""
  pid:
    description: Process on the controller that the lease ends with.
    type: int
    default: 0
  break_lock:
    description: Take the host over, whoever has it.
    type: bool
    default: false
  state_dir:
    description: Where the lease is kept on the host.
    type: path
    default: /var/lib/cloudlet-deploy
attributes:
  check_mode:
    support: none
author:
  - The cloudlet-deploy founders
"""

EXAMPLES = r"""
- name: Hold the host
  cloudlet.deploy.lease:
    run: "{{ cloudlet_run_id }}"
    pid: "{{ lookup('ansible.builtin.pipe', 'echo $PPID') }}"
  become: true
"""

RETURN = r"""
refused:
  description: Another run holds the host.
  type: bool
  returned: success
changes:
  description: What happened to the lease; see docs/architecture.md.
  type: list
  elements: dict
  returned: success
"""


def main():
    """Run the module: its arguments are what the action plugin made of the user's."""
    module = AnsibleModule(
        argument_spec={
            "lease": {"type": "dict", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "instead_of": {"type": "str"},
            "break_lock": {"type": "bool", "default": False},
            "state_dir": {"type": "path", "default": host_state.STATE_DIR},
        },
    )
    options = module.params
    wanted, where = options["lease"], options["state_dir"]
    try:
        if options["state"] == "absent":
            module.exit_json(changed=lease.give_back(where, wanted["run"]))
        taken, before = lease.take(where, wanted, options["instead_of"], options["break_lock"])
    except (config_files.ConfigError, host_state.StateError) as exc:
        module.fail_json(msg=str(exc))
    except OSError as exc:
        module.fail_json(msg="%s cannot be used: %s" % (lease.path_of(where), exc))
    module.exit_json(changed=taken, taken=taken, before=before)


if __name__ == "__main__":
    main()
