# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""``config_set`` on the host: one request in, what was (or would be) changed out.

Runs on the Python of the hosts (3.9 and later).
"""

from __future__ import annotations

import base64
import os

from ansible_collections.cloudlet.deploy.plugins.module_utils import (
    activation,
    config_commit,
    config_files,
    config_plan,
    config_store,
    config_validate,
    host_state,
    lease,
)

#: Contents beyond this are shown in a diff by their digest.
MAX_DIFF = 1 << 20


class Foreseen:
    """What check mode knows of the sets that come before in the same call.

    ``documents``: their manifests as they will be; ``gone``: paths that they will have removed.
    """

    def __init__(self):
        self.documents = {}
        self.gone = set()


def apply(request, state_dir, check=False, want_diff=False, selinux=None, *, foreseen=None):
    """Make the host what ``request`` says, or predict it.

    ``request``: name, state (present or absent), directories, files (content as bytes),
    validate, and run (the run's id, or None), complete and checked by the action plugin; for
    an earlier generation as ``config_history`` makes it.
    Returns the module's result. Raises ConfigError or StateError; the host is then as it was,
    unless the message says otherwise.
    """
    selinux = selinux or config_files.NoSELinux()
    call = _Call(request, state_dir, selinux, foreseen or Foreseen())
    if check:
        return call.predict(want_diff)
    with host_state.locked(state_dir):
        return call.carry_out(want_diff)


class _Call:
    def __init__(self, request, state_dir, selinux, foreseen):
        self.request = request
        self.name = request["name"]
        self.state_dir = state_dir
        self.store = config_store.SetStore(state_dir, self.name)
        self.selinux = selinux
        self.foreseen = foreseen
        absent = request["state"] == "absent"
        self.wanted = None if absent else config_plan.targets_of(request)
        self.contents = {entry["path"]: entry["content"] for entry in request["files"]}

    def predict(self, want_diff):
        """Check mode: reads, and writes nothing but a temporary directory for validators."""
        plan, journal = self._plan(check=True)
        self._refuse_foreign_paths(plan)
        changed = {
            s["path"]: self.contents[s["path"]]
            for s in plan.steps
            if s["action"] in ("create", "change") and s["path"] in self.contents
        }
        secrets = {step["path"] for step in plan.steps if step["secret"]}
        missing = config_validate.validate_in_check_mode(
            self.name, self.request["validate"], changed, secrets
        )
        result = self._result(plan, want_diff)
        result["not_validated"] = missing
        result["lease"] = lease.other(self.state_dir, self.request.get("run"))
        result["changes"] += [
            {"kind": "validator", "name": name, "action": "not-validated", "detail": ""}
            for name in missing
        ]
        documents = self._documents()
        current = dict(plan.manifest or dict(plan.old, generation=0, files={}, directories={}))
        units = {kind: set(names) for kind, names in plan.units.items()}
        for kind, names in (journal or {}).get("units", {}).items():
            units[kind].update(names)
        concerned = activation.recorded_units([*documents.values(), current])
        running = activation.running_units(concerned.union(*units.values()))
        current["units"] = _with_units(activation.still_pending(current, running), units, running)
        documents[self.name] = current
        self.foreseen.documents[self.name] = current
        self.foreseen.gone.update(s["path"] for s in plan.steps if s["action"] == "remove")
        return self._with_pending(result, documents, running)

    def carry_out(self, want_diff):
        """For real. What is told is the difference to what was there when the call began."""
        lease.check(self.state_dir, self.request)
        plan, _ = self._plan()
        self._refuse_foreign_paths(plan)
        result = self._result(plan, want_diff)
        commit = config_commit.Commit(self.store, self.selinux)
        unfinished = self.store.journal()
        if unfinished:
            commit.recover(unfinished)
            plan, _ = self._plan()
        if not plan.is_noop:
            commit.run(plan, self.contents, self.request["validate"])
            result["kept_aside"] = {
                path: self.store.aside_path(path, _before(plan, path)["sha256"])
                for path in plan.aside
            }
        elif self.wanted is None:
            # Whatever a call that was killed at its very end or beginning left, and what was
            # remembered for units that have been restarted since.
            self.store.forget(activation.current(plan.old))
        documents = activation.manifests(self.state_dir)
        running = activation.running_units(activation.recorded_units(documents.values()))
        return self._with_pending(result, documents, running)

    def _documents(self):
        """The manifests of all sets as they will be when it is this one's turn."""
        return dict(activation.manifests(self.state_dir), **self.foreseen.documents)

    def _plan(self, check=False):
        journal = self.store.journal()
        plan = config_plan.make_plan(
            self.name,
            self.wanted,
            self.store.manifest(),
            journal,
            self.selinux,
            ahead=self._ahead(check),
        )
        return plan, journal

    def _ahead(self, check):
        made = frozenset(self.request.get("foreseen") or ()) if check else frozenset()
        return config_plan.Ahead(frozenset(self.foreseen.gone), made, check)

    def _refuse_foreign_paths(self, plan):
        """Two sets that write one file would each take the other's for generation 0."""
        if not plan.origins:
            return
        for name, document in self._documents().items():
            both = set(document["files"]) & set(plan.origins)
            if name != self.name and both:
                raise config_files.ConfigError(
                    "config_set %s: %s belongs to the set %s. Take it out of one of them; if it "
                    "moves, %s must be applied without it first."
                    % (self.name, ", ".join(sorted(both)), name, name)
                )
        for path in plan.origins:
            real = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
            if real != path and real in plan.manifest["files"]:
                raise config_files.ConfigError(
                    "config_set %s: %s and %s are the same file. List one of them."
                    % (self.name, path, real)
                )

    def _result(self, plan, want_diff):
        return {
            "changes": plan.changes,
            "drift": plan.drift,
            "generation": (plan.manifest or {}).get("generation", 0),
            "not_validated": [],
            "kept_aside": {},
            "warnings": plan.warnings,
            "raw_diff": [self._raw_diff(step) for step in plan.steps] if want_diff else [],
        }

    def _with_pending(self, result, documents, running):
        own = activation.pending_of({self.name: documents.get(self.name, {})}, running)
        everybody = activation.pending_of(documents, running)
        result["units_pending"] = {kind: sorted(own[kind]) for kind in activation.KINDS}
        result["all_units_pending"] = {kind: sorted(everybody[kind]) for kind in activation.KINDS}
        result["changed"] = bool(result["changes"]) or any(result["units_pending"].values())
        return result

    def _raw_diff(self, step):
        """What the action plugin makes a diff from; contents unless they are secret."""
        entry = {key: step[key] for key in ("path", "kind", "action", "secret")}
        for side in ("before", "target"):
            state = step[side]
            if state["kind"] != "absent":
                told = dict(config_plan.describe(state), sha256=state.get("sha256"))
                entry[side] = dict(told, size=state.get("size"))
        if step["kind"] == "file" and not step["secret"] and step["action"] != "attributes":
            if step["before"]["kind"] == "file" and step["before"]["size"] <= MAX_DIFF:
                entry["before_content"] = _encoded(step["path"])
            blob = self.store.origin_blob(step["path"])
            if step["target"].get("restored") and os.path.exists(blob):
                entry["target_content"] = _encoded(blob)
            elif self.request.get("same_as") and step["path"] in self.contents:
                # Not the controller made this content, so it does not have it.
                content = self.contents[step["path"]]
                entry["target_content"] = base64.b64encode(content).decode("ascii")
        return entry


def _with_units(pending, units, running):
    """``pending`` entries, and those of ``units`` that run now."""
    for kind, names in units.items():
        pending[kind].update({unit: running[unit] for unit in names if unit in running})
    return pending


def _before(plan, path):
    return next(step["before"] for step in plan.steps if step["path"] == path)


def _encoded(path):
    return base64.b64encode(config_files.read_bytes(path)).decode("ascii")
