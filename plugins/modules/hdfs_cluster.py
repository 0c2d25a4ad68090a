#!/usr/bin/python
# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Waits until the name node says what is waited for. Runs on Python 3.9 and later."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hdfs_cluster
short_description: Wait until HDFS is as it must be before the next step
version_added: 0.1.0
description:
  - Asks the name node's JMX page, and changes nothing.
  - In check mode it asks once, and a name node that does not answer is no error, as a plan may come
    before the first start.
options:
  host:
    description: The name node.
    type: str
  port:
    description: Port of its web pages.
    type: int
  config:
    description: Directory of Hadoop's configuration on this host, which names O(host), O(port) and
      the data node of this host for O(node). Used where O(host) is not given.
    type: path
  until:
    description: V(answers) is a name node that answers. V(registered) is one that knows O(node)
      as live. V(safe) is one without safe mode that has all of O(expected) live and enough copies
      of every block. V(back) is V(safe), and it has heard of O(node) since its service came up on
      this host; a stopped data node counts as live for minutes. V(decommissioned) is one that says
      so of O(node), and is not waited for.
    type: str
    choices: [answers, registered, safe, back, decommissioned]
    required: true
  node:
    description: Name of a data node.
    type: str
    default: ""
  expected:
    description: Names of the data nodes that must be live.
    type: list
    elements: str
    default: []
  timeout:
    description: Seconds to wait.
    type: int
    default: 300
attributes:
  check_mode:
    support: full
author: The cloudlet-deploy founders
"""

EXAMPLES = r"""
- name: Wait until a data node may be stopped
  cloudlet.deploy.hdfs_cluster:
    host: nn.example.org
    port: 9870
    until: safe
    expected: [data1.example.org, data2.example.org]
"""

RETURN = r"""
changes:
  description: Always empty.
  returned: success
  type: list
"""

import time  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils import hdfs_probe  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import run  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils.srm_probe import (  # noqa: E402
    ProbeError,
)

PAUSE = 2
UNIT = "hdfs-datanode.service"


def seconds_up(systemctl=run, clock=time.monotonic):
    """Seconds since the data node's service came up on this host; 0 where it is not up."""
    argv = ["systemctl", "show", "--property=ActiveState,ActiveEnterTimestampMonotonic", UNIT]
    told = dict(line.split("=", 1) for line in systemctl(argv).out.splitlines() if "=" in line)
    if told.get("ActiveState") != "active":
        return 0
    return clock() - int(told["ActiveEnterTimestampMonotonic"]) / 1e6


def missing(seen, options, up=seconds_up):
    """What is not yet as waited for, in words; "" if all is."""
    node = seen.nodes.get(options["node"])
    if options["until"] == "registered":
        return "" if node and node["live"] else "it does not know %s as live" % options["node"]
    if options["until"] in ("safe", "back"):
        told = seen.unsafe(options["expected"])
        if told or options["until"] == "safe":
            return told
        silent = node["silent"] if node and node["live"] else None
        # It tells whole seconds, cut off.
        if silent is None or silent + 1 > up():
            return "it has not heard of %s since %s came up" % (options["node"], UNIT)
        return ""
    if options["until"] == "decommissioned":
        if node is None:
            return "it knows no data node %s" % options["node"]
        told = hdfs_probe.describe(node)
        return "" if told == "Decommissioned" else "%s is: %s" % (options["node"], told)
    return ""


def wait(options, once, look=hdfs_probe.look, sleep=time.sleep, clock=time.monotonic):
    """What is missing at the end; "" when all is as it must be."""
    deadline = clock() + options["timeout"]
    while True:
        try:
            told = missing(look(options["host"], options["port"]), options)
        except ProbeError as exc:
            told = exc.seen
        if not told or once or clock() + PAUSE > deadline:
            return told
        sleep(PAUSE)


_NEXT_STEPS = {
    "answers": "Look at its journal: journalctl -u hdfs-namenode.service.",
    "registered": "Look at the journal of the data node: journalctl -u hdfs-datanode.service.",
    "safe": "Nothing was stopped here. Start the data nodes that are away, or wait until the "
    "blocks are copied, then run this again.",
    "back": "Look at the journal of the data node: journalctl -u hdfs-datanode.service. No other "
    "is stopped before it is back.",
    "decommissioned": "Set hdfs_decommission: true for it, apply, and wait until status says "
    "Decommissioned; then its blocks are on the others.",
}


def main():
    module = AnsibleModule(
        argument_spec={
            "host": {"type": "str"},
            "port": {"type": "int"},
            "config": {"type": "path"},
            "until": {
                "type": "str",
                "choices": ["answers", "registered", "safe", "back", "decommissioned"],
                "required": True,
            },
            "node": {"type": "str", "default": ""},
            "expected": {"type": "list", "elements": "str", "default": []},
            "timeout": {"type": "int", "default": 300},
        },
        required_one_of=[("host", "config")],
        required_together=[("host", "port")],
        supports_check_mode=True,
    )
    options = dict(module.params)
    if not options["host"]:
        try:
            options["host"], options["port"], named = hdfs_probe.addresses(options["config"])
        except ProbeError as exc:
            if module.check_mode:
                module.exit_json(changed=False, changes=[])
            module.fail_json(msg=exc.seen, next_step=exc.next_step)
        options["node"] = options["node"] or named
    refusal = options["until"] == "decommissioned"
    told = wait(options, once=module.check_mode or refusal)
    # What is only waited for may be yet to come in a plan.
    if told and (refusal or not module.check_mode):
        waited = "" if refusal else " after %d s" % options["timeout"]
        module.fail_json(
            msg="The name node %s:%d is not as it must be%s: %s."
            % (options["host"], options["port"], waited, told),
            next_step=_NEXT_STEPS[options["until"]],
        )
    module.exit_json(changed=False, changes=[])


if __name__ == "__main__":
    main()
