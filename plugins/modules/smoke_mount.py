#!/usr/bin/python
# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""How fast one mount is read and written."""

from __future__ import annotations

DOCUMENTATION = r"""
module: smoke_mount
short_description: Measure how fast a mount is read and written
version_added: 0.1.0
description:
  - Reads files of a mount that is read-only; writes a file to another one, reads it back, compares
    it and removes it. All sequentially, and past the host's page cache.
  - A mount that hangs ends the test in time. Does not fail because of what it finds, which its
    report tells. Does nothing in check mode.
options:
  name:
    description: What the mount is called.
    type: str
    required: true
  kind:
    description: What it is, for the report.
    type: str
    required: true
  where:
    description: Where it is mounted.
    type: path
    required: true
  seconds:
    description: Seconds for which it is read, and written.
    type: int
    default: 10
  mib:
    description: MiB after which each is enough.
    type: int
    default: 1024
attributes:
  check_mode:
    support: none
author: The cloudlet-deploy founders
"""

EXAMPLES = r"""
- name: Measure the camera's share
  cloudlet.deploy.smoke_mount:
    name: camera
    kind: cifs
    where: /srv/cloudlet/camera
"""

RETURN = r"""
report:
  description: C(mount), C(kind), C(where), C(read) and C(write) with C(bytes) and C(seconds) each,
    C(problem), and C(left), a file that could not be removed.
  returned: always
  type: dict
changes:
  description: Always empty.
  returned: always
  type: list
"""

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils import mount_rate  # noqa: E402


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "kind": {"type": "str", "required": True},
            "where": {"type": "path", "required": True},
            "seconds": {"type": "int", "default": 10},
            "mib": {"type": "int", "default": 1024},
        },
    )
    options = module.params
    told = {"mount": options["name"], "kind": options["kind"]}
    told.update(mount_rate.measure(options["where"], options["seconds"], options["mib"]))
    module.exit_json(changed=False, changes=[], report=told)


if __name__ == "__main__":
    main()
