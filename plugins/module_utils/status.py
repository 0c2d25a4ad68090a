# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""What a host is now, against what was made of it: files, units, services, certificates, packages.

Reads only, and never tells the content of a file. What it means is judged on the controller.
Runs on Python 3.9 and later.
"""

from __future__ import annotations

import os
import re
import stat
import time
from concurrent.futures import ThreadPoolExecutor

from ansible_collections.cloudlet.deploy.plugins.module_utils import (
    activation,
    config_files,
    config_store,
    der,
    hdfs_probe,
    host_state,
    lag,
    lease,
    package_sources,
    srm_probe,
    units,
    user_manager,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.preflight import entries

#: Seconds that one service may take to answer.
PATIENCE = 15
#: Questions that are asked side by side: most wait, and when a cluster is cut off all do.
_AT_ONCE = 8
_CA_FILE = re.compile(r"[0-9a-f]{8}\.(r?)\d+$")
_KINDS = {
    "symlink": "a symbolic link",
    "directory": "a directory",
    "file": "a file",
    "other": "a device, socket or pipe",
}


def look(needs, run, state_dir=host_state.STATE_DIR):
    """The report of the module ``host_status``."""
    sets, documents, problems = _sets(state_dir)
    # Before there are threads: its processes would hold their pipes open.
    watches = _watches(needs)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        health = pool.map(lambda one: _health(*one), entries(needs, "health"))
        programs = pool.map(lambda one: _program(*one, run), entries(needs, "programs"))
        probes = pool.map(lambda one: _probe(*one, run), entries(needs, "probes"))
    return {
        "applied": bool(sets),
        "sets": sets,
        "problems": problems,
        "lease": _lease(state_dir),
        "drift": [entry for name in documents for entry in _drift(name, documents[name])],
        "pending": _pending(documents, problems),
        "units": _units(needs, run, problems),
        "health": list(health),
        "certificates": _certificates(needs),
        "packages": _packages(needs, run),
        "programs": dict(programs),
        "probes": [told for told in probes if told],
        "watches": watches,
        "time": time.time(),
    }


def _lease(state_dir):
    """The run that holds the host now, or None."""
    held = lease.other(state_dir, None)
    return held and {"run": held["run"], "holder": lease.describe(held)}


# --- sets ---------------------------------------------------------------------------------


def _sets(state_dir):
    """(what each set is, readable manifests, what is wrong with the others)."""
    sets, documents, problems = [], {}, []
    try:
        names = sorted(os.listdir(activation.sets_dir(state_dir)))
    except FileNotFoundError:
        names = []
    for name in names:
        store = config_store.SetStore(state_dir, name)
        try:
            manifest = store.manifest()
            unfinished = store.journal() is not None
        except host_state.StateError as exc:
            problems.append(str(exc))
            continue
        if manifest is not None:
            documents[name] = manifest
        # An empty manifest only remembers which units must restart without what was removed.
        held = manifest is not None and (manifest["files"] or manifest["directories"])
        if held or unfinished:
            manifest = manifest or {}
            written = host_state.read_json(store.manifest_path) or {}
            sets.append(
                {
                    "set": name,
                    "generation": manifest.get("generation", 0),
                    "run": manifest.get("run"),
                    "release": written.get("release"),
                    "files": len(manifest.get("files", ())),
                    "unfinished": unfinished,
                }
            )
    return sets, documents, problems


def _drift(name, manifest):
    for key, kind in (("directories", "directory"), ("files", "file")):
        for path, recorded in sorted(manifest[key].items()):
            mounted = recorded.get("mount_point") and config_files.is_mounted(path)
            if recorded.get("left") or mounted:
                continue
            try:
                told = _difference(config_files.observe(path), dict(recorded, kind=kind))
            except config_files.ConfigError as exc:
                told = ("unreadable", str(exc))
            if told:
                yield {
                    "component": name,
                    "path": path,
                    "kind": told[0],
                    "detail": told[1],
                    "secret": bool(recorded.get("secret")),
                    "restarts": sorted(recorded.get("restart", ())),
                }


def _difference(now, recorded):
    """(kind of drift, words), or None."""
    if now["kind"] == "absent":
        return "missing", ""
    if now["kind"] != recorded["kind"]:
        return "replaced", "is %s now" % _KINDS[now["kind"]]
    attributes = "; ".join(_attributes(now, recorded))
    if now.get("sha256") != recorded.get("sha256"):
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now["mtime_ns"] // 10**9))
        told = "content, last written %s" % since
        return "changed", "%s; %s" % (told, attributes) if attributes else told
    return ("attributes", attributes) if attributes else None


def _attributes(now, recorded):
    if now["mode"] != recorded["mode"]:
        yield "mode %04o, not %04o" % (now["mode"], stat.S_IMODE(recorded["mode"]))
    for title, key, group in (("owner", "uid", False), ("group", "gid", True)):
        if now[key] != recorded[key]:
            yield "%s %s, not %s" % (
                title,
                config_files.account_name(now[key], group),
                config_files.account_name(recorded[key], group),
            )


# --- units and services -------------------------------------------------------------------


def _pending(documents, problems):
    try:
        running = activation.running_units(activation.recorded_units(documents.values()))
    except host_state.StateError as exc:
        problems.append(str(exc))
        return {}
    return activation.pending_of(documents, running)


def _units(needs, run, problems):
    wanted = {unit: name for name, needed in needs.items() for unit in needed.get("units", ())}
    try:
        found = units.Systemd(run).show(list(wanted))
    except units.UnitError as exc:
        problems.append(str(exc))
        return []
    return [
        {
            "unit": name,
            "component": wanted[name],
            "exists": unit.exists,
            "active": unit.active,
            "enabled": unit["UnitFileState"] if unit.enabled is None else unit.enabled,
            "state": "%s (%s)" % (unit["ActiveState"] or "unknown", unit["SubState"] or "-"),
            "journal": "journalctl " + " ".join(user_manager.journal(name)),
        }
        for name, unit in found.items()
    ]


def _health(component, entry):
    """One real request; the same that the roles make after an apply."""
    target = srm_probe.Target(
        entry["host"],
        int(entry["port"]),
        entry.get("address") or entry["host"],
        entry.get("certificate", ""),
        entry.get("key", ""),
        entry.get("ca_dir", ""),
    )
    told = {"component": component, "kind": entry["kind"]}
    told.update(host=target.host, port=target.port)
    begun = time.monotonic()
    try:
        if entry["kind"] == "srm":
            answer = srm_probe.ask_srm(target, entry["path"], PATIENCE)
        elif entry["kind"] == "hdfs_namenode":
            answer = hdfs_probe.ask_namenode(target.host, target.port, PATIENCE)
        elif entry["kind"] == "hdfs_datanode":
            answer = hdfs_probe.ask_datanode(target.host, target.port, PATIENCE, entry["node"])
        else:
            answer = srm_probe.ask_gridftp(target, PATIENCE)
    except srm_probe.ProbeError as exc:
        return dict(told, healthy=False, explanation=exc.seen, next_step=exc.next_step)
    spent = time.monotonic() - begun
    told.update(healthy=True, explanation="", version=answer.version, seconds=round(spent, 3))
    # Of a data node: whether it serves, is being emptied, or may go.
    return dict(told, state=answer.explanation) if entry["kind"] == "hdfs_datanode" else told


# --- certificates and packages ------------------------------------------------------------


def _certificates(needs):
    found = {}
    for component, needed in needs.items():
        for entry in needed.get("certificates", ()):
            found[entry["path"]] = _validity(entry["path"], "certificate", component)
        for directory in needed.get("authorities", ()):
            seen = set()
            for path in _authority_files(directory):
                kind = "crl" if ".r" in os.path.basename(path) else "ca"
                told = _validity(path, kind, component)
                # The same CA stands there under two hashes.
                same = (kind, told.get("name"), told.get("end"), told.get("error"))
                if told.get("error") or same not in seen:
                    found[path] = told
                seen.add(same)
    return list(found.values())


def _authority_files(directory):
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return []
    return [os.path.join(directory, name) for name in names if _CA_FILE.match(name)]


def _validity(path, kind, component):
    told = {"path": path, "kind": kind, "component": component}
    try:
        read = der.revocation_list if kind == "crl" else der.certificate
        validity = read(der.head_of(path))
    except FileNotFoundError:
        return dict(told, error="missing")
    except (OSError, ValueError) as exc:
        return dict(told, error="cannot be read: %s" % exc)
    return dict(told, name=validity.name, begin=validity.begin, end=validity.end)


def _packages(needs, run):
    names = sorted({name for needed in needs.values() for name in needed.get("packages", ())})
    found = package_sources.sources(run).versions(names) if names else {}
    return {name: found.get(name, "") for name in names}


def _program(_component, entry, run):
    """(name, what it says of its version); nothing for one that does not work."""
    done = run(entry["argv"], timeout=PATIENCE)
    said = (done.out or done.err).strip().splitlines()
    return entry["name"], said[0] if said and done.rc == 0 else ""


def _probe(component, entry, run):
    """What is not as it was made, although its files and units are; or None."""
    if run(entry["argv"], timeout=PATIENCE).rc == 0:
        return None
    return {"component": component, "what": entry["what"], "next_step": entry["next_step"]}


def _watches(needs):
    """How far the processing of movies is behind, by watched directory."""
    wanted = entries(needs, "watches")
    return lag.look([dict(entry, component=component) for component, entry in wanted])
