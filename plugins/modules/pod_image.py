#!/usr/bin/python
# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""The image of a pod in its account's storage, and what the Podman of the host understands."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pod_image
short_description: Bring the image of a pod, and tell what its host understands
description:
  - Loads or pulls an image as the account that runs the pod, if it is not in its storage.
  - Podman's storage is looked into as a file, and Podman is started only where that does not tell.
  - Tells the version of Podman and whether it has Quadlet with id maps, which a role needs to know
    before it writes a unit. Where Podman comes with this very run, check mode takes the version
    that the package manager would install.
options:
  account:
    description: Whose storage it is.
    type: str
    required: true
  image:
    description: Its name, as C(registry/name@sha256:DIGEST) or C(localhost/name:tag).
    type: str
    required: true
  archive:
    description:
      - An archive on the host (C(podman save), of either format) that has it. It is loaded when the
        image of that name is another one than that in the archive.
    type: path
  delegated:
    description:
      - What is delegated to the account, as P(cloudlet.deploy.subid_set#module) returns it in
        RV(ids).
      - By default what C(/etc/cloudlet-deploy/podman_host/ids.json) on the host says, if it is
        there and of this account.
    type: dict
    default: {}
  id_base:
    description: First id of the base range of the account, of users and of groups. With 0 it is
      that of O(delegated).
    type: int
    default: 0
  all_delegated:
    description: Whether all ids that are delegated are the same in the pod, and not only O(uids)
      and O(gids).
    type: bool
    default: false
  uids:
    description: User ids that are the same in the pod.
    type: list
    elements: int
    default: []
  gids:
    description: Group ids that are the same in the pod.
    type: list
    elements: int
    default: []
  timeout:
    description: Seconds that loading or pulling may take.
    type: int
    default: 1800
attributes:
  check_mode:
    support: full
author: [The cloudlet-deploy founders]
"""

EXAMPLES = r"""
- name: Bring the image
  cloudlet.deploy.pod_image:
    account: oodsvc
    image: localhost/portal:4.2.3
    archive: /var/lib/oodsvc/portal.tar
    uids: [123456]
"""

RETURN = r"""
changes:
  description: What was, or would be, done to the image.
  type: list
  returned: always
version:
  description: Version of Podman; of the one that is to come in check mode, if that can be told.
  type: str
  returned: always
quadlet:
  description: Whether a pod is written as a Quadlet unit there.
  type: bool
  returned: always
image_id:
  description: Id of the image; empty where it is not there yet.
  type: str
  returned: always
id_map:
  description: The pod's id map onto ids of the host, under uid and gid, as Podman takes it.
  type: dict
  returned: always
ids:
  description: The same for C(pod-id-map), for a Podman that does not take ids of the host.
  type: dict
  returned: always
"""

import json  # noqa: E402
import os  # noqa: E402
import re  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils import idmaps  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import (  # noqa: E402
    change,
    run,
    tail,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.podman_images import (  # noqa: E402
    ImageError,
    Store,
    archived,
)

#: Quadlet came with 4.4, ids of the host in a map with 4.7, the keys for a map with 4.8.
QUADLET_SINCE = (4, 8)


def version_of(said):
    """The version in what ``podman --version`` or a package manager says; "" if there is none."""
    found = re.search(r"(?:\d+:)?(\d+\.\d+(?:\.\d+)?)", said)
    return found.group(1) if found else ""


def has_quadlet(version):
    """Whether that version of Podman takes a pod's id map from a Quadlet unit.

    One that is not known is taken to be new: no supported distribution has had older packages
    since, but Debian 12, whose apt tells the version.
    """
    return not version or tuple(int(n) for n in version.split(".")[:2]) >= QUADLET_SINCE


def podman_version(runner, check):
    """Podman's version; in check mode, where there is none yet, that of its package."""
    done = runner(["podman", "--version"])
    if done.rc == 0:
        return version_of(done.out)
    if not check:
        raise ImageError("Podman does not answer: %s. Is it installed before?" % tail(done))
    candidate = re.search(r"Candidate: (\d\S*)", runner(["apt-cache", "policy", "podman"]).out)
    return version_of(candidate.group(1)) if candidate else ""


def bring(store, image, archive, check):
    """(id of the image, what is to be done to have it: "load", "pull" or "")."""
    if not store.exists and not check:
        raise ImageError(
            "There is no account %s on this host, which is to run %s. Make it before this task."
            % (store.account, image)
        )
    there = store.id_of(image)
    if archive and os.path.exists(archive):
        wanted = archived(archive)
        if there != wanted and not check:
            store.load(archive, image, wanted)
        return wanted, "" if there == wanted else "load"
    if there:
        return there, ""
    if archive or image.startswith("localhost/"):
        if not check:
            raise ImageError(
                "%s has no image %s, and %s. Put the archive there, or build the image, before "
                "this task."
                % (store.account, image, archive + " is not there" if archive else "no archive")
            )
        return "", "load" if archive else ""
    if not check:
        store.pull(image)
        there = store.id_of(image)
    return there, "pull"


def delegated(options, path=idmaps.IDS):
    """What is delegated to the account; None where that is not on record."""
    document = options["delegated"] or None
    if document is None and os.path.exists(path):
        with open(path, encoding="utf-8") as text:
            document = json.load(text)
    return document if document and document["account"] == options["account"] else None


def ids_of(options, document):
    """The ids of the pod as ``pod-id-map`` reads them: ranges of (start, count)."""
    account, base = options["account"], [options["id_base"], idmaps.LEAST_BASE]
    if document is None and (options["all_delegated"] or not options["id_base"]):
        raise ImageError(
            "It is not on record what is delegated to the account %s on this host. Let the role "
            "podman_host come before, or set pod_id_base." % account
        )
    ids = {
        "account": account,
        "base": {"uid": base, "gid": base} if options["id_base"] else document["base"],
    }
    for kind in ("uids", "gids"):
        given = idmaps.merged(tuple(one) for one in document[kind]) if document else None
        wanted = idmaps.merged((number, 1) for number in options[kind])
        for start, count in wanted if document else ():
            if not any(first <= start and start + count <= first + n for first, n in given):
                raise ImageError(
                    "The %s %d to %d are not delegated to the account %s. Approve them: "
                    "podman_host_approved_users or podman_host_delegated_%s."
                    % (kind, start, start + count - 1, account, kind)
                )
        ids[kind] = [list(one) for one in (given if options["all_delegated"] else wanted)]
    return ids


def main():
    module = AnsibleModule(
        argument_spec={
            "account": {"type": "str", "required": True},
            "image": {"type": "str", "required": True},
            "archive": {"type": "path"},
            "delegated": {"type": "dict", "default": {}},
            "id_base": {"type": "int", "default": 0},
            "all_delegated": {"type": "bool", "default": False},
            "uids": {"type": "list", "elements": "int", "default": []},
            "gids": {"type": "list", "elements": "int", "default": []},
            "timeout": {"type": "int", "default": 1800},
        },
        supports_check_mode=True,
    )
    options, check = module.params, module.check_mode
    store, image = Store(options["account"], timeout=options["timeout"]), options["image"]
    try:
        ids = ids_of(options, delegated(options))
        id_map = {k: idmaps.host_arguments(ids["base"][k][0], ids[k + "s"]) for k in ("uid", "gid")}
        version = podman_version(run, check)
        image_id, action = bring(store, image, options["archive"], check)
    except (ImageError, OSError, ValueError, KeyError) as exc:
        module.fail_json(msg=str(exc))
    except idmaps.Refused as exc:
        module.fail_json(msg="%s." % exc, next_step=exc.next_step)
    changes = [change("image", image, action)] if action else []
    module.exit_json(
        changed=bool(changes),
        changes=changes,
        version=version,
        quadlet=has_quadlet(version),
        image_id=image_id,
        id_map=id_map,
        ids=ids,
    )


if __name__ == "__main__":
    main()
