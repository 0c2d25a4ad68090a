# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""From one version of CryoSPARC to another, and back if it does not come up. Python 3.9 and later.

The ledger has what is under way before it is done. After a kill the next call begins anew where
nothing was switched yet; where it was, people may have worked with the new version since a reboot,
so the call goes on from there; and a way back that was begun is gone to its end first.
"""

from __future__ import annotations

import os
import shutil
import time

from ansible_collections.cloudlet.deploy.plugins.module_utils import cryosparc_host
from ansible_collections.cloudlet.deploy.plugins.module_utils.cryosparc_layout import (
    OWNER,
    UPGRADE,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import Ledger, locked
from ansible_collections.cloudlet.deploy.plugins.module_utils.idmaps import Refused
from ansible_collections.cloudlet.deploy.plugins.module_utils.units import UnitError

#: How far an upgrade is. From SWITCHED on the new version may have changed the database.
PREPARED, SWITCHED = "prepared", "switched"
_ORPHANS_SECONDS = 20
_COPY_SECONDS = 12 * 3600


class Upgrade:
    """The way to ``options["version"]``; ``systemd`` is that of ``units``."""

    def __init__(self, options, layout, programs, systemd, sleep=time.sleep):
        self.options = options
        self.layout = layout
        self.programs = programs
        self.systemd = systemd
        self.sleep = sleep

    def note(self):
        """What is under way; None if nothing is."""
        return Ledger(self.options["state_dir"]).notes(UPGRADE).get(self.layout.directory)

    def _write_down(self, note):
        with locked(self.options["state_dir"]):
            ledger = Ledger(self.options["state_dir"])
            if note is None:
                ledger.release(UPGRADE, self.layout.directory, None)
            else:
                ledger.record(UPGRADE, self.layout.directory, None, OWNER)
                ledger.note(UPGRADE, self.layout.directory, note)
            ledger.save()

    def _unit(self, verb):
        unit = self.systemd.show([cryosparc_host.UNIT])[cryosparc_host.UNIT]
        # One that waits to be started again after a failure is not active, and is to be stopped.
        if verb == "stop" or not unit.active:
            self.systemd.act(verb, unit, self.options["wait"] + 120)

    def _manage(self, what, *words, timeout=600):
        program = self.layout.program("master")
        return self.programs.checked(what, program, *words, timeout=timeout)

    def go(self, old):
        """Replace ``old``, which is in use. Raises Refused, with ``old`` in use again."""
        new = self.options["version"]
        try:
            self._unit("start")
        except UnitError as exc:
            raise Refused(
                "%s does not start, and only it can back up the database: %s"
                % (old, str(exc).rstrip(".")),
                "Make it run, then apply again; nothing was changed.",
            ) from exc
        note = {"from": old, "to": new, "state": PREPARED}
        self._write_down(note)
        try:
            self._manage("Maintenance mode of %s" % old, "maintenancemode", "on")
            note["backup"] = self._backup(old, new)
            self._unit("stop")
            self._await_end(old)
            note["state"] = SWITCHED
            self._write_down(note)
        except (Refused, UnitError) as exc:
            self._failed(note, exc)
        self.finish(note)

    def finish(self, note):
        """Go on from where the new version is to start. Raises Refused as ``go`` does."""
        try:
            self.layout.use(note["to"])
            self._unit("start")
            self._manage("Maintenance mode of %s" % note["to"], "maintenancemode", "off")
        except (Refused, UnitError) as exc:
            self._failed(note, exc)
        self._write_down(None)

    def _failed(self, note, exc):
        next_step = "Look at 'journalctl -u %s', then apply again." % cryosparc_host.UNIT
        try:
            self.back(note)
        except (Refused, UnitError) as worse:
            raise Refused(
                "The upgrade to %s failed: %s. And %s could not be brought back: %s"
                % (note["to"], str(exc).rstrip("."), note["from"], str(worse).rstrip(".")),
                "Mend the latter and apply again, which goes on from there. The backup is %s."
                % note.get("backup", "not made yet"),
            ) from worse
        raise Refused(
            "The upgrade to %s failed: %s. %s runs again, with its database"
            % (note["to"], str(exc).rstrip("."), note["from"]),
            getattr(exc, "next_step", next_step),
        ) from exc

    def _backup(self, old, new):
        name = "before-%s-%s.archive" % (new, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
        directory = self.options["backup_directory"]
        self._manage("The backup of %s" % old, "backup", "--dir", directory, "--file", name,
                     timeout=_COPY_SECONDS)  # fmt: skip
        return os.path.join(directory, name)

    def _await_end(self, version):
        """Until no process of ``version`` is left; the unit's stop has ended its own."""
        for _ in range(_ORPHANS_SECONDS):
            left = cryosparc_host.processes_below(self.layout.home(version))
            if not left:
                return
            self.sleep(1)
        raise Refused(
            "%s still runs outside of %s: %s"
            % (
                version,
                cryosparc_host.UNIT,
                ", ".join("%s (pid %d)" % (p, i) for i, p in sorted(left.items())),
            ),
            "End these processes, or wait for the jobs among them, then apply again.",
        )

    def back(self, note):
        """Let the old version run again, as ``note`` says it ran. May be repeated."""
        database = self.options["database"]
        if note["state"] == SWITCHED:
            self._unit("stop")
            aside = note.get("aside") or "%s.of-%s-%d" % (database, note["to"], time.time())
            self._write_down(dict(note, aside=aside))
            self._set_aside(database, aside)
            self.layout.use(note["from"])
            self._unit("start")
            self._manage("Restoring %s" % note["backup"], "restore", "--file", note["backup"],
                         timeout=_COPY_SECONDS)  # fmt: skip
            self._unit("stop")
        self._unit("start")
        self._manage("Maintenance mode", "maintenancemode", "off")
        self._write_down(None)

    def _set_aside(self, database, aside):
        """The database that the new version has opened makes room for an empty one."""
        if os.path.lexists(aside):
            # Moved before: what is there now is what a restore was killed in.
            shutil.rmtree(database, ignore_errors=True)
        else:
            os.rename(database, aside)
        os.mkdir(database, 0o700)
        entry = self.programs.entry
        os.chown(database, entry.pw_uid, entry.pw_gid)
