# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Where versions of CryoSPARC lie on a host, and what their config.sh say. Python 3.9 and later."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil

from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import (
    Ledger,
    locked,
    write_atomically,
)

PARTS = ("master", "worker")
#: Kinds of the ledger: the directory of a version, with the note ``{"parts": {PART: WHAT}}``, where
#: WHAT is None until the part is installed; an upgrade that is under way; who was made known to the
#: master. The latter two by the directory of all versions.
KIND, UPGRADE, MEMBERS = "cryosparc", "cryosparc-upgrade", "cryosparc-members"
OWNER = "cryosparc"
LICENSE = "CRYOSPARC_LICENSE_ID"
_EXPORT = re.compile(r"^(?P<begin>\s*export\s+(?P<name>\w+)=)(?P<value>.*)$")


class Layout:
    """The versions below ``directory``."""

    def __init__(self, directory):
        self.directory = directory

    def home(self, version):
        """Where a version is installed."""
        return os.path.join(self.directory, version)

    def part(self, version, part):
        """Where its master or its worker is."""
        return os.path.join(self.home(version), "cryosparc_" + part)

    def link(self, part):
        """What leads to the part that is in use."""
        return os.path.join(self.directory, "cryosparc_" + part)

    def current(self):
        """The version that is in use; "" if there is none."""
        try:
            return os.readlink(self.link("master")).partition("/")[0]
        except OSError:
            return ""

    def use(self, version):
        """Let the links lead to ``version``; a part that it does not have loses its link."""
        for part in PARTS:
            link = self.link(part)
            if not os.path.isdir(self.part(version, part)):
                if os.path.islink(link):
                    os.unlink(link)
                continue
            fresh = link + ".new"
            if os.path.lexists(fresh):
                os.unlink(fresh)
            os.symlink(os.path.join(version, "cryosparc_" + part), fresh)
            os.replace(fresh, link)

    def program(self, part, version=None):
        """``cryosparcm`` or ``cryosparcw``, of the version in use unless one is given."""
        home = self.part(version, part) if version else self.link(part)
        return os.path.join(home, "bin", "cryosparc" + part[0])

    def config(self, version, part):
        """Path of its config.sh."""
        return os.path.join(self.part(version, part), "config.sh")


def settings(path):
    """What a config.sh exports, by name; empty if there is none."""
    try:
        with open(path, encoding="utf-8") as stream:
            found = [_EXPORT.match(line) for line in stream]
    except FileNotFoundError:
        return {}
    return {one["name"]: _plain(one["value"]) for one in found if one}


def _plain(value):
    try:
        words = shlex.split(value, comments=True)
    except ValueError:
        return value
    return words[0] if words else ""


def edited(text, wanted):
    """The text of a config.sh with other values for ``wanted``; what lacks comes at the end."""
    left, lines = dict(wanted), []
    for line in text.splitlines():
        found = _EXPORT.match(line)
        ours = found and found["name"] in left
        lines.append(found["begin"] + '"%s"' % left.pop(found["name"]) if ours else line)
    lines += ['export %s="%s"' % item for item in sorted(left.items())]
    return "\n".join(lines) + "\n"


def edit(path, wanted, owner):
    """Change values of a config.sh, which nobody but the account ``owner`` (of pwd) reads."""
    with open(path, encoding="utf-8") as stream:
        text = stream.read()
    write_atomically(path, edited(text, wanted).encode("utf-8"))
    os.chown(path, owner.pw_uid, owner.pw_gid)


def digest(path):
    """Of a config.sh, to tell one from another; "" if there is none."""
    try:
        with open(path, "rb") as stream:
            return hashlib.sha256(stream.read()).hexdigest()
    except OSError:
        return ""


def forget(state_dir, home):
    """Remove the directory of a version, and its entry."""
    shutil.rmtree(home, ignore_errors=True)
    with locked(state_dir):
        ledger = Ledger(state_dir)
        ledger.release(KIND, home, None)
        ledger.save()
