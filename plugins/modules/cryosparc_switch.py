#!/usr/bin/python
# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Which version of CryoSPARC is in use. Python 3.9 and later."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cryosparc_switch
short_description: Let an installed version of CryoSPARC be the one in use
version_added: 0.1.0
description:
  - The first version is only linked. Another one takes over in maintenance mode. The database is
    backed up by the old version, the old one is stopped, the links are swapped, the new one is
    started and must answer.
  - If it does not, the old version is linked again, gets an empty database, restores that backup
    and runs. The database that the new version has opened stays beside it, under another name.
  - A call that was killed is made up for by the next one.
  - After an upgrade the version before it is kept, and older ones are removed.
  - A master that runs with another C(config.sh) than it has now is restarted.
options:
  directory:
    description: Where versions are installed.
    type: path
    required: true
  version:
    description: The version that is to be in use.
    type: str
    required: true
  account:
    description: The account that everything runs as.
    type: str
    required: true
  database:
    description: Directory of the database.
    type: path
    required: true
  backup_directory:
    description: Where the backup before an upgrade goes.
    type: path
    required: true
  configured:
    description: In check mode, whether C(config.sh) would be changed.
    type: bool
    default: false
  wait:
    description: Seconds that the unit may take to come up.
    type: int
    default: 300
  started:
    description: File in which the unit has the digest of C(config.sh) that it started with.
    type: path
    default: /run/cryosparc/config
  state_dir:
    description: Where the ledger is.
    type: path
    default: /var/lib/cloudlet-deploy
attributes:
  check_mode:
    support: full
author: [The cloudlet-deploy founders]
"""

EXAMPLES = r"""
- name: Use the version
  cloudlet.deploy.cryosparc_switch:
    directory: /opt/cryosparc
    version: v5.0.2
    account: cryosparc
    database: /var/lib/cryosparc/database
    backup_directory: /var/backups/cryosparc
"""

RETURN = r"""
changes:
  description: What was, or would be, done.
  type: list
  returned: always
"""

import os  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils import (  # noqa: E402
    cryosparc_host,
    cryosparc_layout,
    units,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import (  # noqa: E402
    change,
    run,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.cryosparc_layout import (  # noqa: E402
    KIND,
    PARTS,
    Layout,
    forget,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.cryosparc_program import (  # noqa: E402
    Programs,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.cryosparc_upgrade import (  # noqa: E402
    SWITCHED,
    Upgrade,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import (  # noqa: E402
    STATE_DIR,
    Ledger,
    StateError,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.idmaps import Refused  # noqa: E402


class Switch:
    """What is in use on this host, and what is to be."""

    def __init__(self, options, systemd, programs=Programs):
        self.options = options
        self.systemd = systemd
        self.programs = programs
        self.layout = Layout(options["directory"])

    def act(self, check):
        """The module's result."""
        current, wanted = self.layout.current(), self.options["version"]
        upgrade = None if check else self._upgrade()
        note = self._interrupted()
        if upgrade and (note or current != wanted):
            self._reload()
        changes = []
        before = note["from"] if note else current
        if note:
            told, current = self._made_up_for(note, upgrade)
            changes += told
        if current != wanted:
            detail = "%s -> %s" % (current, wanted) if current else wanted
            action = "upgrade" if current else "use"
            changes.append(change(KIND, self.layout.directory, action, detail))
            if upgrade and current:
                upgrade.go(current)
            elif upgrade:
                self.layout.use(wanted)
        else:
            changes += self._as_configured(check)
        changes += self._without_older({before, wanted} if before else set(), check)
        return {"changed": bool(changes), "changes": changes}

    def _made_up_for(self, note, upgrade):
        """(changes, the version in use then) after an upgrade that was interrupted."""
        wanted, switched = self.options["version"], note["state"] == SWITCHED
        if switched and "aside" not in note and note["to"] == wanted:
            if upgrade:
                upgrade.finish(note)
            detail = "%s -> %s, which was interrupted" % (note["from"], wanted)
            return [change(KIND, self.layout.directory, "upgrade", detail)], wanted
        if switched or note["from"] == wanted:
            if upgrade:
                upgrade.back(note)
            detail = "%s, whose upgrade was interrupted" % note["from"]
            return [change(KIND, self.layout.directory, "restore", detail)], note["from"]
        return [], note["from"]

    def _reload(self):
        """Its file may be another one than systemd has read."""
        self.systemd.daemon_reload([cryosparc_host.UNIT])

    def _interrupted(self):
        notes = Ledger(self.options["state_dir"]).notes(cryosparc_layout.UPGRADE)
        return notes.get(self.layout.directory)

    def _upgrade(self):
        programs = self.programs(self.options["account"])
        return Upgrade(self.options, self.layout, programs, self.systemd)

    def _as_configured(self, check):
        """A part that came later gets its link; what runs with another config.sh is restarted."""
        wanted = self.options["version"]
        changes = []
        lacking = [
            part
            for part in PARTS
            if os.path.isdir(self.layout.part(wanted, part))
            != os.path.islink(self.layout.link(part))
        ]
        if lacking:
            changes.append(change(KIND, self.layout.directory, "use", wanted))
            if not check:
                self.layout.use(wanted)
        unit = self.systemd.show([cryosparc_host.UNIT])[cryosparc_host.UNIT]
        try:
            with open(self.options["started"], encoding="utf-8") as stream:
                began = stream.read().strip()
        except OSError:
            began = ""
        now = cryosparc_layout.digest(self.layout.config(wanted, "master"))
        if unit.active and ((check and self.options["configured"]) or (began and began != now)):
            changes.append(change("unit", cryosparc_host.UNIT, "restart", "config.sh"))
            if not check:
                self._reload()
                self.systemd.act("restart", unit, self.options["wait"] + 120)
        return changes

    def _without_older(self, kept, check):
        """After an upgrade, remove what was installed but the two in ``kept``."""
        state_dir = self.options["state_dir"]
        homes = Ledger(state_dir).owned(KIND, None) if len(kept) == 2 else ()
        gone = sorted(home for home in homes if os.path.basename(home) not in kept)
        if not check:
            for home in gone:
                forget(state_dir, home)
        return [change(KIND, home, "remove") for home in gone]


def main():
    text = {"type": "str", "required": True}
    path = {"type": "path", "required": True}
    module = AnsibleModule(
        argument_spec={
            "directory": path,
            "version": text,
            "account": text,
            "database": path,
            "backup_directory": path,
            "configured": {"type": "bool", "default": False},
            "wait": {"type": "int", "default": 300},
            "started": {"type": "path", "default": "/run/cryosparc/config"},
            "state_dir": {"type": "path", "default": STATE_DIR},
        },
        supports_check_mode=True,
    )
    try:
        own = Switch(module.params, units.Systemd(run))
        result = own.act(module.check_mode)
    except Refused as exc:
        module.fail_json(msg="%s." % exc, next_step=exc.next_step, changes=[])
    except (units.UnitError, StateError, OSError, KeyError) as exc:
        module.fail_json(msg="cryosparc_switch %s: %s" % (module.params["directory"], exc))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
