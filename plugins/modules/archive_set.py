#!/usr/bin/python
# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""An unpacked archive below a link that is swapped at once. Python 3.9 and later."""

from __future__ import annotations

DOCUMENTATION = r"""
module: archive_set
short_description: Unpack a tar archive of the controller, checked, behind a link
version_added: 0.1.0
description:
  - The archive is unpacked to a directory beside O(path) that carries its checksum in the name,
    and O(path), a symbolic link, is swapped to it at once.
  - It is fetched and checked on the controller, in check mode too, and sent only where it is
    missing.
options:
  component:
    description: Who owns it in the ledger. With O(state=absent) it may be left out; then those
      of all components are meant.
    type: str
  archive:
    description: URL, or path on the controller, of the archive. Handled on the controller.
    type: str
  checksum:
    description: Its checksum, as V(sha256:HEX).
    type: str
  path:
    description: Where it is to be seen on the host. What is there and is not ours is an error.
      With O(state=absent) it may be left out; then all archives of O(component) are meant.
    type: path
  state:
    description: V(absent) removes what was unpacked.
    type: str
    choices: [present, absent]
    default: present
  source:
    description: Path of the archive on the host; the action plugin sets it.
    type: path
  state_dir:
    description: Where the ledger lies.
    type: path
attributes:
  check_mode:
    support: full
author: The cloudlet-deploy founders
"""

EXAMPLES = r"""
- name: Unpack the prepared home
  cloudlet.deploy.archive_set:
    component: bestman
    archive: https://example.org/bestman2-prepared.tar.gz
    checksum: sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae
    path: /opt/bestman2
"""

RETURN = r"""
changes:
  description: What was, or in check mode would be, changed.
  returned: always
  type: list
"""

import os  # noqa: E402
import shutil  # noqa: E402
import tarfile  # noqa: E402
import tempfile  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import (  # noqa: E402
    change,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import (  # noqa: E402
    STATE_DIR,
    Ledger,
    StateError,
    locked,
)

KIND = "archive"


class ArchiveError(Exception):
    """The archive cannot be unpacked here; the message says why."""


def target(path, checksum):
    """The directory that the archive of this checksum is unpacked to."""
    return "%s-%s" % (path, checksum.partition(":")[2][:16])


def unpack(source, directory):
    """Unpack into ``directory``, a new one. One single directory at the top is left out.

    Raises ArchiveError for an entry that is no file, directory or link, or leads outside.
    """
    try:
        with tarfile.open(source) as archive:
            members = archive.getmembers()
            for member in members:
                _check(member)
                member.uid = member.gid = 0
                member.uname = member.gname = "root"
                member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            archive.extractall(directory, members=members)
    except (tarfile.TarError, EOFError) as exc:
        raise ArchiveError("the archive cannot be unpacked: %s" % exc) from exc
    inside = os.listdir(directory)
    if len(inside) == 1 and os.path.isdir(os.path.join(directory, inside[0])):
        return os.path.join(directory, inside[0])
    return directory


def _check(member):
    outside = member.name.startswith("/") or ".." in member.name.split("/")
    if member.issym() or member.islnk():
        goal = member.linkname
        if member.issym():
            goal = os.path.normpath(os.path.join(os.path.dirname(member.name), goal))
        outside = outside or goal.startswith("/") or goal.split("/")[0] == ".."
    elif not (member.isfile() or member.isdir()):
        raise ArchiveError("the archive holds %s, which is no file or directory" % member.name)
    if outside:
        raise ArchiveError("the archive holds %s, which leads out of it" % member.name)


def present(path, component, state_dir, check, *, checksum, source):
    """Returns the changes; with ``source`` None it only tells them."""
    wanted = target(path, checksum)
    there = os.readlink(path) if os.path.islink(path) else None
    ours = path in Ledger(state_dir).owned(KIND, component)
    if there == wanted and os.path.isdir(wanted) and ours:
        return []
    if os.path.lexists(path) and not (ours and there is not None):
        raise ArchiveError(
            "%s is there and was not unpacked by cloudlet-deploy. Move it away, or name another "
            "directory." % path
        )
    changes = [change("directory", path, "change" if there else "create", checksum)]
    if check or source is None:
        return changes
    parent = os.path.dirname(path)
    os.makedirs(parent, exist_ok=True)
    with locked(state_dir):
        ledger = Ledger(state_dir)
        ledger.record(KIND, path, None, component)
        ledger.save()
        scratch = tempfile.mkdtemp(prefix=".cloudlet-", dir=parent)
        try:
            unpacked = unpack(source, os.path.join(scratch, "new"))
            os.chmod(unpacked, 0o755)
            shutil.rmtree(wanted, ignore_errors=True)
            os.rename(unpacked, wanted)
            os.symlink(wanted, os.path.join(scratch, "link"))
            os.replace(os.path.join(scratch, "link"), path)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        if there and there != wanted and there.startswith(path + "-"):
            shutil.rmtree(there, ignore_errors=True)
    return changes


def absent(path, component, state_dir, check):
    """Returns the changes: the link and what it names go, if they are ours (no path: all)."""
    owned = sorted(Ledger(state_dir).owned(KIND, component))
    wanted = owned if path is None else [path]
    gone = [_absent(one, component, state_dir, check) for one in wanted if one in owned]
    return [entry for entries in gone for entry in entries]


def _absent(path, component, state_dir, check):
    there = os.readlink(path) if os.path.islink(path) else None
    if not check:
        with locked(state_dir):
            if there:
                # The link last: who is killed in between still knows from it what to remove.
                if there.startswith(path + "-"):
                    shutil.rmtree(there, ignore_errors=True)
                os.unlink(path)
            ledger = Ledger(state_dir)
            ledger.release(KIND, path, component)
            ledger.save()
    return [change("directory", path, "remove")] if there else []


def main():
    module = AnsibleModule(
        argument_spec={
            "component": {"type": "str"},
            "archive": {"type": "str"},
            "checksum": {"type": "str"},
            "path": {"type": "path"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "source": {"type": "path"},
            "state_dir": {"type": "path"},
        },
        required_if=[("state", "present", ("checksum", "component", "path"))],
        supports_check_mode=True,
    )
    given = module.params
    state_dir = given["state_dir"] or STATE_DIR
    common = (given["path"], given["component"], state_dir, module.check_mode)
    try:
        if given["state"] == "absent":
            changes = absent(*common)
        else:
            changes = present(*common, checksum=given["checksum"], source=given["source"])
    except (ArchiveError, StateError, OSError) as exc:
        module.fail_json(msg="archive_set %s: %s" % (given["path"] or "", exc))
    module.exit_json(changed=bool(changes), changes=changes)


if __name__ == "__main__":
    main()
