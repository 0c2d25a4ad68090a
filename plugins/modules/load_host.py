#!/usr/bin/python
# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""What a host brings along as a source of load."""

from __future__ import annotations

DOCUMENTATION = r"""
module: load_host
short_description: Look what a host brings along as a source of load
version_added: 0.1.0
description:
  - Tells the processors, the version of Python and the machine's type. The last two have to be
    those of the controller, since the load engine is brought from there as it is.
  - Changes nothing, so check mode does the same.
options:
  python:
    description: The Python that is to run the load engine.
    type: str
    default: python3
attributes:
  check_mode:
    support: full
author: The cloudlet-deploy founders
"""

EXAMPLES = r"""
- name: Look at the load host
  cloudlet.deploy.load_host:
"""

RETURN = r"""
report:
  description: C(processors), C(machine), and C(version) of Python such as C(3.11), or C(problem).
  returned: always
  type: dict
changes:
  description: Always empty.
  returned: always
  type: list
"""

import os  # noqa: E402
import platform  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402

_ASK = "import sys; print('%d.%d' % sys.version_info[:2])"


def main():
    module = AnsibleModule(
        argument_spec={"python": {"type": "str", "default": "python3"}}, supports_check_mode=True
    )
    report = {"processors": len(os.sched_getaffinity(0)), "machine": platform.machine()}
    code, out, err = module.run_command(
        [module.params["python"], "-c", _ASK], handle_exceptions=False
    )
    if code == 0:
        report["version"] = out.strip()
    else:
        report["problem"] = err.strip()[:200]
    module.exit_json(changed=False, changes=[], report=report)


if __name__ == "__main__":
    main()
