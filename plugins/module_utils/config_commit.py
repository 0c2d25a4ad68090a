# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Carries out a plan of ``config_set``: staged, validated, journaled, renamed, recorded.

Until the commit journal is on disk, any failure or kill leads back to what was there; from
then on, the next call leads on to what is wanted. Runs on Python 3.9 and later.
"""

from __future__ import annotations

import os
import stat
import uuid

from ansible_collections.cloudlet.deploy.plugins.module_utils import (
    activation,
    config_files,
    config_plan,
    config_validate,
    host_state,
)

#: Where systemd reads its unit files and their drop-ins.
_UNIT_FILES = (
    "/etc/systemd/system/", "/usr/lib/systemd/system/", "/lib/systemd/system/",
    "/etc/systemd/user/", "/etc/containers/systemd/",
)  # fmt: skip


class Commit:
    """Changes one set on the host. Use it inside ``host_state.locked()``."""

    def __init__(self, store, selinux):
        self.store = store
        self.selinux = selinux

    def recover(self, journal):
        """End what an interrupted call began: back if it only staged, else on."""
        if journal["phase"] == "staging":
            self._give_up(journal)
        else:
            self._roll_forward(journal)

    def run(self, plan, contents, validators):
        """Make the host what ``plan`` says. Raises ConfigError; the host is then as before.

        ``contents`` are the wanted contents by path, ``validators`` as in the request.
        """
        journal = self._stage_plan(plan)
        try:
            _check_accounts_and_parents(self.store.name, plan, journal)
            self.store.write_journal(journal)
            self._stage(plan, journal, contents)
            staged = {path: self._staged(path) for path in contents if path in _to_stage(plan)}
            config_validate.validate(self.store.name, validators, staged, _secrets(plan))
            self._keep(plan, contents)
            commit = self._commit_journal(plan, journal)
            self.store.write_journal(commit)
        except BaseException:
            self._give_up(journal)
            raise
        self._roll_forward(commit)

    def _staged(self, path):
        return config_files.staged_path(self.store.name, path)

    def _stage_plan(self, plan):
        made = [
            s["path"] for s in plan.steps if (s["kind"], s["action"]) == ("directory", "create")
        ]
        staged = [self._staged(path) for path in _to_stage(plan)]
        return {"phase": "staging", "set": self.store.name, "made": made, "staged": staged}

    def _stage(self, plan, journal, contents):
        for path in journal["staged"]:
            config_files.remove(path)
        for step in plan.steps:
            path, target = step["path"], step["target"]
            if step["action"] not in ("create", "change"):
                continue
            if step["kind"] == "directory":
                config_files.make_directory(path, target, self.selinux)
                continue
            chunks = [contents[path]] if not target.get("restored") else self._origin(path)
            context = target.get("context") or step["before"].get("context")
            config_files.write_new(
                self._staged(path),
                chunks,
                target,
                self.selinux,
                context or self.selinux.default(path, stat.S_IFREG),
            )

    def _origin(self, path):
        return config_files.file_chunks(self.store.origin_blob(path))

    def _keep(self, plan, contents):
        """Generation 0, the drift and the new generation, before anything is replaced."""
        for path, state in plan.origins.items():
            if state["kind"] == "file":
                self.store.save_origin(path)
        befores = {step["path"]: step["before"] for step in plan.steps}
        for path in plan.aside:
            self.store.keep_aside(path, befores[path]["sha256"])
        manifest = plan.manifest
        if manifest and not (
            manifest["generation"] == plan.old["generation"]
            and self.store.has_generation(manifest["generation"])
        ):
            self.store.save_generation(manifest, contents)

    def _commit_journal(self, plan, journal):
        operations = []
        for step in plan.steps:
            operation = {"path": step["path"], "kind": step["kind"], "action": step["action"]}
            if step["action"] == "attributes":
                operation.update({key: step["target"][key] for key in ("uid", "gid", "mode")})
            elif step["action"] != "remove" and step["kind"] == "file":
                operation["staged"] = self._staged(step["path"])
            operations.append(operation)
        identity = uuid.uuid4().hex
        return {
            "phase": "commit",
            "set": self.store.name,
            "id": identity,
            "made": journal["made"],
            "operations": operations,
            "targets": {step["path"]: _journal_target(step) for step in plan.steps},
            "before": {step["path"]: step["before"] for step in plan.steps},
            "units": {kind: sorted(units) for kind, units in plan.units.items()},
            "manifest": plan.manifest and dict(plan.manifest, commit=identity),
        }

    def _give_up(self, journal):
        """Take back what staging did."""
        for path in journal["staged"]:
            config_files.remove(path)
        for path in reversed(journal["made"]):
            _remove_directory(path)
        manifest = self.store.manifest()
        if manifest is None:
            self.store.remove()
        else:
            self.store.prune(manifest)
            self.store.end_journal()

    def _roll_forward(self, journal):
        for operation in journal["operations"]:
            try:
                _carry_out(operation)
            except OSError as exc:
                raise config_files.ConfigError(
                    "config_set %s: %s cannot be changed: %s. The set is in place in part; "
                    "correct this (an immutable file or a mount point?) and run again: the "
                    "journal finishes it." % (self.store.name, operation["path"], exc.strerror)
                ) from exc
        touched = {os.path.dirname(operation["path"]) for operation in journal["operations"]}
        for path in sorted(touched):
            if os.path.isdir(path):
                host_state.fsync_dir(path)
        if _systemd_must_know(journal):
            # Before and after: a unit that goes has its manager too.
            documents = [one for one in (self.store.manifest(), journal["manifest"]) if one]
            activation.reload_systemd(_units_named(documents))
        self._record(journal)

    def _record(self, journal):
        manifest = journal["manifest"]
        current = self.store.manifest()
        if manifest is None:
            # As long as a unit runs with what was removed, this is remembered.
            old = dict(config_plan.empty_manifest(self.store.name), **(current or {}))
            gone = config_plan.empty_manifest(self.store.name)
            gone["units"] = self._units(old, journal["units"])
            self.store.forget(gone)
            return
        # Recorded before, and then killed: units may have been restarted since, and must not
        # seem to be pending again.
        if not current or current.get("commit") != journal["id"]:
            manifest = dict(manifest, units=self._units(manifest, journal["units"]))
            self.store.write_manifest(manifest)
        self.store.prune(manifest)
        self.store.end_journal()

    @staticmethod
    def _units(manifest, changed):
        concerned = {unit for units in changed.values() for unit in units}
        running = activation.running_units(concerned | activation.recorded_units([manifest]))
        pending = activation.still_pending(manifest, running)
        for kind, units in changed.items():
            pending[kind].update({unit: running[unit] for unit in units if unit in running})
        return pending


def _journal_target(step):
    target = {
        key: value
        for key, value in step["target"].items()
        if key in ("kind", "uid", "gid", "mode", "sha256", "size", "mtime_ns", "context")
    }
    return dict(target, was=step["kind"])


def _carry_out(operation):
    """One step of a commit; doing it again changes nothing."""
    path, action = operation["path"], operation["action"]
    if action == "attributes":
        config_files.set_attributes(path, operation)
    elif action == "remove" and operation["kind"] == "directory":
        _remove_directory(path)
    elif action == "remove":
        config_files.remove(path)
    elif "staged" in operation and os.path.lexists(operation["staged"]):
        # No staged file: it was renamed before the call was interrupted.
        os.replace(operation["staged"], path)


def _systemd_must_know(journal):
    """Whether unit files changed in a way that nobody else tells systemd of.

    Who starts units of a set that is present makes it read theirs; of files that go, and of
    what comes back for units that do not run, nobody knows.
    """
    back = journal["manifest"] is None or journal["manifest"].get("same_as")
    return any(
        operation["kind"] == "file"
        and operation["path"].startswith(_UNIT_FILES)
        and (operation["action"] == "remove" or back)
        for operation in journal["operations"]
    )


def _units_named(documents):
    """Units that the files of these manifests name."""
    entries = [entry for document in documents for entry in document["files"].values()]
    return {unit for entry in entries for kind in activation.KINDS for unit in entry.get(kind, ())}


def _remove_directory(path):
    try:
        os.rmdir(path)
    except OSError:
        # Gone already, or somebody put a file there since: his file is worth more.
        return


def _to_stage(plan):
    renamed = ("create", "change")
    return [s["path"] for s in plan.steps if s["kind"] == "file" and s["action"] in renamed]


def _secrets(plan):
    return {step["path"] for step in plan.steps if step["secret"]}


def _check_accounts_and_parents(name, plan, journal):
    for step in plan.steps:
        path, target = step["path"], step["target"]
        if target["kind"] == "absent":
            continue
        for key, what in (("uid", "user"), ("gid", "group")):
            if target[key] is None:
                raise config_files.ConfigError(
                    "config_set %s: %s cannot belong to %s %s: there is none on this host. "
                    "Create it first, or name another."
                    % (name, path, what, target["owner" if key == "uid" else "group"])
                )
        parent = os.path.dirname(path)
        if not os.path.isdir(parent) and parent not in journal["made"]:
            raise config_files.ConfigError(
                "config_set %s: the directory %s of %s does not exist. List it in "
                "'directories', or install what brings it first."
                % (name, parent, os.path.basename(path))
            )
