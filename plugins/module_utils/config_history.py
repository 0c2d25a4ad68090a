# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""The generations of the config sets on a host, and how to have an earlier one again.

Bringing back a generation is an ordinary commit of its files, as a new generation: so it is
journaled, activated and interrupted like any other, and history is never rewritten. Runs on
Python 3.9 and later.
"""

from __future__ import annotations

import os

from ansible_collections.cloudlet.deploy.plugins.module_utils import (
    activation,
    config_files,
    config_plan,
    config_store,
    host_state,
    sysctls,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import change


class HistoryError(config_files.ConfigError):
    """A generation cannot be had again; ``next_step`` says what to do instead."""

    def __init__(self, message, next_step):
        super().__init__(message)
        self.next_step = next_step


def set_names(state_dir=host_state.STATE_DIR):
    """Names of the sets on this host, also of those whose first commit has not ended."""
    try:
        return sorted(os.listdir(activation.sets_dir(state_dir)))
    except FileNotFoundError:
        return []


def histories(state_dir=host_state.STATE_DIR):
    """What there is to go back to: one mapping per set that is present.

    ``set``; ``generation``, the current one's number; ``position``: the generation whose
    content that is; ``unfinished``: a rollback to it did not come to its end, ``journal``:
    its files are in place in part only; ``generations``: those that are kept, the oldest
    first, as ``_told``. Read-only. Raises StateError.
    """
    pending = activation.pending_units(state_dir)
    busy = {name for kind in pending.values() for sets in kind.values() for name in sets}
    found = []
    for name in set_names(state_dir):
        store = config_store.SetStore(state_dir, name)
        manifest = current_manifest(store)
        if manifest is None or not manifest["generation"]:
            continue
        records = store.records()
        journal = store.journal() or {}
        committing = journal.get("phase") == "commit"
        unended = committing or name in busy
        if manifest["same_as"] and not unended:
            unended = sysctls.behind(store, manifest)
        found.append(
            {
                "set": name,
                "generation": manifest["generation"],
                "position": config_plan.position(manifest),
                "unfinished": bool(manifest["same_as"]) and unended,
                "journal": committing,
                "generations": [_told(records, number) for number in sorted(records)],
            }
        )
    return found


def current_manifest(store):
    """The manifest as it is once an unfinished commit is completed, or None."""
    journal = store.journal()
    committing = journal and journal["phase"] == "commit"
    document = journal["manifest"] if committing else store.manifest()
    return document and dict(config_plan.empty_manifest(store.name), **document)


def _told(records, number):
    """One generation: number, time (seconds since 1970), run and what it is to the others.

    ``changed``: paths that differ from the generation before; None where that is not kept.
    """
    record = records[number]
    before = before_of(record)
    told = {key: record[key] for key in ("generation", "time", "run", "same_as", "undoes")}
    told["before"] = before
    earlier = records.get(before) if before else config_plan.empty_manifest("")
    told["changed"] = None if earlier is None else _differing(earlier, record)
    return told


def before_of(record):
    """The generation that undoing ``record`` leads to. Earlier releases did not write it."""
    return record["generation"] - 1 if record["before"] is None else record["before"]


def _differing(one, other):
    return sorted(
        path
        for key in ("files", "directories")
        for path in set(one[key]) | set(other[key])
        if config_plan.contents_of(one[key], path) != config_plan.contents_of(other[key], path)
    )


def refuse_changed(store, number):
    """Raise HistoryError unless generation ``number`` is the present one."""
    manifest = current_manifest(store)
    found = manifest["generation"] if manifest else 0
    if found != number:
        raise HistoryError(
            "The set %s is at generation %d, not at %d as when it was looked at: another run "
            "changed it meanwhile." % (store.name, found, number),
            "Look again: 'cloudlet-deploy rollback --list'.",
        )


def set_change(request, before, result):
    """What to tell of a set that went back, from ``before``, its manifest then: 0 or 1 entry."""
    if not result["changes"] and result["generation"] == before["generation"]:
        return []
    detail = "as in generation %d" % request["same_as"]
    if result["generation"] != before["generation"]:
        detail += ", was %d, becomes %d" % (before["generation"], result["generation"])
    return [change("set", request["name"], "restore", detail)]


def inner_first(state_dir=host_state.STATE_DIR):
    """Names of all sets; those with paths in directories that another one made come first."""
    made, listed = {}, {}
    for name in set_names(state_dir):
        manifest = current_manifest(config_store.SetStore(state_dir, name))
        manifest = manifest or config_plan.empty_manifest(name)
        listed[name] = [*manifest["files"], *manifest["directories"]]
        made[name] = [
            path + "/"
            for path in manifest["directories"]
            if manifest["origin"].get(path, {}).get("kind") == "absent"
        ]

    def hosts(name):
        return sum(
            any(path.startswith(tuple(made[other])) for path in listed[name])
            for other in made
            if other != name
        )

    return sorted(listed, key=lambda name: (-hosts(name), name))


def request_for(store, number, run=None, undoes=None):
    """The request that makes the set have generation ``number`` again.

    Raises HistoryError for a generation that is not kept, for a secret file that differs from
    the present one, and for files of accounts that are gone.
    """
    manifest = current_manifest(store)
    records = store.records()
    if manifest is None or number not in records:
        raise _not_kept(store.name, number, records)
    record = records[number]
    files = []
    for path, entry in sorted(record["files"].items()):
        files.append(dict(_owned(number, path, entry, manifest), path=path))
        files[-1].update({key: entry[key] for key in ("secret", *activation.KINDS)})
        files[-1]["content"] = _content(store, number, path, entry)
    return {
        "name": store.name,
        "state": "present",
        "run": run,
        "same_as": record["same_as"] or number,
        "undoes": undoes,
        "validate": [],  # they were when they were new, by the software of that time
        "files": files,
        "directories": [
            dict(
                _owned(number, path, entry, manifest),
                path=path,
                **{flag: entry.get(flag) for flag in config_plan.FLAGS},
            )
            for path, entry in sorted(record["directories"].items())
            if not entry.get("left")
        ],
    }


def _not_kept(name, number, records):
    if not number:
        return HistoryError(
            "The set %s cannot go back to generation 0, which is what was there before it." % name,
            "'cloudlet-deploy destroy' brings the host back to that.",
        )
    kept = ", ".join(map(str, sorted(records))) or "none"
    return HistoryError(
        "The set %s has no generation %d: kept are %s." % (name, number, kept),
        "'cloudlet-deploy rollback --list' shows them. To have an older state, put it into the "
        "site and apply.",
    )


def _owned(number, path, entry, manifest):
    """Owner, group and mode as a request has them."""
    now = manifest["files"].get(path) or manifest["directories"].get(path) or {}
    told = {"mode": "%04o" % entry["mode"]}
    for key, word, group in (("uid", "owner", False), ("gid", "group", True)):
        told[word] = config_files.account_name(entry[key], group)
        if told[word] == str(entry[key]) and now.get(key) != entry[key]:
            raise HistoryError(
                "In generation %d of the set %s, %s belongs to the %s %s, and this host has none "
                "of that number any more." % (number, manifest["set"], path, word, told[word]),
                "Accounts are not rolled back. Put the former account into the site, apply, then "
                "roll back.",
            )
    return told


def _content(store, number, path, entry):
    blob = store.blob(number, path)
    if os.path.exists(blob):
        return config_files.read_bytes(blob)
    # A secret, which no generation keeps: the file itself may still hold it.
    if config_files.observe(path).get("sha256") == entry["sha256"]:
        return config_files.read_bytes(path)
    raise HistoryError(
        "In generation %d of the set %s, %s held another secret than now, and no secret is kept."
        % (number, store.name, path),
        "Put the former secret into the site, and apply; then roll back what else there is.",
    )
