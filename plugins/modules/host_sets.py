#!/usr/bin/python
# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""The part of ``host_sets`` that runs on the host."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.cloudlet.deploy.plugins.module_utils import (
    activation,
    config_data,
    config_engine,
    config_files,
    config_history,
    config_store,
    host_state,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.selinux import SELinux

DOCUMENTATION = r"""
module: host_sets
short_description: All config sets of a host at once, whatever wrote them
version_added: 0.1.0
description:
  - Tells the generations of the sets that M(cloudlet.deploy.config_set) wrote, brings back
    earlier ones, or removes the sets. What there is to do it reads on the host alone.
  - An earlier generation comes back as a new one; what was there before it stays known.
options:
  state:
    description:
      - V(listed) changes nothing and returns RV(report). V(restored) brings back O(generations).
      - V(absent) puts back generation 0 of all sets, as O(cloudlet.deploy.config_set#module:state)
        does for one.
    type: str
    choices: [listed, restored, absent]
    default: listed
  generations:
    description:
      - By name of the set, the numbers C(to) of the generation to have, and C(from) of the
        present one. If another is found the task fails, for it was changed meanwhile.
    type: dict
    default: {}
  undoes:
    description: The run that is undone by it, for later ones to know.
    type: str
  purge_data:
    description:
      - With V(absent), remove what is in the directories that the sets made and marked as
        O(cloudlet.deploy.config_set#module:directories[].data).
    type: bool
    default: false
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
- name: Have the second configuration of the door again
  cloudlet.deploy.host_sets:
    state: restored
    generations:
      bestman: {to: 2, from: 5}
"""

RETURN = r"""
report:
  description: What there is to go back to, under C(sets).
  type: dict
  returned: when O(state=listed)
changes:
  description: What was changed, or would be; see docs/architecture.md.
  type: list
  elements: dict
  returned: when not O(state=listed)
kept_aside:
  description: Where the content of a drifted file is kept that was replaced, by path.
  type: dict
  returned: when not O(state=listed)
"""


class HostSets:
    """The sets of one host. ``options`` are the module's, ``told`` what the controller adds."""

    def __init__(self, options, told, selinux, check, want_diff):
        self.state_dir = options["state_dir"]
        self.options = options
        self.told = told
        self.selinux = selinux
        self.check = check
        self.want_diff = want_diff
        self.foreseen = config_engine.Foreseen()

    def listed(self):
        """What there is, and nothing changed."""
        sets = config_history.histories(self.state_dir)
        return {"changed": False, "changes": [], "report": {"sets": sets}}

    def restored(self):
        """Bring back generations; each refusal comes before the first change."""
        requests = []
        for name, wanted in sorted(self.options["generations"].items()):
            store = config_store.SetStore(self.state_dir, name)
            config_history.refuse_changed(store, wanted["from"])
            requests.append(
                config_history.request_for(
                    store, wanted["to"], run=self.told.get("run"), undoes=self.options["undoes"]
                )
            )
        if not self.check:
            for request in requests:
                self._applied(request, check=True)
            self.foreseen = config_engine.Foreseen()
        return self._all(requests)

    def absent(self):
        """Put generation 0 back everywhere: first sets whose files lie in another's directory."""
        data = config_data.Data(self.state_dir)
        changes = data.changes() if self.options["purge_data"] else []
        if changes and self.check:
            self.foreseen.gone.update(data.inside())
        elif changes:
            data.purge()
        names = config_history.inner_first(self.state_dir)
        result = self._all([dict(_ABSENT, name=name, **self.told) for name in names])
        result["changes"] = changes + result["changes"]
        result["changed"] = result["changed"] or bool(changes)
        if self.check:
            # For real they have been stopped by now.
            units = host_state.Ledger(self.state_dir).owned("unit", None)
            stopped = {name for name, before in units.items() if not before.get("active")}
            for names in result["all_units_pending"].values():
                names[:] = [name for name in names if name not in stopped]
        return result

    def _applied(self, request, check):
        return config_engine.apply(
            dict(request, **self.told),
            self.state_dir,
            check=check,
            want_diff=self.want_diff,
            selinux=self.selinux,
            foreseen=self.foreseen,
        )

    def _all(self, requests):
        result = {"changes": [], "warnings": [], "raw_diff": [], "kept_aside": {}}
        for request in requests:
            before = config_history.current_manifest(
                config_store.SetStore(self.state_dir, request["name"])
            )
            one = self._applied(request, self.check)
            if request["state"] == "present":
                result["changes"] += config_history.set_change(request, before, one)
            for key in ("changes", "warnings", "raw_diff"):
                result[key] += one[key]
            result["kept_aside"].update(one["kept_aside"])
        documents = dict(activation.manifests(self.state_dir), **self.foreseen.documents)
        running = activation.running_units(activation.recorded_units(documents.values()))
        pending = activation.pending_of(documents, running)
        result["all_units_pending"] = {kind: sorted(pending[kind]) for kind in pending}
        result["changed"] = bool(result["changes"])
        return result


_ABSENT = {"state": "absent", "directories": [], "files": [], "validate": []}


def main():
    """Run the module; the action plugin adds ``told``."""
    module = AnsibleModule(
        argument_spec={
            "state": {
                "type": "str",
                "choices": ["listed", "restored", "absent"],
                "default": "listed",
            },
            "generations": {"type": "dict", "default": {}},
            "undoes": {"type": "str"},
            "purge_data": {"type": "bool", "default": False},
            "told": {"type": "dict", "default": {}},
            "state_dir": {"type": "path", "default": host_state.STATE_DIR},
        },
        supports_check_mode=True,
    )
    options = module.params
    selinux = SELinux(module) if module.selinux_enabled() else None
    sets = HostSets(options, options["told"], selinux, module.check_mode, module._diff)
    try:
        result = getattr(sets, options["state"])()
    except (config_files.ConfigError, host_state.StateError) as exc:
        more = getattr(exc, "told", None) or {"next_step": getattr(exc, "next_step", "")}
        module.fail_json(msg=str(exc), **more)
    for warning in result.pop("warnings", ()):
        module.warn(warning)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
