#!/usr/bin/python
# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""One end of a measurement between two hosts."""

from __future__ import annotations

DOCUMENTATION = r"""
module: smoke_hop
short_description: Measure how fast data goes from one host to another
version_added: 0.1.0
description:
  - One end of a test by iperf3, which must be installed. V(serving) on the host that data goes to,
    then V(asked) on the one that they come from, then V(ended) on the first.
  - The server listens for one test, and ends by itself a minute after its time if nobody ends it.
  - Does not fail because of what it finds, which its report tells. Does nothing in check mode.
options:
  name:
    description: What the hop is called.
    type: str
    required: true
  state:
    description: What this host is to do.
    type: str
    choices: [serving, asked, ended]
    required: true
  address:
    description: The other host, as this one reaches it; for V(asked).
    type: str
    default: ""
  port:
    description: The port.
    type: int
    default: 5201
  seconds:
    description: Seconds for which data are sent.
    type: int
    default: 10
  streams:
    description: TCP connections at a time.
    type: int
    default: 1
attributes:
  check_mode:
    support: none
author: The cloudlet-deploy founders
"""

EXAMPLES = r"""
- name: Measure the way from the camera
  cloudlet.deploy.smoke_hop:
    name: camera
    state: asked
    address: cloudlet.example.org
"""

RETURN = r"""
report:
  description: C(hop), C(state), and C(mbit) with C(retransmits), or C(problem).
  returned: always
  type: dict
changes:
  description: Always empty.
  returned: always
  type: list
"""

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils import hop  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import run  # noqa: E402


def main():
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["serving", "asked", "ended"], "required": True},
            "address": {"type": "str", "default": ""},
            "port": {"type": "int", "default": 5201},
            "seconds": {"type": "int", "default": 10},
            "streams": {"type": "int", "default": 1},
        },
        required_if=[("state", "asked", ("address",))],
    )
    options = module.params
    port, seconds = options["port"], options["seconds"]
    told = {"hop": options["name"], "state": options["state"]}
    if options["state"] == "serving":
        told["problem"] = hop.serve(run, port, seconds)
    elif options["state"] == "asked":
        told.update(hop.ask(run, options["address"], port, seconds, options["streams"]))
    else:
        hop.end(run)
    module.exit_json(changed=False, changes=[], report=told)


if __name__ == "__main__":
    main()
