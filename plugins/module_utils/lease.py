# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""The lease: which run may change this host now.

``lease.json`` in the state directory names its holder: ``run``, ``command``, ``user``,
``controller``, ``since``, and what the controller needs to judge whether the holder's process
is still alive. The host itself cannot judge that. Runs on the Python of the hosts (3.9 and
later).
"""

from __future__ import annotations

import contextlib
import os

from ansible_collections.cloudlet.deploy.plugins.module_utils import config_files, host_state

NAME = "lease.json"

#: Seconds that giving back waits for a module that is at work on the host.
_PATIENCE = 5.0


class LeaseError(host_state.StateError):
    """Another run holds the host, or the own lease is gone. ``told`` is for the result."""

    def __init__(self, message, next_step, lease=None):
        super().__init__(message)
        name = lease["run"] if lease else ""
        self.told = {
            "next_step": next_step,
            "lease": lease,
            "changes": [{"kind": "lease", "name": name, "action": "refuse", "detail": message}],
        }


def path_of(state_dir):
    """Where the lease of a host is."""
    return os.path.join(state_dir, NAME)


def read(state_dir):
    """The lease on this host, or None. Raises StateError if it is damaged or too new."""
    document = host_state.read_json(path_of(state_dir))
    if document is not None and not isinstance(document.get("run"), str):
        raise host_state.StateError(
            "%s names no run: it was damaged or edited" % path_of(state_dir)
        )
    return document


def describe(lease):
    """The holder in words: ``run R (apply) of alice on ctl since T``."""
    told = {key: lease.get(key) or "?" for key in ("run", "command", "user", "controller", "since")}
    return "run %(run)s (%(command)s) of %(user)s on %(controller)s, since %(since)s" % told


def take(state_dir, lease, instead_of=None, force=False):
    """Make ``lease`` the host's, unless another run holds it. Returns (taken, the one before).

    The lease of the run ``instead_of`` is replaced, with ``force`` that of any run, damaged
    ones too. Raises StateError or ConfigError; the lease is then as it was.
    """
    before = _before(state_dir, force)
    # Looked at without the lock first: its owner may hold that for long.
    if not _free(before, lease, instead_of, force):
        return False, before
    with host_state.locked(state_dir):
        before = _before(state_dir, force)
        if not _free(before, lease, instead_of, force):
            return False, before
        with config_files.disk_errors(path_of(state_dir)):
            host_state.write_json(path_of(state_dir), lease)
    return True, before if before and before["run"] != lease["run"] else None


def _before(state_dir, force):
    try:
        return read(state_dir)
    except host_state.StateError:
        if not force:
            raise
        return None


def _free(before, lease, instead_of, force):
    return force or before is None or before["run"] in (lease["run"], instead_of)


def give_back(state_dir, run):
    """Remove the lease of ``run``; returns whether it was there.

    A state directory that holds nothing else is removed with it: a host on which nothing was
    changed is as it was.
    """
    lease = read(state_dir)
    if lease is None or lease["run"] != run:
        return False
    with host_state.locked(state_dir, _PATIENCE):
        lease = read(state_dir)
        held = lease is not None and lease["run"] == run
        if held:
            os.unlink(path_of(state_dir))
            if set(os.listdir(state_dir)) == {host_state.LOCK}:
                # Who waits for this lock sees that it is gone, and makes it anew.
                os.unlink(os.path.join(state_dir, host_state.LOCK))
                with contextlib.suppress(OSError):
                    os.rmdir(state_dir)
            else:
                host_state.fsync_dir(state_dir)
    return held


def check(state_dir, request):
    """Refuse ``request`` unless its run may change this host. Call it inside ``locked()``.

    ``request`` may have ``run``, ``leased`` (the run works under a lease, so it must still
    have it) and ``disregard`` (a run whose process is known to be dead). Raises LeaseError.
    """
    lease = read(state_dir)
    run = request.get("run")
    if lease is None:
        if request.get("leased"):
            raise LeaseError(
                "run %s holds this host no longer: another run broke its lease" % run,
                "Look at what that run did, then plan again.",
            )
    elif lease["run"] not in (run, request.get("disregard")):
        broke = ", which broke the lease of this run" if request.get("leased") else ""
        raise LeaseError(
            "this host is held by %s%s" % (describe(lease), broke),
            "Wait until that run has ended; if it hangs, "
            "'cloudlet-deploy apply --break-lock' takes the host over.",
            lease,
        )


def other(state_dir, run):
    """The lease of a run other than ``run``, or None; for looking only, so never an error."""
    try:
        lease = read(state_dir)
    except host_state.StateError:
        return None
    return lease if lease and lease["run"] != run else None
