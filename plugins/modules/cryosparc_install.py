#!/usr/bin/python
# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""A version of CryoSPARC, installed beside the others. Python 3.9 and later."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cryosparc_install
short_description: Install a version of CryoSPARC beside the one that runs
version_added: 0.1.0
description:
  - Looks at what CryoSPARC wants of its host, and refuses what cannot work, before anything is
    changed.
  - Unpacks the vendor's archives below O(directory) and runs their installers, as the account.
    The license is told to them by standard input. A version that is installed is never installed
    again; one that was not finished is removed and begun anew.
  - License, name and port are kept as they are to be in C(config.sh) of O(version).
  - Which version is in use is P(cloudlet.deploy.cryosparc_switch#module)'s work.
options:
  directory:
    description: Where versions are installed. It and the next six are needed with O(state=present).
    type: path
  look:
    description: Only look, and refuse what cannot work.
    type: bool
    default: false
  version:
    description: The version.
    type: str
  license:
    description: The license's identifier.
    type: str
  account:
    description: The account, which must be there unless O(look).
    type: str
  hostname:
    description: Name of the master.
    type: str
  port:
    description: The first of its ports.
    type: int
  database:
    description: Directory of its database.
    type: path
  worker:
    description: Whether the worker is installed too.
    type: bool
    default: true
  gpu:
    description: Whether the worker has GPUs.
    type: bool
    default: false
  archives_on:
    description: Whether paths of archives are the controller's or the host's.
    type: str
    choices: [controller, host]
    default: controller
  master_archive:
    description: URL or path of the master's archive. C({license}) and C({version}) in a URL become
      what they name.
    type: str
  master_checksum:
    description: Its checksum, as C(sha256:HEX).
    type: str
  worker_archive:
    description: URL or path of the worker's archive.
    type: str
  worker_checksum:
    description: Its checksum, as C(sha256:HEX).
    type: str
  timeout:
    description: Seconds that one installer may take.
    type: int
    default: 3600
  sources:
    description: Paths of the archives on the host; the action plugin sets them.
    type: dict
    default: {}
  state:
    description: V(absent) removes all versions that were installed. The database stays.
    type: str
    choices: [present, absent]
    default: present
  state_dir:
    description: Where the ledger is.
    type: path
    default: /var/lib/cloudlet-deploy
attributes:
  check_mode:
    support: full
author: [The cloudlet-deploy founders]
"""

EXAMPLES = r"""
- name: Install CryoSPARC
  cloudlet.deploy.cryosparc_install:
    directory: /opt/cryosparc
    version: v5.0.1
    license: "{{ vaulted_license }}"
    account: cryosparc
    hostname: cryosparc.example.org
    port: 61000
    database: /var/lib/cryosparc/database
    master_archive: /srv/archives/cryosparc_master.tar.gz
    master_checksum: sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
    worker: false
"""

RETURN = r"""
changes:
  description: What was, or would be, installed, changed or removed.
  type: list
  returned: always
missing:
  description: Parts that are not installed yet.
  type: list
  returned: unless O(state=absent)
configured:
  description: Whether C(config.sh) of a version that was there has, or would have, other values.
  type: bool
  returned: unless O(state=absent)
"""

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils.cryosparc_version import (  # noqa: E402
    Installation,
    absent,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import (  # noqa: E402
    STATE_DIR,
    StateError,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.idmaps import Refused  # noqa: E402


def argument_spec():
    """The module's arguments; DOCUMENTATION says what they mean."""
    text = {"type": "str"}
    return {
        "directory": {"type": "path"},
        "look": {"type": "bool", "default": False},
        "version": text,
        "license": {"type": "str", "no_log": True},
        "account": text,
        "hostname": text,
        "port": {"type": "int"},
        "database": {"type": "path"},
        "worker": {"type": "bool", "default": True},
        "gpu": {"type": "bool", "default": False},
        "archives_on": {
            "type": "str",
            "choices": ["controller", "host"],
            "default": "controller",
        },
        "master_archive": text,
        "master_checksum": text,
        "worker_archive": text,
        "worker_checksum": text,
        "timeout": {"type": "int", "default": 3600},
        "sources": {"type": "dict", "default": {}},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "state_dir": {"type": "path", "default": STATE_DIR},
    }


def main():
    needed = ("directory", "version", "license", "account", "hostname", "port", "database")
    module = AnsibleModule(
        argument_spec=argument_spec(),
        required_if=[("state", "present", needed)],
        supports_check_mode=True,
    )
    given = module.params
    try:
        if given["state"] == "absent":
            result = absent(given["state_dir"], module.check_mode)
        else:
            own = Installation(given)
            own.refuse()
            result = own.present(module.check_mode or given["look"])
            for part in result["missing"] if given["look"] and given["sources"] else ():
                own.check_archive(part)
            if given["look"]:
                # Told by the call that does it.
                result.update(changed=False, changes=[])
    except Refused as exc:
        module.fail_json(msg="%s." % exc, next_step=exc.next_step, changes=[])
    except (StateError, OSError, KeyError) as exc:
        module.fail_json(msg="cryosparc_install %s: %s" % (given["directory"] or "", exc))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
