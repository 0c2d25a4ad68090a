#!/usr/bin/python
# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""One real request to a grid service, made on the host that the task runs on."""

from __future__ import annotations

DOCUMENTATION = r"""
module: grid_health
short_description: Ask an SRM door or a GridFTP server something, and fail without a good answer
description:
  - V(srm) lists a path through the door, with a certificate, over httpg. An open port and an
    srmPing would not show that mapping and storage work.
  - V(gridftp) reads the banner and asks for GSI authentication.
  - A service that may still be starting is asked again until O(timeout).
  - In check mode it asks once and never fails, since what it finds may be about to change.
options:
  kind:
    description: What the service is.
    type: str
    choices: [srm, gridftp]
    required: true
  host:
    description: Its name, as in its certificate and in the SURL.
    type: str
    required: true
  port:
    description: Its port.
    type: int
    required: true
  address:
    description: Where to connect, if O(host) is not reached by its name.
    type: str
  path:
    description: Path to list; needed for V(srm).
    type: str
  certificate:
    description: Certificate, or proxy, to ask with; needed for V(srm).
    type: path
  key:
    description: Its key, not encrypted; needed for V(srm).
    type: path
  ca_dir:
    description: Directory with the trusted CAs under their hash names.
    type: path
    default: /etc/grid-security/certificates
  timeout:
    description: Seconds to wait for a good answer.
    type: int
    default: 90
attributes:
  check_mode:
    support: full
author: [The cloudlet-deploy founders]
"""

EXAMPLES = r"""
- name: List a directory through the door
  cloudlet.deploy.grid_health:
    kind: srm
    host: door.example.org
    port: 8443
    path: /srv/storage
    certificate: /etc/grid-security/hostcert.pem
    key: /etc/grid-security/hostkey.pem
"""

RETURN = r"""
checked:
  description: False in check mode when nothing listens yet.
  type: bool
  returned: always
healthy:
  description: Whether the answer was as wanted.
  type: bool
  returned: always
status:
  description: SRM status code, or code of the GridFTP reply.
  type: str
  returned: when healthy
explanation:
  description: What the service said, or why it is not healthy.
  type: str
  returned: always
version:
  description: What the service says that it is.
  type: str
  returned: when healthy
duration_ms:
  description: Time of the request that worked, connection and TLS included.
  type: int
  returned: when healthy
attempts:
  description: Number of requests until one worked.
  type: int
  returned: when healthy
"""

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils import srm_probe  # noqa: E402


def ask(options, check, **clock):
    """Result of the module for its ``options``. Raises ProbeError when not in check mode."""
    target = srm_probe.Target(
        options["host"],
        options["port"],
        options["address"] or options["host"],
        options["certificate"] or "",
        options["key"] or "",
        options["ca_dir"],
    )

    def once(seconds):
        if options["kind"] == "srm":
            return srm_probe.ask_srm(target, options["path"], seconds)
        return srm_probe.ask_gridftp(target, seconds)

    try:
        answer, duration, calls = srm_probe.until_healthy(
            once, 0 if check else options["timeout"], **clock
        )
    except srm_probe.ProbeError as exc:
        if not check:
            raise
        result = {"changed": False, "changes": [], "healthy": False, "checked": not exc.refused}
        return dict(result, explanation="Not checked: %s." % exc.seen if exc.refused else exc.seen)
    return {
        "changed": False,
        "changes": [],
        "checked": True,
        "healthy": True,
        "duration_ms": duration,
        "attempts": calls,
        **answer._asdict(),
    }


def main():
    module = AnsibleModule(
        argument_spec={
            "kind": {"type": "str", "choices": ["srm", "gridftp"], "required": True},
            "host": {"type": "str", "required": True},
            "port": {"type": "int", "required": True},
            "address": {"type": "str"},
            "path": {"type": "str"},
            "certificate": {"type": "path"},
            "key": {"type": "path", "no_log": False},
            "ca_dir": {"type": "path", "default": "/etc/grid-security/certificates"},
            "timeout": {"type": "int", "default": 90},
        },
        required_if=[("kind", "srm", ("path", "certificate", "key"))],
        supports_check_mode=True,
    )
    options = module.params
    try:
        result = ask(options, module.check_mode)
    except srm_probe.ProbeError as exc:
        service = "SRM door" if options["kind"] == "srm" else "GridFTP server"
        module.fail_json(
            msg="The %s %s:%d is not healthy: %s. %s"
            % (service, options["host"], options["port"], exc.seen.rstrip("."), exc.next_step),
            healthy=False,
            checked=True,
            explanation=exc.seen,
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
