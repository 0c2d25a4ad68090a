# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Which units still run with the configuration that was there before.

Nothing here is a flag that could be forgotten. When a set commits, its manifest records the
InvocationID that each unit to restart or reload has at that moment:
``"units": {"restart": {UNIT: ID}, "reload": {UNIT: ID}}``. A unit is pending while it runs
and still has that InvocationID, so whoever restarts it, the pending entry is void. A reload
keeps the InvocationID; ``mark_reloaded`` takes the entry away instead.

Runs on the Python of the hosts (3.9 and later).
"""

from __future__ import annotations

import os
import shutil
import subprocess

from ansible_collections.cloudlet.deploy.plugins.module_utils import host_state, user_manager

#: There while systemd is the running init (sd_booted(3)).
SYSTEMD_RUNNING = "/run/systemd/system"
KINDS = ("restart", "reload")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_NOT_RUNNING = ("inactive", "failed", "")


def sets_dir(state_dir=host_state.STATE_DIR):
    """Directory with one directory per config set."""
    return os.path.join(state_dir, "sets")


def manifests(state_dir=host_state.STATE_DIR):
    """The manifest of every set on the host, by name. Raises StateError for a damaged one."""
    base = sets_dir(state_dir)
    found = {}
    try:
        names = sorted(os.listdir(base))
    except FileNotFoundError:
        return found
    for name in names:
        document = host_state.read_json(os.path.join(base, name, "manifest.json"))
        if document is not None:
            found[name] = document
    return found


def running_units(units):
    """InvocationID by unit, of those of ``units`` that run now (one systemctl call a manager).

    Units that are not active, or not known, are left out; so are all where systemd is not
    running, or the manager of the account that they belong to. Raises StateError when systemd
    runs and does not answer.
    """
    running = {}
    for account, called in _by_account(sorted(set(units))).items():
        running.update(_running_of(account, called))
    return running


def _by_account(units):
    try:
        return user_manager.by_account(units)
    except user_manager.ManagerError as exc:
        raise host_state.StateError(str(exc)) from exc


def _running_of(account, called):
    """``running_units`` of one manager; ``called``: {name: what it calls it}."""
    begin = _systemctl(account)
    if begin is None:
        return {}
    argv = [*begin, "show", "--property=ActiveState,InvocationID", "--", *called.values()]
    out, failure = _output(argv, 60)
    blocks = [_properties(block) for block in out.strip().split("\n\n")]
    if failure or len(blocks) != len(called):
        if not os.path.isdir(SYSTEMD_RUNNING) or user_manager.is_deaf(account, failure):
            return {}
        raise host_state.StateError(
            "systemd does not tell the state of %s: %s. Check 'systemctl status' on the host."
            % (", ".join(called), failure or "its answer has %d units" % len(blocks))
        )
    return {
        unit: blocks[i]["InvocationID"]
        for i, unit in enumerate(called)
        if blocks[i].get("ActiveState", "") not in _NOT_RUNNING and blocks[i].get("InvocationID")
    }


def reload_systemd(units=()):
    """Make systemd read its unit files again, where it runs. Raises StateError.

    Of accounts it is the managers that ``units`` (names) belong to.
    """
    if not os.path.isdir(SYSTEMD_RUNNING):
        return
    for account in {user_manager.SYSTEM, *_by_account(units)}:
        begin = _systemctl(account)
        if begin is None:
            continue
        _, failure = _output([*begin, "daemon-reload"], 90)
        if failure and not user_manager.is_deaf(account, failure):
            raise host_state.StateError(
                "'systemctl daemon-reload' failed%s: %s. Correct this and run again."
                % (" for the account " + account if account else "", failure)
            )


def _systemctl(account):
    """The beginning of a command for the manager of ``account``; None where there is none."""
    program = shutil.which("systemctl", path=os.environ.get("PATH", "") + ":" + _PATH)
    return program and user_manager.command(account, program)


def _output(argv, timeout):
    """(what it said, why it failed or "")."""
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
            env=dict(os.environ, LC_ALL="C"),
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        return "", str(exc)
    why = done.stderr.strip() or "exit code %d" % done.returncode
    return done.stdout, why if done.returncode else ""


def _properties(block):
    return dict(line.split("=", 1) for line in block.splitlines() if "=" in line)


def recorded_units(documents):
    """All units that ``documents`` (manifests) have an entry for."""
    return {unit for document in documents for kind in KINDS for unit in _entries(document, kind)}


def _entries(document, kind):
    return document.get("units", {}).get(kind, {})


def still_pending(document, running):
    """Entries of one manifest that still hold, given ``running_units``: {kind: {unit: ID}}."""
    return {
        kind: {
            unit: invocation
            for unit, invocation in _entries(document, kind).items()
            if running.get(unit) == invocation
        }
        for kind in KINDS
    }


def current(document):
    """``document`` with those of its entries only that still hold; runs systemctl."""
    running = running_units(recorded_units([document]))
    return dict(document, units=still_pending(document, running))


def pending_units(state_dir=host_state.STATE_DIR):
    """What must restart or reload on this host, over the manifests of all sets.

    Returns ``{"restart": {unit: [sets]}, "reload": {unit: [sets]}}``; a unit that must
    restart is not under ``reload`` too. Read-only. Raises StateError.
    """
    documents = manifests(state_dir)
    return pending_of(documents, running_units(recorded_units(documents.values())))


def pending_of(documents, running):
    """``pending_units`` for manifests by name and ``running_units`` that were read before."""
    pending = {kind: {} for kind in KINDS}
    for name, document in sorted(documents.items()):
        for kind, units in still_pending(document, running).items():
            for unit in units:
                pending[kind].setdefault(unit, []).append(name)
    for unit in pending["restart"]:
        pending["reload"].pop(unit, None)
    return pending


def mark_reloaded(state_dir, unit):
    """Forget that ``unit`` must reload, in every set; call it after a reload that worked.

    Use it inside ``host_state.locked()``: it rewrites manifests. Raises StateError.
    """
    for name, document in manifests(state_dir).items():
        if unit in _entries(document, "reload"):
            del document["units"]["reload"][unit]
            path = os.path.join(sets_dir(state_dir), name, "manifest.json")
            host_state.write_json(path, document)
