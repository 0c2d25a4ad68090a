# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""What a host is, and what it really has of each setting that can be tuned.

A file says what was asked for; what a process got may be less: the kernel and systemd clamp
without a word, and what was written after a start is not in force. So the running process is
asked wherever it can be. Reads only; what it means is judged on the controller. Runs on
Python 3.9 and later.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re

from ansible_collections.cloudlet.deploy.plugins.module_utils import (
    activation,
    hdfs_probe,
    host_facts,
    host_state,
    jvm,
    processes,
    sysctls,
    units,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import tail
from ansible_collections.cloudlet.deploy.plugins.module_utils.processes import ProcessError
from ansible_collections.cloudlet.deploy.plugins.module_utils.srm_probe import ProbeError

#: Seconds that one command or one page may take.
PATIENCE = 5
_ENDLESS = ("max", "unlimited", processes.INFINITY)
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def look(needs, run, state_dir=host_state.STATE_DIR, proc=processes.PROC, sys="/sys"):
    """The report of the module ``host_tuning``. Raises StateError."""
    problems = []
    settings = _Settings(needs, run, state_dir, proc, problems)
    return {
        "memory_mb": host_facts.memory_mb(proc, os.path.join(sys, "fs/cgroup"))[0],
        "cores": len(os.sched_getaffinity(0)),
        "kernel": os.uname().release,
        "container": sysctls.container(),
        "nic_mbps": nic_mbps(sys),
        "nofile_hard": _nofile_hard(proc, problems),
        "settings": settings.read(),
        # After the settings: a JVM that was asked for them knows its own version.
        "java_version": settings.java_version(),
        "problems": problems,
    }


# --- what the host is ---------------------------------------------------------------------


def nic_mbps(sys="/sys"):
    """Speed in Mbit/s of the fastest interface that is up; None if none tells it."""
    base, found = os.path.join(sys, "class/net"), []
    for name in os.listdir(base) if os.path.isdir(base) else ():
        # An interface without a speed, or without a carrier, has an error instead.
        with contextlib.suppress(ProcessError, ValueError):
            up = processes.text(os.path.join(base, name, "operstate")).strip() == "up"
            speed = int(processes.text(os.path.join(base, name, "speed"))) if up else -1
            found += [speed] if speed > 0 and name != "lo" else []
    return max(found, default=None)


def _nofile_hard(proc, problems):
    """The hard limit of open files of process 1, which it can hand on to units."""
    try:
        value = processes.limit(1, "Max open files", hard=True, proc=proc)
    except ProcessError as exc:
        problems.append(str(exc))
        return None
    return None if value == processes.INFINITY else int(value)


# --- settings -----------------------------------------------------------------------------


class _Unknown(Exception):
    """What a setting is in the running system cannot be told; the message says why."""


class _Powerless(Exception):
    """No value that the setting is given has an effect on this host: what is so, and why."""

    def __init__(self, effective, cause):
        super().__init__(cause)
        self.effective = effective


class _Settings:
    """All settings that the roles named, read as each of them says."""

    def __init__(self, needs, run, state_dir, proc, problems):
        self._needs = needs
        self._run = run
        self._proc = proc
        self._tree = os.path.join(proc, "sys")
        self._entries = {}
        for needed in needs.values():
            for entry in needed.get("tuned", ()):
                self._entries.setdefault(entry["variable"], entry)
        # What is damaged here must not be taken for "nothing is there".
        ledger = sysctls.checked(host_state.Ledger(state_dir))
        self._before = ledger.owned(sysctls.KIND, None)
        self._manifests = activation.manifests(state_dir)
        running = activation.running_units(activation.recorded_units(self._manifests.values()))
        self._pending = activation.pending_of(self._manifests, running)["restart"]
        self._units = self._shown(problems)
        self._jvms = {}

    def _shown(self, problems):
        names = sorted({e["unit"] for e in self._entries.values() if e.get("unit")})
        try:
            return units.Systemd(self._run).show(names)
        except units.UnitError as exc:
            problems.append(str(exc))
            return {}

    def read(self):
        """{variable: what it is on this host}."""
        return {variable: self._one(entry) for variable, entry in self._entries.items()}

    def java_version(self):
        """The major version of the JVMs that were asked, or else of the Java that was deployed."""
        versions = [told.version for told in self._jvms.values() if isinstance(told, jvm.Told)]
        for needed in self._needs.values():
            for entry in () if versions else needed.get("programs", ()):
                if entry["name"] == "java":
                    done = self._run(entry["argv"], timeout=PATIENCE)
                    versions.append(None if done.rc else jvm.major_of(done.out))
        return next((version for version in versions if version), None)

    def _one(self, entry):
        written = _written(entry)
        effective, settable, cause = None, True, ""
        try:
            said = getattr(self, "_" + entry["read"]["kind"])(entry, written)
            effective = _value(said, entry)
            if effective is None:
                cause = "%r is no value of %s" % (said, entry["variable"])
        except _Powerless as exc:
            effective, settable, cause = exc.effective, False, str(exc)
        except (_Unknown, ProcessError, ProbeError, OSError) as exc:
            cause = str(exc)
        told = {
            "configured": None if written is None else _value(written, entry),
            "effective": effective,
            "before": None,
            "in_use": self._in_use(entry),
            "settable": settable,
            "cause": cause,
        }
        if entry["read"]["kind"] == "sysctl":
            told.update(self._of_kernel(entry["read"]["name"], entry, cause))
        return told

    def _in_use(self, entry):
        """How much of it is in use at the moment; None where that is not to be told."""
        use = entry.get("use")
        if not use:
            return None
        try:
            if use["kind"] == "jmx":
                port = entry["read"]["port"]
                return hdfs_probe.number(port, use["bean"], use["attribute"], PATIENCE)
            named = [entry["unit"]] if entry.get("unit") else list(self._units)
            pids = [self._pids({"unit": name})[0] for name in named if self._units[name].active]
            return max(processes.used(pid, use["kind"], PATIENCE, self._proc) for pid in pids)
        except (_Unknown, ProcessError, ProbeError, OSError, LookupError, ValueError):
            return None  # a remark beside the verdict; what cannot be asked is told there

    # --- the kernel's -------------------------------------------------------------------

    def _sysctl(self, entry, _written):
        found = sysctls.read(entry["read"]["name"], self._tree)
        if found is None:
            raise _Unknown("there is no %s here" % entry["read"]["name"])
        return _last_word(found)

    def _of_kernel(self, name, entry, cause):
        """What there was before us, and whether it can be set."""
        before = self._before.get(name)
        told = {} if before is None else {"before": _value(_last_word(before), entry)}
        barred = sysctls.obstacle(name, self._tree)
        return dict(told, settable=not barred, cause=barred or cause)

    # --- a process's --------------------------------------------------------------------

    def _unit(self, entry):
        """The unit, which runs."""
        unit = self._units.get(entry["unit"])
        if unit is None:
            raise _Unknown("systemd does not tell the state of %s" % entry["unit"])
        if not unit.active:
            raise _Unknown("%s is not running" % entry["unit"])
        return unit

    def _pids(self, entry):
        unit = self._unit(entry)
        pids = processes.of_unit(int(unit["MainPID"] or 0), unit["ControlGroup"], self._proc)
        if not pids:
            raise _Unknown("%s has no process" % entry["unit"])
        return pids

    def _limit(self, entry, _written):
        return processes.limit(self._pids(entry)[0], entry["read"]["name"], proc=self._proc)

    def _tasks_max(self, entry, _written):
        found = processes.tasks_max(self._pids(entry)[0], self._proc)
        if found is None:
            # systemd takes the setting, shows it, and does nothing.
            raise _Powerless(
                processes.INFINITY,
                "the control groups of this host have no controller 'pids', "
                "so systemd limits the tasks of no unit",
            )
        return found

    def _environment(self, entry, _written):
        found = processes.environment(self._pids(entry)[0], PATIENCE, self._proc)
        name = entry["read"]["name"]
        if name not in found:
            raise _Unknown("%s runs without %s in its environment" % (entry["unit"], name))
        return found[name]

    def _jvm(self, entry, _written):
        told = self._jvm_of(entry)
        if isinstance(told, ProcessError):
            raise told
        flag, divide = entry["read"]["flag"], entry["read"].get("divide") or 1
        try:
            return int(told.flags[flag]) // divide
        except (KeyError, ValueError) as exc:
            raise _Unknown("the JVM does not tell its %s" % flag) from exc

    def _jvm_of(self, entry):
        """What the unit's JVM told, or why it did not; each is asked once."""
        if entry["unit"] not in self._jvms:
            try:
                self._jvms[entry["unit"]] = self._asked(entry)
            except ProcessError as exc:
                self._jvms[entry["unit"]] = exc
        return self._jvms[entry["unit"]]

    def _asked(self, entry):
        # A script may have started it, and wait for its end.
        for pid in self._pids(entry):
            told = jvm.look(pid, self._proc)
            if told is not None:
                return told
        return ProcessError("%s runs no HotSpot JVM" % entry["unit"])

    def _backlog(self, entry, _written):
        port = entry["read"]["port"]
        done = self._run(["ss", "-Hltn", "sport", "=", ":%d" % port], timeout=PATIENCE)
        if done.rc:
            raise _Unknown("ss does not tell who listens: %s" % tail(done))
        # State, Recv-Q, Send-Q: of a listening socket that is the backlog which it got.
        found = [int(line.split()[2]) for line in done.out.splitlines() if line.strip()]
        if not found:
            raise _Unknown("nobody listens on port %d" % port)
        return min(found)

    def _hadoop(self, entry, _written):
        self._unit(entry)
        return hdfs_probe.setting(entry["read"]["port"], entry["read"]["key"], PATIENCE)

    def _at_start(self, entry, written):
        """What the file says, where it is certain that the process started with that."""
        self._unit(entry)
        if entry["unit"] in self._pending:
            raise _Unknown("%s has not been restarted since" % entry["unit"])
        if written is None:
            raise _Unknown("%s does not say it" % entry["file"])
        ours = [one["files"].get(entry["file"]) for one in self._manifests.values()]
        digests = {one["sha256"] for one in ours if one}
        if not digests:
            raise _Unknown("%s was not written by us, so its age is not known" % entry["file"])
        with open(entry["file"], "rb") as stream:
            now = hashlib.sha256(stream.read()).hexdigest()
        if now not in digests:
            raise _Unknown("%s was edited by another hand" % entry["file"])
        return written


def _last_word(text):
    """Of a sysctl with three numbers (least, usual, most) the last; of others the only one."""
    return (text.split() or [""])[-1]


def _written(entry):
    """What the entry's file says, as text; None if there is no such file or word in it."""
    try:
        found = re.findall(entry["pattern"], processes.text(entry["file"]), re.MULTILINE)
    except ProcessError:
        return None
    # What is said twice holds as it was said last.
    return found[-1] if found else None


def _value(said, entry):
    """``said`` as a value of the entry's variable; None if it is none."""
    text = str(said).strip()
    if entry.get("values"):
        return entry["values"].get(text)
    if entry.get("as") == "str":
        return text
    if entry.get("as") == "bool":
        return True if text.lower() in _TRUE else False if text.lower() in _FALSE else None
    if text in _ENDLESS:
        return processes.INFINITY
    return int(text) if re.match(r"-?\d+$", text) else None
