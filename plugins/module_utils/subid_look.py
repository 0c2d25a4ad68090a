# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""What is to be done to delegate ids on a host, and whether it can be. Looks only.

Python 3.9 and later.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from ansible_collections.cloudlet.deploy.plugins.module_utils import (
    idmap_trial,
    idmaps,
    podman_account,
    subid_people,
    subids,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.idmaps import Refused

#: useradd gives a new account of the system the highest of these that is free.
_LIKELY_OWN_ID = 999
#: What the ledger notes of the line of a base range.
BASE = "base"


class Place(NamedTuple):
    """Where the files are, and who tells accounts and groups."""

    directory: str
    people: subid_people.People

    @property
    def paths(self):
        """The files by kind of id."""
        return {kind: os.path.join(self.directory, "sub%s" % kind) for kind in ("uid", "gid")}


class Made(NamedTuple):
    """What the ledger has of a component: before-values and notes by ``FILE RANGE``."""

    names: dict
    notes: dict


class Delegation(NamedTuple):
    """What is approved and what is to be done; plans, contents and maps by ``uid`` and ``gid``."""

    approved: subid_people.Approved
    plans: dict
    contents: dict
    maps: dict


def texts(names, path):
    """The lines in ``path`` among names of the ledger."""
    parts = (name.partition(" ") for name in names)
    return [text for where, _, text in parts if where == path and text]


def look(wanted, place, made):
    """The Delegation for ``wanted`` (arguments of ``subid_set``). Raises Refused."""
    people, account = place.people, wanted["account"]
    if wanted["storage"]:
        podman_account.check_storage(wanted["storage"], people.host)
    _check_source(place)
    approved = subid_people.approve(
        account, wanted["users"], wanted["uids"], wanted["gids"], people
    )
    contents = {kind: subids.read(path) for kind, path in place.paths.items()}
    lines = {kind: subids.lines_of(data or b"") for kind, data in contents.items()}
    taken = {
        "uid": [(e.pw_uid, "the account %s" % e.pw_name) for e in people.accounts()],
        "gid": [(g.gr_gid, "the group %s" % g.gr_name) for g in people.groups()],
    }
    free = _free(lines, taken, approved)
    own = _own_ids(wanted, people)
    plans, maps = {}, {}
    for kind, path in place.paths.items():
        ours = subids.lines_of("\n".join(texts(made.names, path)).encode("utf-8"))
        base = [line.start for line in ours if made.notes.get("%s %s" % (path, line)) == BASE]
        wish = subids.Wish(
            path=path,
            account=account,
            own_id=own[kind],
            start=wanted["base_start"],
            count=wanted["base_count"],
            base=next((line for line in base), 0),
            ours=frozenset((line.start, line.count) for line in ours if line.owner == account),
            ids=approved.uids if kind == "uid" else approved.gids,
        )
        # Those of an account that the setting named before.
        former = {str(line) for line in ours if line.owner != account}
        leaving = [line for line in lines[kind] if str(line) in former]
        staying = [line for line in lines[kind] if line not in leaving]
        plan = subids.plan(wish, staying, taken[kind], free)
        plans[kind] = plan._replace(gone=(*plan.gone, *leaving))
        maps[kind] = idmaps.podman_map(own[kind] or _LIKELY_OWN_ID, plan.ranges)
    _ask_kernel(approved, plans, maps, people.host)
    return Delegation(approved, plans, contents, maps)


def _check_source(place):
    """A directory service may be asked for subordinate ids instead of the files."""
    switch = os.path.join(place.directory, "nsswitch.conf")
    text = (subids.read(switch) or b"").decode("utf-8", "replace")
    for line in text.splitlines():
        database, _, sources = line.partition("#")[0].partition(":")
        if database.strip() == "subid" and sources.split()[:1] != ["files"]:
            raise Refused(
                "%s: %s takes subordinate ids from '%s' and not from the files"
                % (place.people.host, switch, sources.strip()),
                "Delegate the ids there and leave this role out, or write 'subid: files'.",
            )


def _free(lines, taken, approved):
    """The first id beyond all in use, the same for users and groups."""
    ends = [line.end for found in lines.values() for line in found]
    ends += [number + 1 for found in taken.values() for number, _ in found]
    ends += [start + count for start, count in (*approved.uids, *approved.gids)]
    # What is beyond the room for base ranges cannot meet one.
    return max([subids.FLOOR, *(end for end in ends if end < subids.CEILING)])


def _own_ids(wanted, people):
    entry = people.account(wanted["account"])
    if entry is not None:
        return {"uid": entry.pw_uid, "gid": entry.pw_gid}
    return {"uid": wanted["uid"], "gid": wanted["gid"]}


def _ask_kernel(approved, plans, maps, host):
    bases = {kind: plan.base[0] for kind, plan in plans.items()}
    of_pod = {
        "uid_map": idmaps.pod_map(bases["uid"], approved.uids, maps["uid"]),
        "gid_map": idmaps.pod_map(bases["gid"], approved.gids, maps["gid"]),
    }
    of_podman = {"uid_map": maps["uid"], "gid_map": maps["gid"]}
    idmap_trial.check([of_podman, of_pod], host)
