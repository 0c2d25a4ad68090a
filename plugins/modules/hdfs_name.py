#!/usr/bin/python
# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""The one formatting of a name directory, and the guard of it. Python 3.9 and later."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hdfs_name
short_description: Make a name directory once, and never again
version_added: 0.1.0
description:
  - Without O(format) it only looks; it refuses what O(format) would refuse. It returns the
    version of Hadoop that is installed.
  - With O(format) a name directory that was never there is made. The cluster id is written to the
    host's ledger first; the directory is made under another name, synced, and renamed into place. A
    call that was killed is finished by the next one, with the same id.
  - One that is there already is adopted. If the ledger knows of a file system, and the directory is
    empty, missing or of another cluster, the module fails.
options:
  directory:
    description: The name directory; none on a host that is no name node.
    type: path
  format:
    description: Command that formats; O(directory) under its other name and the cluster id are
      added.
    type: list
    elements: str
    default: []
  owner:
    description: Account that owns the directory.
    type: str
    default: hdfs
  jars:
    description: Directories that hold C(hadoop-hdfs-VERSION.jar).
    type: list
    elements: str
    default: []
  version:
    description: Version of Hadoop that is about to be installed, if that is known.
    type: str
    default: ""
  allow_upgrade:
    description: Let another version open the file system.
    type: bool
    default: false
  state:
    description: V(absent) makes the ledger forget the file systems, which stay.
    type: str
    choices: [present, absent]
    default: present
  state_dir:
    description: Where the ledger lies.
    type: path
    default: /var/lib/cloudlet-deploy
attributes:
  check_mode:
    support: full
author: The cloudlet-deploy founders
"""

EXAMPLES = r"""
- name: Make the file system
  cloudlet.deploy.hdfs_name:
    directory: /var/lib/hadoop-hdfs/name
    format: [java, -cp, /etc/hadoop/cloudlet, org.apache.hadoop.hdfs.server.namenode.NameNode]
"""

RETURN = r"""
changes:
  description: What was, or in check mode would be, done.
  returned: always
  type: list
version:
  description: Version of Hadoop; empty if none is found.
  returned: success
  type: str
cluster_id:
  description: Id of the file system; empty before it is made.
  returned: success
  type: str
"""

import glob  # noqa: E402
import os  # noqa: E402
import pwd  # noqa: E402
import re  # noqa: E402
import shutil  # noqa: E402
import uuid  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils import hdfs_name  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import (  # noqa: E402
    change,
    run,
    tail,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import (  # noqa: E402
    STATE_DIR,
    Ledger,
    StateError,
    fsync_dir,
    locked,
)

KIND = "filesystem"
OWNER = "hdfs"
#: Read by the unit of the name node at its next start, which removes it.
ONCE = "/run/hdfs-namenode.once"
_JAR = re.compile(r"hadoop-hdfs-(\d[\w.-]*)\.jar$")
_FORMAT_SECONDS = 300


def installed_version(directories):
    """The version in the name of Hadoop's jar; "" if there is none."""
    for directory in directories:
        for path in sorted(glob.glob(os.path.join(directory, "hadoop-hdfs-*.jar"))):
            found = _JAR.search(path)
            if found and "tests" not in found[1]:
                return found[1]
    return ""


class NameDirectory:
    """One name directory and what the ledger has of it."""

    def __init__(self, options, once=ONCE):
        self.directory = options["directory"]
        self.options = options
        self.once = once
        self.state_dir = options["state_dir"]
        self.version = options["version"] or installed_version(options["jars"])

    def notes(self):
        """What the ledger knows, by name directory."""
        return Ledger(self.state_dir).notes(KIND)

    def note(self, cluster_id, state):
        """Write down what the file system is. Others of this host were moved to here."""
        with locked(self.state_dir):
            ledger = Ledger(self.state_dir)
            for path in ledger.notes(KIND):
                if path != self.directory:
                    ledger.release(KIND, path, None)
            ledger.record(KIND, self.directory, None, OWNER)
            value = {"cluster_id": cluster_id, "state": state, "version": self.version}
            ledger.note(KIND, self.directory, value)
            ledger.save()

    def act(self, check):
        """The module's result. Raises Refused."""
        action, cluster_id = hdfs_name.decide(
            self.directory, self.notes(), self.version, self.options["allow_upgrade"]
        )
        changes = [change(KIND, self.directory, action, cluster_id or "")] if action else []
        if not self.options["format"]:
            changes = []  # told by the call that does it
        elif action and not check:
            cluster_id = self._carry_out(action, cluster_id)
        return {
            "changed": bool(changes),
            "changes": changes,
            "version": self.version,
            "cluster_id": cluster_id or "",
        }

    def _carry_out(self, action, cluster_id):
        if action == "format":
            cluster_id = cluster_id or "CID-%s" % uuid.uuid4()
            self.note(cluster_id, hdfs_name.FORMATTING)
            if not hdfs_name.read_version(self.directory):
                self._format(cluster_id)
        elif action == "upgrade":
            with open(self.once, "w", encoding="utf-8") as stream:
                stream.write("HDFS_STARTUP=-upgrade\n")
        self.note(cluster_id, hdfs_name.FORMATTED)
        return cluster_id

    def _format(self, cluster_id):
        if os.path.ismount(self.directory):
            raise hdfs_name.Refused(
                "hdfs_name_directory: %s is a mount point itself" % self.directory,
                "Name a directory below it, such as %s/name: it is made as a whole and then "
                "renamed into place." % self.directory,
            )
        parent = os.path.dirname(self.directory)
        if not os.path.isdir(parent):
            raise hdfs_name.Refused(
                "hdfs_name_directory: %s is no directory" % parent,
                "Make it, or mount it, first: where it is missing a disk may be.",
            )
        staging = os.path.join(parent, ".%s.formatting" % os.path.basename(self.directory))
        account = pwd.getpwnam(self.options["owner"])
        shutil.rmtree(staging, ignore_errors=True)
        os.mkdir(staging, 0o700)
        os.chown(staging, account.pw_uid, account.pw_gid)
        as_user = ["setpriv", "--reuid", account.pw_name, "--regid", str(account.pw_gid),
                   "--init-groups"]  # fmt: skip
        done = run(
            [*as_user, *self.options["format"], "-Ddfs.namenode.name.dir=file://" + staging,
             "-format", "-nonInteractive", "-clusterId", cluster_id],
            timeout=_FORMAT_SECONDS,
        )  # fmt: skip
        made = hdfs_name.read_version(staging)
        if done.rc != 0 or made.get("clusterID") != cluster_id:
            shutil.rmtree(staging, ignore_errors=True)
            raise hdfs_name.Refused(
                "%s cannot be formatted: %s" % (self.directory, tail(done, 8)),
                "Correct this and apply again; nothing was made.",
            )
        _sync(staging)
        os.rename(staging, self.directory)
        fsync_dir(parent)


def _sync(top):
    for directory, _, names in os.walk(top):
        for name in names:
            fd = os.open(os.path.join(directory, name), os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        fsync_dir(directory)


def forget(state_dir, check):
    """The ledger lets go of the file systems; they stay, and the next apply adopts them."""
    if not check and Ledger(state_dir).notes(KIND):
        with locked(state_dir):
            ledger = Ledger(state_dir)
            for path in ledger.notes(KIND):
                ledger.release(KIND, path, None)
            ledger.save()


def main():
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path"},
            "format": {"type": "list", "elements": "str", "default": []},
            "owner": {"type": "str", "default": "hdfs"},
            "jars": {"type": "list", "elements": "str", "default": []},
            "version": {"type": "str", "default": ""},
            "allow_upgrade": {"type": "bool", "default": False},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "state_dir": {"type": "path", "default": STATE_DIR},
        },
        supports_check_mode=True,
    )
    options = module.params
    result = {"changed": False, "changes": []}
    try:
        if options["state"] == "absent":
            forget(options["state_dir"], module.check_mode)
        elif options["directory"]:
            result = NameDirectory(options).act(module.check_mode)
        else:
            result["version"] = options["version"] or installed_version(options["jars"])
    except hdfs_name.Refused as exc:
        module.fail_json(msg="%s." % exc, next_step=exc.next_step)
    except (StateError, OSError, KeyError) as exc:
        module.fail_json(msg="hdfs_name %s: %s" % (options["directory"] or "", exc))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
