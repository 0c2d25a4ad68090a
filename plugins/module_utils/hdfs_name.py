# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""What may be done to a name directory: made once, adopted, upgraded, or else refused.

Decides, and changes nothing. Runs on Python 3.9 and later.
"""

from __future__ import annotations

import os

FORMATTING, FORMATTED = "formatting", "formatted"


class Refused(Exception):
    """The file system must not be touched: what was found, and what to do."""

    def __init__(self, message, next_step):
        super().__init__(message)
        self.next_step = next_step


def read_version(directory):
    """The properties in ``current/VERSION`` of ``directory``; {} if there are none."""
    try:
        with open(os.path.join(directory, "current", "VERSION"), encoding="utf-8") as stream:
            lines = stream.read().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def contents(directory):
    """One of missing, empty and full."""
    try:
        return "full" if os.listdir(directory) else "empty"
    except FileNotFoundError:
        return "missing"


def decide(directory, notes, version, allow_upgrade):
    """(action or None, cluster id or None): what to do with ``directory``.

    ``notes``: what the ledger knows, by name directory. ``version``: the installed Hadoop, ""
    if not known yet. Actions: ``format``, ``adopt``, ``upgrade``. Raises Refused.
    """
    found = read_version(directory).get("clusterID")
    note = notes.get(directory)
    others = {path: one for path, one in notes.items() if path != directory}
    if note is None:
        known = [one["cluster_id"] for one in others.values() if one["state"] == FORMATTED]
        if known and found not in known:
            _refuse_other_place(directory, found, others)
        if found:
            return "adopt", found
        if contents(directory) == "full":
            raise Refused(
                "hdfs_name_directory: %s is neither empty nor a name directory" % directory,
                "Look at what it holds: was a file system mounted elsewhere? Name an empty "
                "directory, or one that does not exist yet.",
            )
        return "format", None
    wanted = note["cluster_id"]
    if note["state"] == FORMATTING and found in (None, wanted):
        return "format", wanted
    if found != wanted:
        what = "holds the cluster %s" % found if found else "is %s" % contents(directory)
        raise Refused(
            "hdfs_name_directory: %s %s, but the file system of this host is the cluster %s. "
            "Nothing was started and nothing is formatted" % (directory, what, wanted),
            "Mount or move the directory back, or restore it from a copy of the image: "
            "docs/how-to/hdfs.md says how.",
        )
    if version and note.get("version") and version != note["version"]:
        if not allow_upgrade:
            raise Refused(
                "Hadoop %s is installed, but the file system %s was last opened by %s"
                % (version, directory, note["version"]),
                "An upgrade may have no way back. Copy the image, then: cloudlet-deploy apply "
                "--allow-hdfs-upgrade; or install %s again." % note["version"],
            )
        return "upgrade", wanted
    return None, wanted


def _refuse_other_place(directory, found, others):
    path, one = sorted(others.items())[0]
    what = "the cluster %s" % found if found else "no file system"
    raise Refused(
        "hdfs_name_directory: %s holds %s, but this host's file system is the cluster %s in %s"
        % (directory, what, one["cluster_id"], path),
        "Stop the name node, move %s to %s, and apply again; or correct hdfs_name_directory."
        % (path, directory),
    )
