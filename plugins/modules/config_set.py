#!/usr/bin/python
# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""The part of ``config_set`` that runs on the host."""

from __future__ import annotations

import base64
import json
import zlib

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.cloudlet.deploy.plugins.module_utils import (
    config_engine,
    config_files,
    host_state,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.selinux import SELinux

DOCUMENTATION = r"""
module: config_set
short_description: Writes all configuration files of one component together
version_added: 0.1.0
description:
  - Renders all files of a component on the controller, sends them in one call, and changes on
    the host what differs; as a set, or not at all.
  - Files are staged beside their targets, validated, journaled and renamed. A call that was
    interrupted is completed by the next one.
  - Files of an earlier call that are no longer listed are put back to what was there before
    the set (generation 0), or removed if there was nothing.
  - A symbolic link at a listed path is an error that names it; it is never followed.
options:
  name:
    description: Name of the set; one per component and host.
    type: str
    required: true
  state:
    description:
      - V(absent) puts back generation 0 of all files, contents and attributes, removes the
        directories that the set made if they are empty, and forgets the set.
    type: str
    choices: [present, absent]
    default: present
  directories:
    description: Directories to make, or to give owner, group and mode.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path.
        type: path
        required: true
      owner:
        description: Name or number; by default the account that the module runs as.
        type: str
      group:
        description: Name or number; by default the group that the module runs as.
        type: str
      mode:
        description: Quoted octal number.
        type: str
        default: "0755"
      data:
        description:
          - What is in it is data that others write, such as logs. It stays when the set goes,
            unless M(cloudlet.deploy.host_sets) is told to purge it.
        type: bool
        default: false
      mount_point:
        description:
          - Something will be mounted on it. While it is, the directory is neither compared nor
            removed, as what would be seen is what is mounted.
        type: bool
        default: false
  files:
    description:
      - The files; each has exactly one of O(files[].template), O(files[].content) and
        O(files[].src). At most 1 MiB each and 4 MiB together.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Absolute path.
        type: path
        required: true
      template:
        description: Template on the controller, looked for as M(ansible.builtin.template) does.
        type: str
      content:
        description: The content itself.
        type: str
      src:
        description: File on the controller, decrypted if vaulted, looked for in C(files).
        type: path
      owner:
        description: Name or number; by default the account that the module runs as.
        type: str
      group:
        description: Name or number; by default the group that the module runs as.
        type: str
      mode:
        description: Quoted octal number. By default V("0644"), of secret files V("0600").
        type: str
      restart:
        description: Units that must restart when this file changes.
        type: list
        elements: str
        default: []
      reload:
        description: Units that must reload when this file changes.
        type: list
        elements: str
        default: []
      secret:
        description:
          - Show digests only, and keep the content of the current generation only.
        type: bool
        default: false
  validate:
    description: Commands that must accept the staged files before any is put in place.
    type: list
    elements: dict
    default: []
    suboptions:
      argv:
        description: The command; C({PATH}) stands for the staged file of that path.
        type: list
        elements: str
        required: true
      paths:
        description:
          - It runs when one of these changes; by default those that O(validate[].argv) names.
        type: list
        elements: str
  state_dir:
    description: Where manifests and generations are kept on the host.
    type: path
    default: /var/lib/cloudlet-deploy
attributes:
  check_mode:
    support: full
    description: Reports exactly the changes that it would make.
  diff_mode:
    support: full
    description: Secret and binary files are shown by their digests.
author:
  - The cloudlet-deploy founders
"""

EXAMPLES = r"""
- name: Configure the door
  cloudlet.deploy.config_set:
    name: bestman
    directories:
      - {path: /etc/bestman2/conf, owner: root, group: bestman, mode: "0750"}
    files:
      - path: /etc/bestman2/conf/bestman2.rc
        template: bestman2.rc.j2
        group: bestman
        mode: "0640"
        restart: [bestman2.service]
      - path: /etc/sudoers.d/bestman2
        template: sudoers.j2
        mode: "0440"
    validate:
      - argv: [/usr/sbin/visudo, -cf, "{/etc/sudoers.d/bestman2}"]
"""

RETURN = r"""
changes:
  description: What was changed, or would be; see docs/architecture.md.
  type: list
  elements: dict
  returned: always
generation:
  description: Number of the generation that is in place; 0 when the set is absent.
  type: int
  returned: always
units_pending:
  description: Units that run with an older configuration of this set, under restart and reload.
  type: dict
  returned: always
drift:
  description: Paths that another hand edited since the last generation.
  type: list
  elements: str
  returned: always
kept_aside:
  description: Where the content of a drifted file is kept that was replaced, by path.
  type: dict
  returned: always
not_validated:
  description: Validators that are not installed yet (check mode only).
  type: list
  elements: str
  returned: always
"""


def decode(payload):
    """The request that the action plugin packed: zlib-compressed JSON, contents in base64."""
    request = json.loads(zlib.decompress(base64.b64decode(payload)))
    for entry in request["files"]:
        entry["content"] = base64.b64decode(entry["content"])
    return request


def main():
    """Run the module."""
    module = AnsibleModule(
        argument_spec={
            "payload": {"type": "str", "required": True, "no_log": True},
            "state_dir": {"type": "path", "default": host_state.STATE_DIR},
        },
        supports_check_mode=True,
    )
    try:
        result = config_engine.apply(
            decode(module.params["payload"]),
            module.params["state_dir"],
            check=module.check_mode,
            want_diff=module._diff,
            selinux=SELinux(module) if module.selinux_enabled() else None,
        )
    except (config_files.ConfigError, host_state.StateError) as exc:
        module.fail_json(msg=str(exc), **getattr(exc, "told", {}))
    for warning in result.pop("warnings"):
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
