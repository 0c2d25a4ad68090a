#!/usr/bin/python
# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""The lanes of a CryoSPARC master, in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cryosparc_lane
short_description: Connect cluster lanes to CryoSPARC, after a job on each cluster has tried the way
version_added: 0.1.0
description:
  - Before a lane is connected, or connected anew with other settings, a small job goes through the
    lane's own commands. On a node it looks whether it reaches the master's database, API and cache
    by the master's name, whether it is the account with the same uid, and whether it finds worker,
    cache and project directory. What fails is told with the node, and the lane stays as it was.
  - The ledger knows with which settings a lane was tried and connected. Nothing is tried again
    while they are the same and CryoSPARC has the lane.
  - A lane of the same name that another hand connected is taken over, and stays when it is left out
    here later.
  - In check mode nothing is tried. Where CryoSPARC does not answer then, the ledger is believed.
options:
  component:
    description: Who needs the lanes. With O(state=absent) it may be left out; then those of all
      components are meant.
    type: str
  state:
    description: Whether they are there. V(absent) removes all that were connected for the
      component; where CryoSPARC does not answer, they are left in its database.
    type: str
    choices: [present, absent]
    default: present
  account:
    description: The account that CryoSPARC runs under, here and on the clusters.
    type: str
  uid:
    description: The number that it must have on every node.
    type: int
  hostname:
    description: The master's name, by which jobs reach it.
    type: str
  port:
    description: The master's base port.
    type: int
  master:
    description: Path of C(cryosparcm).
    type: path
  lanes:
    description: All lanes of the component. Others of the component are removed.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Its name in C(cluster_info.json).
        type: str
        required: true
      directory:
        description: Where C(cluster_info.json) and C(cluster_script.sh) are.
        type: path
        required: true
      info:
        description: What is in C(cluster_info.json).
        type: str
        required: true
      script:
        description: What is in C(cluster_script.sh).
        type: str
        required: true
      project_directory:
        description: Where projects are, here and on the nodes.
        type: path
        required: true
      timeout:
        description: Seconds that the job may take, with its time in the queue.
        type: int
        default: 300
      settings:
        description: Whatever else the way to the cluster depends on; a digest of a key, say.
        type: str
        default: ""
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
- name: Connect the cluster
  cloudlet.deploy.cryosparc_lane:
    component: cryosparc_lane
    account: cryosparc
    uid: 450001
    hostname: cryosparc.example.org
    port: 61000
    master: /opt/cryosparc/cryosparc_master/bin/cryosparcm
    lanes:
      - name: gpu
        directory: /etc/cloudlet-deploy/cryosparc_lane/gpu
        info: "{{ lane_info }}"
        script: "{{ lane_script }}"
        project_directory: /srv/projects
"""

RETURN = r"""
changes:
  description: What was, or would be, connected and removed, by name.
  type: list
  returned: always
left:
  description: Lanes that were ours and stay in CryoSPARC.
  type: list
  returned: always
"""

import hashlib  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils import (  # noqa: E402
    cryosparc_lane_probe as probe,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils import host_facts  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import (  # noqa: E402
    change,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.cryosparc_lane_master import (  # noqa: E402
    CryoSparc,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import (  # noqa: E402
    STATE_DIR,
    Ledger,
    StateError,
    locked,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.idmaps import Refused  # noqa: E402

#: Kind of the ledger's entries. The note of one has ``digest``, None from before the lane is
#: connected until it is, ``account`` and ``master``.
KIND = "lane"


class LaneSet:
    """The lanes of one component; ``master`` makes the ``CryoSparc`` of an account and a path."""

    def __init__(self, component, state_dir=STATE_DIR, master=CryoSparc, check=False, trial=None):
        self.component, self.state_dir, self.check = component, state_dir, check
        self._master = master
        self._trial = trial or probe.Trial

    def present(self, wanted, master, path):
        """Have exactly the ``wanted`` lanes (the module's argument); the module's result.

        ``master`` is a ``probe.Master``, ``path`` that of cryosparcm. Raises Refused, where a trial
        failed only after all other lanes are as they should be.
        """
        own = self._master(master.account, path)
        ledger = Ledger(self.state_dir)
        owned = ledger.owned(KIND, self.component)
        known = self._known(own, owned, wanted)
        notes = ledger.notes(KIND)
        leaving = [name for name in owned if name not in {one["name"] for one in wanted}]
        result = self._drop(own, leaving, known, owned)
        faults = []
        for one in wanted:
            name, digest = one["name"], digest_of(one, master)
            reason = _reason(name, known, notes.get(name), digest)
            if not reason:
                continue
            found = [] if self.check else self._tried(one, master, own)
            if found:
                faults.append((name, name in known, found))
                continue
            self._connect(own, one, digest)
            action = "change" if name in known else "create"
            result["changes"].append(change(KIND, name, action, reason))
        result["changed"] = bool(result["changes"])
        if faults:
            raise _refusal(faults, result["changes"])
        return result

    def absent(self):
        """Remove what was connected; the module's result."""
        ledger = Ledger(self.state_dir)
        owned, notes = ledger.owned(KIND, self.component), ledger.notes(KIND)
        result = {"changed": False, "changes": [], "left": []}
        for name in sorted(owned):
            note = notes.get(name) or {}
            own = self._master(note.get("account", ""), note.get("master", ""))
            try:
                known = own.lanes()
            except Refused:
                known = None
            one = self._drop(own, [name], known, owned)
            result["changes"] += one["changes"]
            result["left"] += one["left"]
        result["changed"] = bool(result["changes"])
        return result

    def _known(self, own, owned, wanted):
        """The lanes that CryoSPARC has. In check mode it need not be there yet, or again."""
        if not owned and not wanted:
            return set()
        try:
            return own.lanes()
        except Refused:
            if not self.check:
                raise
            return set(owned)

    def _drop(self, own, names, known, owned):
        """Remove those of ``names`` that we connected; ``known`` is None if that cannot be done."""
        made = [name for name in names if not owned[name]["exists"]]
        removing = [name for name in made if name in (known or ())]
        if names and not self.check:
            for name in removing:
                own.remove(name)
            with locked(self.state_dir):
                ledger = Ledger(self.state_dir)
                for name in names:
                    ledger.release(KIND, name, self.component)
                ledger.save()
        stays = [name for name in names if known is None or (name in known and name not in made)]
        return {"changes": [change(KIND, name, "remove") for name in removing], "left": stays}

    def _tried(self, one, master, own):
        lane = probe.lane_of(
            one["name"], one["info"], one["script"], one["project_directory"], one["timeout"]
        )
        return self._trial(lane, master, own.shell, host_facts.is_own).faults()

    def _connect(self, own, one, digest):
        if self.check:
            return
        name, note = one["name"], {"account": own.account, "master": own.master}
        before = {"exists": name in own.lanes()}
        with locked(self.state_dir):
            ledger = Ledger(self.state_dir)
            ledger.record(KIND, name, before, self.component)
            ledger.note(KIND, name, dict(note, digest=None))
            ledger.save()
            own.connect(one["directory"])
            ledger.note(KIND, name, dict(note, digest=digest))
            ledger.save()


def digest_of(one, master):
    """What a lane (the module's argument) was tried with, as a digest."""
    parts = [one[key] for key in ("info", "script", "project_directory", "settings")]
    parts.append(list(master[1:]))
    return hashlib.sha256(json.dumps(parts).encode("utf-8")).hexdigest()


def _reason(name, known, note, digest):
    """Why a lane is connected, in words; "" if it is as wanted."""
    if name not in known:
        return "was removed in CryoSPARC" if note and note["digest"] else "not there yet"
    if note is None:
        return "was connected by another hand"
    if note["digest"] is None:
        return "an earlier run was interrupted"
    return "" if note["digest"] == digest else "other settings"


def _refusal(faults, changes):
    said, steps = [], []
    for name, connected, found in faults:
        stays = "it stays connected as it was" if connected else "it is not connected"
        problems = "; ".join(one.problem for one in found)
        said.append("The lane %s would not work, so %s: %s." % (name, stays, problems))
        steps += [one.next_step for one in found if one.next_step not in steps]
    refused = Refused(" ".join(said), " ".join(steps))
    refused.changes = changes
    return refused


def argument_spec():
    """The module's arguments; DOCUMENTATION says what they mean."""
    text = {"type": "str", "required": True}
    return {
        "component": {"type": "str"},
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "account": {"type": "str"},
        "uid": {"type": "int"},
        "hostname": {"type": "str"},
        "port": {"type": "int"},
        "master": {"type": "path"},
        "lanes": {
            "type": "list",
            "elements": "dict",
            "default": [],
            "options": {
                "name": text,
                "directory": {"type": "path", "required": True},
                "info": text,
                "script": text,
                "project_directory": {"type": "path", "required": True},
                "timeout": {"type": "int", "default": 300},
                "settings": {"type": "str", "default": ""},
            },
        },
        "state_dir": {"type": "path", "default": STATE_DIR},
    }


def main():
    needed = ("component", "account", "uid", "hostname", "port", "master")
    module = AnsibleModule(
        argument_spec=argument_spec(),
        required_if=[("state", "present", needed)],
        supports_check_mode=True,
    )
    options = module.params
    own = LaneSet(options["component"], options["state_dir"], check=module.check_mode)
    try:
        if options["state"] == "present":
            who = [options[key] for key in ("hostname", "port", "account", "uid")]
            master = probe.Master(os.uname().nodename, *who)
            result = own.present(options["lanes"], master, options["master"])
        else:
            result = own.absent()
    except Refused as exc:
        changes = getattr(exc, "changes", [])
        module.fail_json(msg=str(exc), next_step=exc.next_step, changes=changes)
    except (StateError, OSError, ValueError) as exc:
        module.fail_json(msg="The lanes of CryoSPARC: %s" % exc, changes=[])
    for name in result["left"]:
        told = "%s: the lane %s stays in CryoSPARC"
        module.warn(told % (os.uname().nodename, name))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
