# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""What a config set would change on this host: wanted against manifest against files.

Reads files, changes nothing; so check mode and apply say the same because both say this.
Runs on the Python of the hosts (3.9 and later).
"""

from __future__ import annotations

import os
import stat
from typing import Any, NamedTuple

from ansible_collections.cloudlet.deploy.plugins.module_utils import config_files
from ansible_collections.cloudlet.deploy.plugins.module_utils.activation import KINDS

ATTRIBUTES = ("uid", "gid", "mode")
_RECORDED = {
    "file": ("sha256", "size", *ATTRIBUTES, "secret", *KINDS),
    "directory": ATTRIBUTES,
}
#: What a manifest says of a directory only where it is so.
FLAGS = ("data", "mount_point")
#: What a generation knows of how it came to be; see ``empty_manifest``.
HISTORY = ("run", "same_as", "undoes", "before")


class Ahead(NamedTuple):
    """What will have happened by the set's turn, and is not to be seen on the host yet.

    ``gone``: paths that other sets will have removed. In check mode, too: ``made``, directories
    that others will have made; ``unmounted``: whether what is mounted on mount points that go is
    taken for gone and them for empty, as nobody has stopped the mount.
    """

    gone: Any = frozenset()
    made: Any = frozenset()
    unmounted: bool = False


class Plan:
    """The way from what is there to what is wanted. Read it, do not change it.

    ``changes``: what modules tell. ``steps``: the changes as the commit needs them, each with
    ``action``, ``path``, ``before``, ``target``. ``drift``: paths edited by another hand;
    ``aside``: those of them whose content is about to be lost. ``origins``: paths whose
    state of now becomes generation 0. ``units``: per kind, whom the changes concern.
    ``manifest``: what is recorded afterwards (None: nothing is ours any more).
    """

    def __init__(self, manifest, old):
        self.manifest = manifest
        self.old = old
        self.changes = []
        self.steps = []
        self.drift = []
        self.aside = []
        self.origins = {}
        self.units = {kind: set() for kind in KINDS}
        self.warnings = []

    @property
    def is_noop(self):
        """Whether neither a file nor the record has to be written."""
        recorded = self.old if self.old["generation"] else None
        return not self.steps and self.manifest == recorded


def empty_manifest(name):
    """The manifest of a set that has never been here.

    ``run`` made the generation (None: Ansible without the command line). ``same_as``: the
    generation that it brought back, and ``undoes``: the run that was undone by that (None: it
    is no rollback). ``before``: the generation that undoing it leads to (None: not known).
    """
    return {
        "set": name,
        "generation": 0,
        **dict.fromkeys(HISTORY),
        "files": {},
        "directories": {},
        "origin": {},
        "units": {kind: {} for kind in KINDS},
    }


def make_plan(name, wanted, manifest, journal=None, selinux=None, *, ahead=None):
    """The plan that makes the set ``name`` be ``wanted`` (see ``targets_of``; None: absent).

    ``manifest`` is the current one, or None. ``journal``: an unfinished call; once it commits,
    its manifest counts as current and its files as about to be in place. Raises ConfigError for
    what cannot be (a symbolic link at a path, a directory in place of a file).
    """
    if journal and journal["phase"] == "staging":
        # It will be taken back: what it made goes, what it wrote beside the files is not seen.
        made = {path: dict(config_files.ABSENT, was="directory") for path in journal["made"]}
        journal = {"targets": made, "before": {}, "manifest": manifest}
    current = dict(empty_manifest(name), **((journal["manifest"] if journal else manifest) or {}))
    return _Builder(wanted, current, journal, selinux, ahead or Ahead()).build()


def targets_of(request):
    """``request`` (the decoded payload) with accounts looked up: what each path must be.

    Accounts that do not exist have the id None; check mode can live with that.
    """
    wanted = {"set": request["name"], "files": {}, "directories": {}}
    wanted.update({key: request.get(key) for key in ("run", "same_as", "undoes")})
    for kind, key, default in (("directory", "directories", "0755"), ("file", "files", None)):
        for entry in request[key]:
            secret = bool(entry.get("secret"))
            target = {
                "kind": kind,
                "uid": config_files.account_id(entry.get("owner")),
                "gid": config_files.account_id(entry.get("group"), group=True),
                "mode": int(entry.get("mode") or default or ("0600" if secret else "0644"), 8),
                "owner": entry.get("owner"),
                "group": entry.get("group"),
                **{flag: bool(entry.get(flag)) for flag in FLAGS},
            }
            if kind == "file":
                content = entry["content"]
                target.update(content=content, size=len(content), secret=secret)
                target["sha256"] = config_files.sha256(content)
                target.update({unit: sorted(set(entry.get(unit) or ())) for unit in KINDS})
            wanted[key][entry["path"]] = target
    return wanted


class _Builder:
    def __init__(self, wanted, current, journal, selinux, ahead):
        self.ahead = ahead
        self.wanted = wanted or {"files": {}, "directories": {}}
        self.absent = wanted is None
        self.current = current
        self.journal = journal or {"targets": {}, "before": {}}
        self.selinux = selinux
        new = None if self.absent else empty_manifest(current["set"])
        self.plan = Plan(new, current)
        self.observed = {}

    def build(self):
        targets = self._targets()
        # Parents first when making, last when removing.
        making = [path for path, target in targets.items() if target["kind"] != "absent"]
        making.sort(key=lambda path: (targets[path]["kind"] != "directory", _depth(path, targets)))
        removing = [path for path, target in targets.items() if target["kind"] == "absent"]
        removing.sort(key=lambda path: (path in self.current["directories"], -path.count("/")))
        for path in making + removing:
            self._compare(path, targets[path])
        self._find_drift()
        if not self.absent:
            self._record()
        return self.plan

    def _observe(self, path):
        if path not in self.observed:
            if self._is_mount_point(path) and config_files.is_mounted(path):
                # What is below it cannot be seen, and what is mounted may not answer.
                self.observed[path] = {"kind": "directory", "mounted": True}
            else:
                self.observed[path] = config_files.observe(path, self.selinux)
        return self.observed[path]

    def _is_mount_point(self, path):
        entries = (found["directories"].get(path, {}) for found in (self.wanted, self.current))
        return any(entry.get("mount_point") for entry in entries)

    def _targets(self):
        """What every path must be: of the journal, then back to generation 0, then wanted."""
        targets = dict(self.journal["targets"])
        for key in ("directories", "files"):
            for path in self.current[key]:
                targets[path] = self._back_to_origin(path)
        for key in ("directories", "files"):
            for path, target in self.wanted[key].items():
                # Renamed in the order in which they are listed, after what goes back.
                targets.pop(path, None)
                targets[path] = target
        return targets

    def _back_to_origin(self, path):
        origin = dict(self.current["origin"].get(path, config_files.ABSENT), restored=True)
        if origin["kind"] == "file" and not os.path.isdir(os.path.dirname(path)):
            self.plan.warnings.append(
                "%s cannot be put back: its directory was removed by another hand" % path
            )
            return dict(config_files.ABSENT)
        return origin

    def _compare(self, path, target):
        before = self._observe(path)
        unmounted = self.ahead.unmounted and before.get("mounted") and target["kind"] == "absent"
        if unmounted:
            before = dict(self.current["directories"][path], kind="directory")
        kind = "directory" if self._is_directory(path, target) else "file"
        if before["kind"] not in ("absent", kind):
            raise config_files.ConfigError(_wrong_kind(self.current["set"], path, kind, before))
        action = _action(before, target)
        if action == "create" and kind == "directory" and path in self.ahead.made:
            return
        removed = action == "remove" and kind == "directory"
        if removed and not unmounted and not self._will_be_empty(path):
            return
        if action:
            step = {"path": path, "kind": kind, "action": action}
            step.update(before=before, target=target, secret=self._is_secret(path))
            self.plan.steps.append(step)
            self.plan.changes.append(_change(step))
            self._concerns(path)

    def _is_directory(self, path, target):
        if target["kind"] == "absent":
            return path in self.current["directories"] or target.get("was") == "directory"
        return target["kind"] == "directory"

    def _is_secret(self, path):
        entries = (files.get(path, {}) for files in (self.wanted["files"], self.current["files"]))
        return any(entry.get("secret") for entry in entries)

    def _will_be_empty(self, path):
        gone = {step["path"] for step in self.plan.steps if step["action"] == "remove"}
        gone |= self.ahead.gone
        with os.scandir(path) as entries:
            left = [entry.path for entry in entries if entry.path not in gone]
        left = [path for path in left if not config_files.is_staged(path)]
        if left and self.absent:
            data = self.current["directories"].get(path, {}).get("data")
            self.plan.warnings.append(
                "%s stays: it holds %s (%s)"
                % (path, "data" if data else "what is not ours", ", ".join(sorted(left)[:3]))
            )
        return not left

    def _concerns(self, path):
        entry = self.wanted["files"].get(path) or self.current["files"].get(path) or {}
        for kind in KINDS:
            self.plan.units[kind].update(entry.get(kind, ()))

    def _find_drift(self):
        """What differs from the last generation, though no commit of ours is under way there."""
        lost = {step["path"] for step in self.plan.steps if step["action"] in ("change", "remove")}
        for key, kind in (("directories", "directory"), ("files", "file")):
            for path, recorded in self.current[key].items():
                now = self._observe(path)
                last = dict(recorded, kind=kind)
                if recorded.get("left") or _action(now, last) is None:
                    continue
                found = self.journal["before"].get(path)
                if found and now.get("sha256") == found.get("sha256"):
                    # Not replaced yet, or its attributes are on their way.
                    continue
                self.plan.drift.append(path)
                if now["kind"] == "file" and path in lost and now["sha256"] != last["sha256"]:
                    self.plan.aside.append(path)
        self.plan.drift.sort()

    def _record(self):
        """The manifest as it will be, without the InvocationIDs."""
        new, old = self.plan.manifest, self.current
        for key, kind in (("directories", "directory"), ("files", "file")):
            for path, target in self.wanted[key].items():
                new[key][path] = {name: target[name] for name in _RECORDED[kind]}
                new[key][path].update({flag: True for flag in FLAGS if target.get(flag)})
                new["origin"][path] = old["origin"].get(path) or self._origin(path)
        for path, recorded in old["directories"].items():
            removed = any(s["path"] == path and s["action"] == "remove" for s in self.plan.steps)
            if path in new["directories"] or removed or self._observe(path)["kind"] == "absent":
                continue
            if old["origin"][path]["kind"] == "absent":
                # Not empty yet: it is taken away when it is.
                new["directories"][path] = dict(recorded, left=True)
                new["origin"][path] = old["origin"][path]
        same = all(_same(new[key], old[key]) for key in ("files", "directories"))
        if same and old["generation"]:
            new.update({key: old[key] for key in ("generation", *HISTORY)})
        else:
            new["generation"] = old["generation"] + 1
            new.update({key: self.wanted.get(key) for key in HISTORY}, before=position(old))
        new["units"] = old["units"]
        if "commit" in old:
            new["commit"] = old["commit"]

    def _origin(self, path):
        found = self._observe(path)
        if found.get("mounted"):
            target = self.wanted["directories"][path]
            found = {name: target[name] for name in ("kind", *ATTRIBUTES)}
        origin = self.plan.origins[path] = dict(found)
        return origin


def position(manifest):
    """The generation whose content is in place: a rollback makes a new one of an old one's."""
    return manifest["same_as"] or manifest["generation"]


def _depth(path, targets):
    # Files keep the order in which they are listed.
    return path.count("/") if targets[path]["kind"] == "directory" else 0


def contents_of(entries, path):
    """What a generation is about: content and attributes of ``path``; None if not listed."""
    entry = entries.get(path)
    return entry and [entry.get(name) for name in ("sha256", *ATTRIBUTES)]


def _same(one, other):
    paths = set(one) | set(other)
    return all(contents_of(one, path) == contents_of(other, path) for path in paths)


def _action(before, target):
    """What has to happen to ``before`` to be ``target``; None when it is that already."""
    if before.get("mounted"):
        return None
    if before["kind"] == "absent":
        return None if target["kind"] == "absent" else "create"
    if target["kind"] == "absent":
        return "remove"
    if before["kind"] != target["kind"] or before.get("sha256") != target.get("sha256"):
        return "change"
    if any(before[name] != target[name] for name in ATTRIBUTES):
        return "attributes"
    return None


def _wrong_kind(name, path, kind, before):
    if before["kind"] == "symlink":
        return (
            "config_set %s: %s is a symbolic link to %s, and those are not followed. "
            "List the path that it points to, or remove the link." % (name, path, before["to"])
        )
    found = {"other": "a device, pipe or socket"}.get(before["kind"], "a " + before["kind"])
    return "config_set %s: %s is %s, not a %s. Remove it, or choose another path." % (
        name,
        path,
        found,
        kind,
    )


def describe(state):
    """Owner, group and mode of a state or target, as a reader knows them."""
    owner = state.get("owner") or config_files.account_name(state["uid"])
    group = state.get("group") or config_files.account_name(state["gid"], group=True)
    return {"owner": owner, "group": group, "mode": "%04o" % stat.S_IMODE(state["mode"])}


def _change(step):
    before, target, action = step["before"], step["target"], step["action"]
    details = []
    if action == "create":
        after = describe(target)
        details.append("%(owner)s:%(group)s %(mode)s" % after)
    elif action != "remove":
        if action == "change":
            details.append("content")
        details += _attribute_changes(before, target)
    if target.get("restored") and action != "remove":
        details.append("as it was before this set")
    return {
        "kind": step["kind"],
        "name": step["path"],
        "action": action,
        "detail": ", ".join(details),
    }


def _attribute_changes(before, target):
    told, now = describe(before), describe(target)
    pairs = (("owner", "uid"), ("group", "gid"), ("mode", "mode"))
    return [
        "%s %s -> %s" % (name, told[name], now[name])
        for name, key in pairs
        if before[key] != target[key]
    ]
