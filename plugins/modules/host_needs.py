#!/usr/bin/python
# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Documentation of the action plugin host_needs; no code of it runs on the host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_needs
short_description: Say what a role needs of its host
version_added: 0.1.0
description:
  - Adds to the fact C(cloudlet_needs), by component. P(cloudlet.deploy.host_preflight#module) looks
    before a deployment whether the host has it, P(cloudlet.deploy.host_status#module) afterwards
    whether it is still so, and P(cloudlet.deploy.host_tuning#module) what of the settings is in
    force; each in one call for all roles of a host.
  - Runs on the controller only and changes nothing.
options:
  component:
    description: Whose needs these are.
    type: str
    required: true
  accounts:
    description: As of P(cloudlet.deploy.account_set#module).
    type: list
    elements: dict
    default: []
  groups:
    description: As of P(cloudlet.deploy.account_set#module).
    type: list
    elements: dict
    default: []
  authorities:
    description: Directories of CA certificates and revocation lists under their hash names.
    type: list
    elements: str
    default: []
  certificates:
    description: Certificates that the host gets.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where it is on the host.
        type: str
        required: true
      source:
        description: The file on the controller that it is made from.
        type: str
        default: ""
      text:
        description: What that file holds.
        type: str
        default: ""
      host:
        description: The name that it must be for.
        type: str
        default: ""
  directories:
    description: Directories that must be there before.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Its path.
        type: str
        required: true
      what:
        description: What it is, or the variable that names it.
        type: str
        required: true
      mounted:
        description: Whether it must be a mount point.
        type: bool
        default: false
      free_mb:
        description: Free space in MiB below which it is warned of.
        type: int
        default: 0
  health:
    description: Requests as P(cloudlet.deploy.grid_health#module) makes them.
    type: list
    elements: dict
    default: []
  memory:
    description: Memory that its processes take.
    type: list
    elements: dict
    default: []
    suboptions:
      what:
        description: What takes it.
        type: str
        required: true
      mb:
        description: How much, in MiB.
        type: int
        required: true
      at_most:
        description: Taken under full load only.
        type: bool
        default: false
  names:
    description: Names under which clients reach the host.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: The name.
        type: str
        required: true
      what:
        description: The variable that holds it.
        type: str
        required: true
  packages:
    description: Names of distribution packages.
    type: list
    elements: str
    default: []
  ports:
    description: TCP ports that it listens on.
    type: list
    elements: dict
    default: []
    suboptions:
      port:
        description: The port, or the first of a range.
        type: int
        required: true
      last:
        description: The last one of a range.
        type: int
      unit:
        description: The unit that listens there.
        type: str
        default: ""
      what:
        description: The variable that holds it.
        type: str
        required: true
  probes:
    description: Commands that only look, and succeed while all is as it was made.
    type: list
    elements: dict
    default: []
    suboptions:
      argv:
        description: The command.
        type: list
        elements: str
        required: true
      what:
        description: What is wrong where it fails.
        type: str
        required: true
      next_step:
        description: What to do then.
        type: str
        required: true
  programs:
    description: Programs that tell their own version.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What it is called.
        type: str
        required: true
      argv:
        description: The command that prints the version in its first line.
        type: list
        elements: str
        required: true
  space:
    description: Disk space that it needs.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Where; need not exist yet.
        type: str
        required: true
      what:
        description: For what.
        type: str
        required: true
      mb:
        description: How much it will hold, in MiB; files that are there already count.
        type: int
        required: true
  tuned:
    description: Settings that can be tuned, and how to tell what is in force of each.
    type: list
    elements: dict
    default: []
    suboptions:
      variable:
        description: The variable that the role takes it from.
        type: str
        required: true
      unit:
        description: The unit whose process has it; empty for the kernel's.
        type: str
        default: ""
      file:
        description: The file that the role writes it to.
        type: str
        required: true
      pattern:
        description:
          - A regular expression of Python, whose one group is the value in that file. C(^) and C($)
            are the ends of a line. Where it is found more than once the last one counts.
        type: str
        required: true
      read:
        description: How to read what is in force.
        type: dict
        required: true
        suboptions:
          kind:
            description:
              - V(at_start) is what the file says, where the unit's process has started since.
              - V(backlog) is that of the listening socket O(tuned[].read.port).
              - V(environment) is a variable O(tuned[].read.name) of the process.
              - V(hadoop) is the O(tuned[].read.key) that a daemon of Hadoop tells on its web port
                O(tuned[].read.port).
              - V(jvm) is a O(tuned[].read.flag) of the Java virtual machine.
              - V(limit) is the soft limit O(tuned[].read.name) as C(/proc/PID/limits) names it.
              - V(sysctl) is the kernel's O(tuned[].read.name); of several numbers the last.
              - V(tasks_max) is what the control groups of the process allow.
            type: str
            required: true
            choices: [at_start, backlog, environment, hadoop, jvm, limit, sysctl, tasks_max]
          name:
            description: Of an environment variable, a limit or a sysctl.
            type: str
          flag:
            description: Of the virtual machine.
            type: str
          divide:
            description: What the flag's number is divided by, to be in the variable's unit.
            type: int
            default: 1
          port:
            description: A TCP port of this host.
            type: int
          key:
            description: A property of Hadoop.
            type: str
      as:
        description: What the variable holds.
        type: str
        choices: [int, str, bool]
        default: int
      values:
        description: Values of the variable by the words of host and file for them, if these differ.
        type: dict
        default: {}
      use:
        description: How to read how much of it is in use at the moment, where that can be told.
        type: dict
        suboptions:
          kind:
            description:
              - V(threads), V(files) and V(maps) are those of the unit's process; without a unit, of
                the process that has most among those of all units that are named.
              - V(jmx) is a number that a daemon of Hadoop tells on its web port
                O(tuned[].read.port).
            type: str
            required: true
            choices: [files, jmx, maps, threads]
          bean:
            description: Name of the bean; where it has a C(*), the sum over all that fit.
            type: str
          attribute:
            description: The number in it.
            type: str
  units:
    description: Units that are to be enabled and active.
    type: list
    elements: str
    default: []
  watches:
    description: Directories of movies whose processing is to keep up.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: What it is called.
        type: str
        required: true
      raw:
        description: The directory that the movies come to.
        type: str
        required: true
      raw_pattern:
        description: Which files are movies, below O(watches[].raw).
        type: str
        required: true
      output:
        description: The directory that the output goes to.
        type: str
        required: true
      output_pattern:
        description: Which files are output, below O(watches[].output).
        type: str
        required: true
      limit:
        description: Seconds that the output may be behind.
        type: int
        required: true
      mounts:
        description: Mount points. Those that the directories lie in must be mounted.
        type: list
        elements: str
        default: []
author: The cloudlet-deploy founders
"""

EXAMPLES = r"""
- name: Say what the GridFTP server needs
  cloudlet.deploy.host_needs:
    component: gridftp
    packages: [globus-gridftp-server-progs]
    ports:
      - {port: 2811, unit: globus-gridftp-server.service, what: gridftp_port}
    units: [globus-gridftp-server.service]
"""

RETURN = r"""
changes:
  description: Always empty.
  returned: success
  type: list
"""
