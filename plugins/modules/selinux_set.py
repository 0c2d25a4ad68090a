#!/usr/bin/python
# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""All that a component wants of SELinux on one host, in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: selinux_set
short_description: Change SELinux's policy locally, least by least, and give back what was
version_added: 0.1.0
description:
  - Everything is changed in one transaction of the policy store, as each takes seconds, and before
    it what was there is written to the ledger. What is not named any more is given back.
  - Booleans are asserted in the running kernel and in the store, each time. One that has its value
    by default gets it by a local setting too, so that no update of the policy takes it away.
  - Files are relabeled in the directories of O(relabel) only. Homes, certificates, and what is on
    or holds a mount of a network or FUSE file system are refused. Other file systems below stay as
    they are.
  - The mode is never changed. A host that does not enforce is refused unless O(accept) names it.
options:
  component:
    description: Whose wishes they are. With O(state=absent) it may be left out; then those of
      all components are meant.
    type: str
  state:
    description: V(absent) gives back what was before. It works in any mode.
    type: str
    choices: [present, absent]
    default: present
  mode:
    description: The mode that the host must be in, now and by C(/etc/selinux/config).
    type: str
    choices: [enforcing]
    default: enforcing
  accept:
    description: Modes that the host may be in, too. Where it is V(disabled), nothing is done.
    type: list
    elements: str
    choices: [permissive, disabled]
    default: []
  booleans:
    description: Values by name.
    type: dict
    default: {}
  contexts:
    description: Labels of files, as of C(semanage fcontext).
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: A regular expression of whole paths.
        type: str
        required: true
      type:
        description: The type that such files get.
        type: str
        required: true
  equivalents:
    description: Directories that are labeled as another one is, as of C(semanage fcontext -e).
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: The directory.
        type: str
        required: true
      like:
        description: The other one.
        type: str
        required: true
  ports:
    description: Types of ports, as of C(semanage port). The policy's own type gives way.
    type: list
    elements: dict
    default: []
    suboptions:
      port:
        description: A port, or a range as C(9000-9010).
        type: str
        required: true
      protocol:
        description: Its protocol.
        type: str
        choices: [tcp, udp, dccp, sctp]
        default: tcp
      type:
        description: The type that it gets.
        type: str
        required: true
  modules:
    description: Policy modules, at priority 400.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Its name; no other module of the host may have it.
        type: str
        required: true
      cil:
        description: Its text in CIL.
        type: str
        required: true
  logins:
    description: Who an account is to SELinux, as of C(semanage login). It holds from the next
      start of its processes.
    type: list
    elements: dict
    default: []
    suboptions:
      account:
        description: The account.
        type: str
        required: true
      user:
        description: The SELinux user, such as C(unconfined_u).
        type: str
        required: true
      levels:
        description: Its level, or the range of them.
        type: str
        default: s0
  relabel:
    description: Directories in which files get the labels that the policy now says. When one is
      named no more, it gets those of the policy without our contexts.
    type: list
    elements: str
    default: []
  root:
    description: Where the files of the host are.
    type: path
    default: /
  state_dir:
    description: Where the ledger lies.
    type: path
    default: /var/lib/cloudlet-deploy
attributes:
  check_mode:
    support: full
notes:
  - Needs libsemanage for Python and C(restorecon) where something is to be changed.
  - In check mode a boolean or type that the policy does not know is only warned of, unless it looks
    like a slip, since a package that is installed before may bring it.
author: The cloudlet-deploy founders
"""

EXAMPLES = r"""
- name: Let the web server reach the portal, and containers its data
  cloudlet.deploy.selinux_set:
    component: portal
    booleans:
      httpd_can_network_relay: true
    contexts:
      - {path: "/srv/portal(/.*)?", type: container_file_t}
    ports:
      - {port: "8444", type: http_port_t}
    relabel: [/srv/portal]
"""

RETURN = r"""
changes:
  description: What was, or in check mode would be, set and restored.
  returned: always
  type: list
mode:
  description: The mode of SELinux that was found, V(enforcing), V(permissive) or V(disabled).
  returned: success
  type: str
"""

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import (  # noqa: E402
    STATE_DIR,
    StateError,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.selinux_engine import (  # noqa: E402
    Engine,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.selinux_policy import (  # noqa: E402
    Refused,
)

_TEXT = {"type": "str", "required": True}


def _list(**options):
    return {"type": "list", "elements": "dict", "default": [], "options": options}


def main():
    module = AnsibleModule(
        argument_spec={
            "component": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "mode": {"type": "str", "choices": ["enforcing"], "default": "enforcing"},
            "accept": {
                "type": "list",
                "elements": "str",
                "choices": ["permissive", "disabled"],
                "default": [],
            },
            "booleans": {"type": "dict", "default": {}},
            "contexts": _list(path=_TEXT, type=_TEXT),
            "equivalents": _list(path=_TEXT, like=_TEXT),
            "ports": _list(
                port=_TEXT,
                protocol={
                    "type": "str",
                    "choices": ["tcp", "udp", "dccp", "sctp"],
                    "default": "tcp",
                },
                type=_TEXT,
            ),
            "modules": _list(name=_TEXT, cil=_TEXT),
            "logins": _list(account=_TEXT, user=_TEXT, levels={"type": "str", "default": "s0"}),
            "relabel": {"type": "list", "elements": "str", "default": []},
            "root": {"type": "path", "default": "/"},
            "state_dir": {"type": "path", "default": STATE_DIR},
        },
        required_if=[("state", "present", ("component",))],
        supports_check_mode=True,
    )
    options = module.params
    try:
        engine = Engine(
            options["component"], options["state_dir"], options["root"], module.check_mode
        )
        if options["state"] == "present":
            result = engine.present(options, options["accept"])
        else:
            result = engine.absent()
    except Refused as exc:
        told = {"changed": bool(exc.changes), "changes": exc.changes}
        module.fail_json(msg="%s." % exc, next_step=exc.next_step, **told)
    except (StateError, OSError) as exc:
        module.fail_json(msg="SELinux: %s" % exc)
    for warning in result.pop("warnings"):
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
