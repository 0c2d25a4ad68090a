# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""What others wrote into the directories that config sets made for it: logs, stored files.

Only directories that a set made itself and marked as ``data`` count: what was there before the
set, and what lies beside, was never ours. Runs on Python 3.9 and later.
"""

from __future__ import annotations

import os
import shutil

from ansible_collections.cloudlet.deploy.plugins.module_utils import (
    activation,
    config_files,
    host_state,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import change

_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")


class Data:
    """The data directories on a host and what is in them now."""

    def __init__(self, state_dir=host_state.STATE_DIR):
        self.directories = []
        for document in activation.manifests(state_dir).values():
            managed = set(document["files"]) | set(document["directories"])
            for path, entry in document["directories"].items():
                made = document["origin"].get(path, {}).get("kind") == "absent"
                if entry.get("data") and made and os.path.isdir(path) and not os.path.islink(path):
                    self.directories.append((path, managed))
        self.directories.sort()

    def changes(self):
        """One entry per directory that holds something. Raises ConfigError for a mount in one."""
        told = []
        for path, managed in self.directories:
            files, size = self._measure(path, managed)
            if files:
                detail = "%d %s, %s" % (files, "entry" if files == 1 else "entries", _shown(size))
                told.append(change("data", path, "remove", detail))
        return told

    def _measure(self, path, managed):
        """Number of entries that are not managed, and their size in bytes."""
        inner = {other for other, _ in self.directories if other != path}
        number, size = 0, 0
        for base, directories, names in os.walk(path):
            for name in list(directories):
                below = os.path.join(base, name)
                if os.path.ismount(below):
                    raise config_files.ConfigError(
                        "%s is a mount point in the data that is to be purged: unmount it, or "
                        "do without --purge-data. Nothing was changed." % below
                    )
                if below in inner:
                    directories.remove(name)  # told by itself
            for name in directories + names:
                below = os.path.join(base, name)
                if below not in managed:
                    number += 1
                    size += os.lstat(below).st_size if name in names else 0
        return number, size

    def inside(self):
        """Paths of all that lies directly in the directories."""
        return {entry.path for path, _ in self.directories for entry in os.scandir(path)}

    def purge(self):
        """Remove what is in the directories; they themselves are the sets' to remove."""
        inner = {path for path, _ in self.directories}
        for path, managed in reversed(self.directories):
            for entry in list(os.scandir(path)):
                if entry.path in managed or entry.path in inner:
                    continue
                # Somebody may write there now: whom rmtree follows, it has by descriptor.
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    config_files.remove(entry.path)


def _shown(size):
    value, unit = float(size), 0
    while value >= 1024 and unit + 1 < len(_UNITS):
        value, unit = value / 1024, unit + 1
    return "%d %s" % (size, _UNITS[0]) if not unit else "%.1f %s" % (value, _UNITS[unit])
