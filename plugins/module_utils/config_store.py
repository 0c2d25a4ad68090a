# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""What is kept on the host of one config set: manifest, journal, generations, drift.

Below the state directory::

    sets/NAME/manifest.json      what the current generation consists of
    sets/NAME/journal.json       a commit that has begun; gone when it has ended
    sets/NAME/generations/0/     contents as they were found
    sets/NAME/generations/N/     files.json and contents; never those of secret files
    drift/NAME/                  contents that another hand wrote and a commit replaced

Runs on the Python of the hosts (3.9 and later).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time

from ansible_collections.cloudlet.deploy.plugins.module_utils import (
    activation,
    config_files,
    config_plan,
    host_state,
    release,
)

#: Generations kept besides generation 0 and those that rollbacks made.
KEPT_GENERATIONS = 5
#: Drifted contents kept per path.
KEPT_DRIFT = 5


def blob_name(path):
    """Name of the file that keeps the content of ``path``."""
    return config_files.sha256(os.fsencode(path))[:32]


class SetStore:
    """The documents of one set. All that writes must be inside ``host_state.locked()``."""

    def __init__(self, state_dir, name):
        self.state_dir = state_dir
        self.name = name
        self.base = os.path.join(activation.sets_dir(state_dir), name)
        self.journal_path = os.path.join(self.base, "journal.json")
        self.manifest_path = os.path.join(self.base, "manifest.json")
        self.generations = os.path.join(self.base, "generations")
        self.drift_dir = os.path.join(state_dir, "drift", name)

    def manifest(self):
        """The current manifest, or None. Raises StateError if damaged or too new."""
        document = host_state.read_json(self.manifest_path)
        if document is None:
            return None
        # What an older release did not know yet has the value that it meant.
        document = dict(config_plan.empty_manifest(self.name), **document)
        del document["schema"]
        # Who wrote it last is told by ``status`` and makes no difference to a plan.
        document.pop("release", None)
        return document

    def journal(self):
        """The unfinished commit, or None. Raises StateError if damaged or too new."""
        return host_state.read_json(self.journal_path)

    def write_manifest(self, manifest):
        """Make ``manifest`` the current one."""
        with config_files.disk_errors(self.manifest_path):
            host_state.write_json(self.manifest_path, dict(manifest, release=release.RELEASE))

    def write_journal(self, journal):
        """Begin a phase of a commit."""
        with config_files.disk_errors(self.journal_path):
            for path in (os.path.dirname(self.base), self.base):
                self._make_dir(path)
            host_state.write_json(self.journal_path, journal)

    def end_journal(self):
        """The commit is complete, or given up."""
        config_files.remove(self.journal_path)
        with contextlib.suppress(FileNotFoundError):
            host_state.fsync_dir(self.base)

    def save_generation(self, manifest, contents):
        """Write generations/N for ``manifest``; ``contents`` are bytes by path.

        A secret is where it is used and nowhere else: its content is left out.
        """
        where = os.path.join(self.generations, str(manifest["generation"]))
        with config_files.disk_errors(where):
            self._make_dir(self.generations)
            if os.path.isdir(where):
                shutil.rmtree(where)
            self._make_dir(where)
            for path, content in contents.items():
                if manifest["files"][path]["secret"]:
                    continue
                config_files.write_new(os.path.join(where, blob_name(path)), [content])
            kept = ("generation", "files", "directories", *config_plan.HISTORY)
            record = {key: manifest[key] for key in kept}
            host_state.write_json(os.path.join(where, "files.json"), dict(record, time=time.time()))

    def has_generation(self, number):
        """Whether generation ``number`` was written whole."""
        return os.path.exists(os.path.join(self.generations, str(number), "files.json"))

    def records(self):
        """What is recorded of each generation that is kept whole, by number; 0 has no record."""
        found = {}
        for name in _names(self.generations):
            path = os.path.join(self.generations, name, "files.json")
            document = host_state.read_json(path) if name.isdigit() else None
            if document is not None:
                found[int(name)] = dict(config_plan.empty_manifest(self.name), **document)
        return found

    def blob(self, number, path):
        """Where generation ``number`` keeps the content of ``path``."""
        return os.path.join(self.generations, str(number), blob_name(path))

    def origin_blob(self, path):
        """Where generation 0 keeps the content of ``path``."""
        return self.blob(0, path)

    def save_origin(self, path):
        """Keep the content that ``path`` has now as generation 0."""
        with config_files.disk_errors(self.generations):
            self._make_dir(self.generations)
            self._make_dir(os.path.join(self.generations, "0"))
            blob = self.origin_blob(path)
            config_files.remove(blob)
            config_files.write_new(blob, config_files.file_chunks(path))
            host_state.fsync_dir(os.path.dirname(blob))

    def keep_aside(self, path, digest):
        """Keep the content that another hand gave ``path``. Returns where it is kept."""
        with config_files.disk_errors(self.drift_dir):
            self._make_dir(os.path.dirname(self.drift_dir))
            self._make_dir(self.drift_dir)
            kept = self.aside_path(path, digest)
            config_files.remove(kept)
            config_files.write_new(kept, config_files.file_chunks(path))
            host_state.fsync_dir(self.drift_dir)
        self._prune_drift(path)
        return kept

    def aside_path(self, path, digest):
        """Where the drifted content of ``path`` with that digest is kept."""
        base = os.fsdecode(os.fsencode(os.path.basename(path))[-120:])
        name = "%s-%s-%s" % (blob_name(path)[:8], digest[:8], base)
        return os.path.join(self.drift_dir, name)

    def _prune_drift(self, path):
        prefix = blob_name(path)[:8] + "-"
        with os.scandir(self.drift_dir) as entries:
            kept = [entry for entry in entries if entry.name.startswith(prefix)]
        kept.sort(key=lambda entry: entry.stat().st_mtime_ns, reverse=True)
        for entry in kept[KEPT_DRIFT:]:
            config_files.remove(entry.path)

    def prune(self, manifest):
        """Remove what is kept no longer: old generations, old secrets, unused origins."""
        for name in _names(self.base):
            if name.startswith(".cloudlet-"):
                config_files.remove(os.path.join(self.base, name))
        kept = self._kept(manifest)
        for name in _names(self.generations):
            where = os.path.join(self.generations, name)
            if name == "0":
                self._prune_origin(where, manifest)
            elif not name.isdigit() or int(name) not in kept:
                shutil.rmtree(where)
            else:
                self._prune_secrets(where, manifest)

    def _kept(self, manifest):
        """Numbers of the generations to keep.

        One that a rollback made has the content of another: it does not count, lest going
        back takes away what could be gone back to.
        """
        current = manifest["generation"]
        records = {n: r for n, r in self.records().items() if n <= current}
        own = [n for n in sorted(records) if not records[n]["same_as"]]
        return {current, manifest["same_as"], *own[-KEPT_GENERATIONS:]}

    def _prune_origin(self, where, manifest):
        wanted = {
            blob_name(p) for p, state in manifest["origin"].items() if state["kind"] == "file"
        }
        for blob in set(_names(where)) - wanted:
            config_files.remove(os.path.join(where, blob))

    def _prune_secrets(self, where, manifest):
        """A file may have become secret after ``where`` was written."""
        for path, entry in manifest["files"].items():
            if entry.get("secret"):
                config_files.remove(os.path.join(where, blob_name(path)))

    def forget(self, manifest):
        """The set is absent; ``manifest``, an empty one, stays while units are pending in it."""
        if not any(manifest["units"].values()):
            self.remove()
            return
        self.write_manifest(manifest)
        if os.path.isdir(self.generations):
            shutil.rmtree(self.generations)
        self.end_journal()

    def remove(self):
        """Remove all that is kept of the set, the journal last; drift stays for its owner."""
        for name in _names(self.base):
            path = os.path.join(self.base, name)
            if path == self.generations:
                shutil.rmtree(path)
            elif path != self.journal_path:
                config_files.remove(path)
        self.end_journal()
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(self.base)

    @staticmethod
    def _make_dir(path):
        if not os.path.isdir(path):
            os.mkdir(path, 0o700)
            host_state.fsync_dir(os.path.dirname(path))


def _names(path):
    try:
        return sorted(os.listdir(path))
    except FileNotFoundError:
        return []
