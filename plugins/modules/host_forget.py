#!/usr/bin/python
# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""The end of everything on a host: the state directory goes."""

from __future__ import annotations

import contextlib
import os
import shutil

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.cloudlet.deploy.plugins.module_utils import activation, host_state
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import change

DOCUMENTATION = r"""
module: host_forget
short_description: Remove the state directory of a host on which nothing is left to undo
version_added: 0.1.0
description:
  - The last step of undoing. Fails if the ledger or a config set still has something to undo.
  - What another hand had edited and a config set kept aside stays, unless O(purge_data).
  - A lease stays, with the lock, for its run to give back; that removes the directory.
options:
  purge_data:
    description: Remove what was kept aside too.
    type: bool
    default: false
  state_dir:
    description: The directory.
    type: path
    default: /var/lib/cloudlet-deploy
attributes:
  check_mode:
    support: full
    description: Takes for granted that the steps before it leave nothing to undo.
author: [The cloudlet-deploy founders]
"""

EXAMPLES = r"""
- name: Forget the host
  cloudlet.deploy.host_forget:
"""

RETURN = r"""
changes:
  description: What was removed, or would be.
  type: list
  returned: always
"""

#: What the modules of this release write there, besides the lock and the lease.
_OURS = ("ledger.json", "holding-units.json", "sets")
_LEASE, _DRIFT = "lease.json", "drift"


def names_in(path):
    """Names in a directory; none if it is not there."""
    try:
        return set(os.listdir(path))
    except FileNotFoundError:
        return set()


def left_to_undo(state_dir):
    """What would be forgotten though it is still there, in words."""
    # A file system is data: it stays, and a later apply adopts it.
    entries = host_state.Ledger(state_dir).entries
    told = sorted(key for key in entries if not key.startswith("filesystem:"))
    for name in sorted(names_in(activation.sets_dir(state_dir))):
        base = os.path.join(activation.sets_dir(state_dir), name)
        document = host_state.read_json(os.path.join(base, "manifest.json")) or {}
        if document.get("generation") or os.path.exists(os.path.join(base, "journal.json")):
            told.append("set:" + name)
    return told


def plan(state_dir, purge_data):
    """(changes, names to remove in the directory, names that stay)."""
    found = names_in(state_dir)
    drift = sorted(
        os.path.join(state_dir, _DRIFT, name, kept)
        for name in names_in(os.path.join(state_dir, _DRIFT))
        for kept in names_in(os.path.join(state_dir, _DRIFT, name))
    )
    going = found & {*_OURS, *([_DRIFT] if purge_data or not drift else [])}
    staying = found - going - {host_state.LOCK, _LEASE}
    changes = [change("data", path, "remove") for path in drift] if purge_data else []
    if going and staying:
        changes += [
            change("directory", os.path.join(state_dir, n), "remove") for n in sorted(going)
        ]
    elif os.path.isdir(state_dir) and not staying:
        changes.append(change("directory", state_dir, "remove"))
    return changes, going, staying


def carry_out(state_dir, going, staying):
    """Remove; only what is there for ``staying``, or for a lease, keeps the directory."""
    with host_state.locked(state_dir):
        for name in sorted(going):
            path = os.path.join(state_dir, name)
            if os.path.isdir(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)
        if not staying and not os.path.exists(os.path.join(state_dir, _LEASE)):
            os.unlink(os.path.join(state_dir, host_state.LOCK))
            with contextlib.suppress(OSError):
                os.rmdir(state_dir)


def main():
    module = AnsibleModule(
        argument_spec={
            "purge_data": {"type": "bool", "default": False},
            "state_dir": {"type": "path", "default": host_state.STATE_DIR},
        },
        supports_check_mode=True,
    )
    state_dir = module.params["state_dir"]
    try:
        changes, going, staying = plan(state_dir, module.params["purge_data"])
        if os.path.isdir(state_dir) and not module.check_mode:
            left = left_to_undo(state_dir)
            if left:
                module.fail_json(
                    msg="There is still something to undo: %s." % ", ".join(left),
                    next_step="Run destroy again; if this comes back, report it.",
                )
            carry_out(state_dir, going, staying)
    except (OSError, host_state.StateError) as exc:
        module.fail_json(msg="%s cannot be removed: %s" % (state_dir, exc))
    if staying:
        module.warn(
            "%s stays: it holds %s, edited by another hand or unknown to this release"
            % (state_dir, ", ".join(sorted(staying)))
        )
    module.exit_json(changed=bool(changes), changes=changes)


if __name__ == "__main__":
    main()
