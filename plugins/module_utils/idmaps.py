# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Id maps of rootless Podman: which id of the host is which id in a pod.

There are two user namespaces, one in the other. That of Podman has the service account as 0 and
then, from 1 on, the ranges of ``/etc/subuid`` by their first host id: these are the
*intermediate* ids. That of a pod has its system ids from the base range and each approved id as
itself. Rules for user ids hold for group ids alike.

The role ``podman_host`` installs this file on hosts as the program ``pod-id-map``, so it imports
nothing of ours. Python 3.9 and later.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import NamedTuple

#: A pod's own ids, which come from the base range: its system accounts, and nobody.
SYSTEM_IDS, NOBODY = 1000, 65534
#: What a base range must have at least.
LEAST_BASE = SYSTEM_IDS + 1
#: The version of Podman from which a map may name ids of the host.
HOST_IDS_SINCE = (4, 7)
IDS = "/etc/cloudlet-deploy/podman_host/ids.json"
FILES = {"uid": "/etc/subuid", "gid": "/etc/subgid"}
_MIGRATE = (
    "Apply again, or run 'podman system migrate' as the account; it stops the account's containers."
)


class Refused(Exception):
    """Ids cannot be as wanted; ``next_step`` says what the user is to do."""

    def __init__(self, message, next_step):
        super().__init__(message)
        self.next_step = next_step


class Extent(NamedTuple):
    """A line of an id map: ``count`` ids from ``inside`` on are those from ``outside`` on."""

    inside: int
    outside: int
    count: int


def merged(ranges):
    """``ranges`` of (start, count) sorted, with those that touch or overlap made one."""
    found = []
    for start, count in sorted(ranges):
        if found and start <= found[-1][0] + found[-1][1]:
            first, length = found[-1]
            found[-1] = (first, max(length, start + count - first))
        else:
            found.append((start, count))
    return found


def parsed(text):
    """The lines of a ``uid_map`` file, in their order."""
    return [Extent(*(int(word) for word in line.split())) for line in text.splitlines()]


def written(extents):
    """A map as ``newuidmap`` hands it to the kernel."""
    return "".join("%d %d %d\n" % extent for extent in extents)


def podman_map(own_id, ranges):
    """The map of Podman's namespace, for an account's own id and its ``ranges``."""
    extents, inside = [Extent(0, own_id, 1)], 1
    for start, count in sorted(ranges):
        extents.append(Extent(inside, start, count))
        inside += count
    return extents


def intermediate(start, count, namespace):
    """What ``count`` host ids from ``start`` on are in a namespace, as (id, count) pairs.

    Raises Refused where the namespace lacks one of them.
    """
    pieces, at = [], start
    while at < start + count:
        extent = next((e for e in namespace if e.outside <= at < e.outside + e.count), None)
        if extent is None:
            raise Refused("Podman's namespace has no id %d" % at, _MIGRATE)
        length = min(start + count, extent.outside + extent.count) - at
        pieces.append((extent.inside + at - extent.outside, length))
        at += length
    return pieces


def host_map(base, ids):
    """A pod's map onto ids of the host: ``base`` is the first of the base range.

    ``ids`` are approved ranges of (start, count). Raises Refused for ids that are the pod's own.
    """
    extents = [Extent(0, base, SYSTEM_IDS), Extent(NOBODY, base + SYSTEM_IDS, 1)]
    for start, count in merged(ids):
        end = start + count
        if start < SYSTEM_IDS or start <= NOBODY < end:
            raise Refused(
                "The ids %d to %d are to be the same in a pod, which has 0 to %d and %d for itself"
                % (start, end - 1, SYSTEM_IDS - 1, NOBODY),
                "Take them out of what is approved.",
            )
        if start < base + LEAST_BASE and base < end:
            raise Refused(
                "The ids %d to %d are approved and lie in the base range" % (start, end - 1),
                "Choose another base range.",
            )
        extents.append(Extent(start, start, count))
    return sorted(extents)


def pod_map(base, ids, namespace):
    """A pod's map onto intermediate ids of ``namespace``; lines that continue each other are one.

    Raises Refused, also if the service account itself would be in the pod.
    """
    extents = []
    for wanted in host_map(base, ids):
        inside = wanted.inside
        for outside, count in intermediate(wanted.outside, wanted.count, namespace):
            if outside == 0:
                raise Refused(
                    "The service account itself would be the id %d of a pod" % inside,
                    "Take its id out of what is approved.",
                )
            last = extents[-1] if extents else Extent(0, 0, 0)
            if (last.inside + last.count, last.outside + last.count) == (inside, outside):
                extents[-1] = last._replace(count=last.count + count)
            else:
                extents.append(Extent(inside, outside, count))
            inside += count
    return extents


def old_arguments(extents):
    """Values of ``--uidmap`` that every Podman understands, with intermediate ids."""
    return ["%d:%d:%d" % extent for extent in extents]


def host_arguments(base, ids):
    """Values of ``--uidmap`` that name ids of the host, for Podman 4.7 and later."""
    return [
        "%s%d:@%d:%d" % ("+" if extent.inside == extent.outside else "", *extent)
        for extent in host_map(base, ids)
    ]


# ---- the program ------------------------------------------------------------------------------


def _said_by(argv):
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as exc:
        raise Refused("%s does not start: %s" % (argv[0], exc.strerror), "Install it.") from exc
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip()
        raise Refused("'%s' failed: %s" % (" ".join(argv), said), "Mend what it says.")
    return done.stdout.decode("utf-8", "replace")


def live_maps():
    """{"uid": extents, "gid": extents} of the namespace that the caller's Podman works in."""
    paths = {"uid": "/proc/self/uid_map", "gid": "/proc/self/gid_map"}
    said = _said_by(["podman", "unshare", "grep", ".", *paths.values()])
    lines = [line.partition(":") for line in said.splitlines()]
    return {
        kind: parsed("\n".join(text for where, _, text in lines if where == path))
        for kind, path in paths.items()
    }


def _knows_host_ids():
    version = _said_by(["podman", "--version"]).split()[-1]
    return tuple(int(part) for part in version.split(".")[:2]) >= HOST_IDS_SINCE


def arguments(document, host_ids, namespaces):
    """The options of ``podman run`` or ``podman pod create`` for the ids in ``document``."""
    options = []
    for kind in ("uid", "gid"):
        base, ids = document["base"][kind][0], document[kind + "s"]
        # Also where Podman computes by itself: its own error names no cause.
        extents = pod_map(base, ids, namespaces[kind])
        values = host_arguments(base, ids) if host_ids else old_arguments(extents)
        options += ["--%smap=%s" % (kind, value) for value in values]
    return options


def undelegated(document, files):
    """What ``document`` has and the files of subordinate ids do not delegate, in words."""
    told = []
    for kind, path in sorted(files.items()):
        with open(path, encoding="utf-8", errors="replace") as stream:
            fields = [line.rstrip("\n").split(":") for line in stream]
        given = merged(
            (int(one[1]), int(one[2]))
            for one in fields
            if len(one) == 3 and one[0] == document["account"] and one[1].isdigit()
        )
        for start, count in [document["base"][kind], *document[kind + "s"]]:
            if not any(first <= start and start + count <= first + n for first, n in given):
                told.append("%s: %s:%d:%d" % (path, document["account"], start, count))
    return told


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="pod-id-map",
        description="Print the id map of a pod as options of podman, one a line. Run it as the"
        " service account, at every start of a pod: the map depends on all that is delegated.",
    )
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--old-syntax", action="store_true", help="intermediate ids, any Podman")
    way.add_argument("--host-ids", action="store_true", help="ids of the host, Podman 4.7 or later")
    way.add_argument("--verify", action="store_true", help="only see whether all is delegated")
    parser.add_argument("--ids", default=IDS, metavar="FILE", help="what is approved")
    asked = parser.parse_args(argv)
    try:
        with open(asked.ids, encoding="utf-8") as stream:
            document = json.load(stream)
        if asked.verify:
            missing = undelegated(document, FILES)
            if missing:
                raise Refused("not delegated: %s" % "; ".join(missing), "Apply again.")
            return 0
        host_ids = asked.host_ids or (not asked.old_syntax and _knows_host_ids())
        print("\n".join(arguments(document, host_ids, live_maps())))
    except Refused as exc:
        print("pod-id-map: %s. %s" % (exc, exc.next_step), file=sys.stderr)
        return 1
    except (OSError, ValueError, KeyError) as exc:
        print("pod-id-map: %s: %s. Apply again." % (asked.ids, exc), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
