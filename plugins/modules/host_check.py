#!/usr/bin/python
# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Documentation of the action plugin host_check; no code of it runs on the host."""

from __future__ import annotations

DOCUMENTATION = r"""
module: host_check
short_description: Refuse a host that cannot be deployed to
version_added: 0.1.0
description:
  - Reads distribution, Python, init system and privilege in one shell command that needs no Python
    on the host, and fails where one of them will not do.
  - What it read becomes facts under the names that M(ansible.builtin.setup) uses.
  - Changes nothing, so check mode does the same.
author: The cloudlet-deploy founders
"""

EXAMPLES = r"""
- name: Look at the host
  cloudlet.deploy.host_check:
  become: true
"""

RETURN = r"""
changes:
  description: Always empty.
  returned: success
  type: list
"""
