# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Installs a version of CryoSPARC beside the others, and removes them. Python 3.9 and later."""

from __future__ import annotations

import hashlib
import os
import shutil

from ansible_collections.cloudlet.deploy.plugins.module_utils import (
    cryosparc_host,
    cryosparc_layout,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import change, tail
from ansible_collections.cloudlet.deploy.plugins.module_utils.cryosparc_layout import (
    KIND,
    LICENSE,
    OWNER,
    PARTS,
    Layout,
    forget,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.cryosparc_program import Programs
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import Ledger, locked
from ansible_collections.cloudlet.deploy.plugins.module_utils.idmaps import Refused

_BLOCK = 1 << 20


class Installation:
    """One version on this host; ``given`` has the module's options."""

    def __init__(self, given, programs=Programs):
        self.given = given
        self.programs = programs
        self.version = given["version"]
        self.layout = Layout(given["directory"])
        self.home = self.layout.home(self.version)
        self.state_dir = given["state_dir"]

    def refuse(self):
        """Raise Refused for what CryoSPARC, or its database, would not bear here."""
        given = self.given
        cryosparc_host.check_words(given["license"], self.version)
        for part in self.parts():
            cryosparc_host.check_path(self.layout.part(self.version, part))
        cryosparc_host.check_database(given["database"])
        cryosparc_host.check_hostname(given["hostname"])
        cryosparc_host.check_ports(given["port"])
        current = self.layout.current()
        if current and cryosparc_host.number(current) > cryosparc_host.number(self.version):
            raise Refused(
                "cryosparc_version is %s, and %s has opened the database" % (self.version, current),
                "An older version cannot open it. To go back, restore a backup that the older "
                "version made into an empty database (docs/how-to/cryosparc.md).",
            )
        found = cryosparc_layout.settings(self.layout.config(current, "master")) if current else {}
        database = found.get("CRYOSPARC_DB_PATH", given["database"])
        if database != given["database"]:
            raise Refused(
                "cryosparc_database_directory is %s, and the database is in %s"
                % (given["database"], database),
                "Set it back. To move the database, back it up, destroy, and restore it at the "
                "new place (docs/how-to/cryosparc.md).",
            )
        if os.path.lexists(self.home) and self.note() is None:
            raise Refused(
                "%s is there and was not installed by cloudlet-deploy" % self.home,
                "Move it away, or set another cryosparc_directory.",
            )

    def parts(self):
        """The parts that the version is to have."""
        return PARTS if self.given["worker"] else PARTS[:1]

    def note(self):
        """What the ledger has of the version; None if nothing."""
        return Ledger(self.state_dir).notes(KIND).get(self.home)

    def missing(self):
        """Parts that are not installed as they are to be."""
        known = (self.note() or {"parts": {}})["parts"]
        return [
            part
            for part in self.parts()
            if known.get(part) != self._wanted(part)
            or not os.path.exists(self.layout.config(self.version, part))
        ]

    def _wanted(self, part):
        gpu = part == "worker" and self.given["gpu"]
        return {"checksum": self.given[part + "_checksum"], "gpu": gpu}

    def values(self, part):
        """What its config.sh must say."""
        common = {LICENSE: self.given["license"]}
        if part == "worker":
            return common
        name = self.given["hostname"]
        port = str(self.given["port"])
        return dict(common, CRYOSPARC_MASTER_HOSTNAME=name, CRYOSPARC_BASE_PORT=port)

    def present(self, check):
        """Install and configure; the module's result."""
        missing = self.missing()
        other = [
            part
            for part in self.parts()
            if part not in missing and self._differs(self.layout.config(self.version, part), part)
        ]
        made = missing and not os.path.isdir(self.layout.directory)
        changes = [change("directory", self.layout.directory, "create")] if made else []
        changes += [
            change(KIND, self.layout.part(self.version, part), "install", self.version)
            for part in missing
        ]
        changes += [change("file", self.layout.config(self.version, p), "change") for p in other]
        # Without archives it was only asked which ones are missing.
        if not check and (self.given["sources"] or not missing):
            for part in missing:
                self._install(part)
            for part in other:
                owner = self.programs(self.given["account"]).entry
                path = self.layout.config(self.version, part)
                cryosparc_layout.edit(path, self.values(part), owner)
        return {
            "changed": bool(changes),
            "changes": changes,
            "missing": missing,
            "configured": "master" in other,
        }

    def _differs(self, path, part):
        found = cryosparc_layout.settings(path)
        return any(found.get(name) != value for name, value in self.values(part).items())

    def check_archive(self, part):
        """Raise Refused unless the archive on this host is the one that was named."""
        path, wanted = self.given["sources"][part], self.given[part + "_checksum"]
        digest = hashlib.sha256()
        try:
            with open(path, "rb") as stream:
                for block in iter(lambda: stream.read(_BLOCK), b""):
                    digest.update(block)
        except OSError as exc:
            raise Refused(
                "cryosparc_%s_archive: %s cannot be read: %s" % (part, path, exc.strerror),
                "Put the vendor's archive there.",
            ) from exc
        found = "sha256:" + digest.hexdigest()
        if found != wanted:
            raise Refused(
                "cryosparc_%s_archive: %s has the checksum %s, not %s as the inventory says"
                % (part, path, found, wanted),
                "It is damaged, cut short, or of another version: fetch it again. Nothing was "
                "unpacked.",
            )

    def _install(self, part):
        self.check_archive(part)
        programs, place = self.programs(self.given["account"]), self.layout.part(self.version, part)
        fresh = self.note() is None
        self._write_down(part, None)
        try:
            if os.path.isdir(place):
                shutil.rmtree(place)
            os.makedirs(self.home, exist_ok=True)
            os.mkdir(place, 0o755)
            os.chown(place, programs.entry.pw_uid, programs.entry.pw_gid)
            self._run_installer(programs, part, place)
            path = self.layout.config(self.version, part)
            os.chmod(path, 0o600)
        except (Refused, OSError):
            self._give_up(place, fresh)
            raise
        self._write_down(part, self._wanted(part))

    def _run_installer(self, programs, part, place):
        unpacked = programs.unpack(self.given["sources"][part], place)
        if unpacked.rc != 0:
            raise Refused(
                "the archive of the %s cannot be unpacked: %s" % (part, tail(unpacked)),
                "Fetch it again; nothing is left of it.",
            )
        with open(os.path.join(place, "version"), encoding="utf-8") as stream:
            version = stream.read().strip()
        if version.lstrip("v") != self.version.lstrip("v"):
            raise Refused(
                "the archive of the %s holds %s, and cryosparc_version is %s"
                % (part, version, self.version),
                "Name the archive of that version, or set the other version.",
            )
        words = ["--yes"]
        if part == "master":
            words += ["--hostname", self.given["hostname"], "--port", str(self.given["port"])]
            words += ["--dbpath", self.given["database"]]
        elif not self.given["gpu"]:
            words.append("--nogpu")
        programs.checked(
            "CryoSPARC's installer of the %s" % part,
            os.path.join(place, "install.sh"),
            *words,
            secrets=("--license", self.given["license"]),
            directory=place,
            timeout=self.given["timeout"],
        )

    def _write_down(self, part, what):
        with locked(self.state_dir):
            ledger = Ledger(self.state_dir)
            owned, top = ledger.owned(KIND, None), self.layout.directory
            # Whether the directory of all versions is ours too.
            made = not os.path.isdir(top) or is_ours(top, owned)
            ledger.record(KIND, self.home, {"made": made}, OWNER)
            parts = dict((ledger.notes(KIND).get(self.home) or {"parts": {}})["parts"])
            parts[part] = what
            ledger.note(KIND, self.home, {"parts": parts})
            ledger.save()

    def _give_up(self, place, fresh):
        """Leave nothing of a part that could not be installed."""
        shutil.rmtree(place, ignore_errors=True)
        if fresh:
            owned = Ledger(self.state_dir).owned(KIND, None)
            emptied = is_left(self.layout.directory, {self.home: owned[self.home]})
            forget(self.state_dir, self.home)
            if emptied:
                os.rmdir(self.layout.directory)


def is_ours(top, owned):
    """Whether we made the directory ``top``; ``owned`` has the ledger's versions."""
    return any(value["made"] for home, value in owned.items() if os.path.dirname(home) == top)


def is_left(top, owned):
    """Whether nothing is in it, and it was made by us, once the versions ``owned`` are gone."""
    ours = {os.path.basename(home) for home in owned} | {"cryosparc_" + part for part in PARTS}
    return is_ours(top, owned) and os.path.isdir(top) and set(os.listdir(top)) <= ours


def absent(state_dir, check):
    """Remove every version that was installed, and the links; the module's result."""
    owned = Ledger(state_dir).owned(KIND, None)
    homes = sorted(owned)
    changes = [change(KIND, home, "remove") for home in homes if os.path.isdir(home)]
    emptied = [top for top in map(os.path.dirname, homes) if is_left(top, owned)]
    changes += [change("directory", top, "remove") for top in sorted(set(emptied))]
    if not check:
        for home in homes:
            layout = Layout(os.path.dirname(home))
            for link in map(layout.link, PARTS):
                target = os.readlink(link) if os.path.islink(link) else ""
                if target.partition("/")[0] == os.path.basename(home):
                    os.unlink(link)
            forget(state_dir, home)
        for top in set(emptied):
            os.rmdir(top)
        with locked(state_dir):
            ledger = Ledger(state_dir)
            for name in ledger.owned(cryosparc_layout.UPGRADE, None):
                ledger.release(cryosparc_layout.UPGRADE, name, None)
            for name in ledger.owned(cryosparc_layout.MEMBERS, None):
                ledger.release(cryosparc_layout.MEMBERS, name, None)
            ledger.save()
    return {"changed": bool(changes), "changes": changes}
