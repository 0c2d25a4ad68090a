#!/usr/bin/python
# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""An image that the account of a pod builds for itself. Python 3.9 and later."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pod_build
short_description: Build the image of a pod on its host
version_added: 0.1.0
description:
  - Builds an image as the account that runs the pod, without root, by C(podman build).
  - What it is built of has a digest, which the image carries as a label. So it is built again when
    that changes, and only then; check mode tells.
  - The files are fetched and checked on the controller, in check mode too, and sent only where the
    image is to be built.
options:
  account:
    description: Whose storage it is.
    type: str
    required: true
  image:
    description: Its name, as C(localhost/name:tag).
    type: str
    required: true
  containerfile:
    description: How it is built. C(COPY files/ ...) has the O(files).
    type: str
    required: true
  base:
    description: The image that it begins with, as O(containerfile) names it.
    type: str
    required: true
  base_archive:
    description: An archive on the host (C(podman save)) that has O(base), for sites without a
      registry.
    type: path
  files:
    description: What else goes into it. On a host only C(name) and C(sha256) are known.
    type: list
    elements: dict
    default: []
    options:
      source:
        description: URL, or path on the controller. Handled on the controller.
        type: str
      name:
        description: Name of the file in O(containerfile); the action plugin sets it.
        type: str
      sha256:
        description: Its checksum, 64 hexadecimal digits.
        type: str
        required: true
  staged:
    description: Directory on the host with the files; the action plugin sets it.
    type: path
  timeout:
    description: Seconds that the build may take.
    type: int
    default: 3600
attributes:
  check_mode:
    support: full
author: [The cloudlet-deploy founders]
"""

EXAMPLES = r"""
- name: Build the image
  cloudlet.deploy.pod_build:
    account: oodsvc
    image: localhost/portal:4.2.3
    base: localhost/debian:12
    base_archive: /srv/debian12.tar
    containerfile: |
      FROM localhost/debian:12
      COPY files/ /tmp/files/
      RUN apt-get install --yes /tmp/files/ondemand.deb
    files:
      - source: /srv/packages/ondemand.deb
        sha256: fcde2b2edba56bf408601fb721fe9b5c338d10ee429ea04fae5511b68fbf8fb9
"""

RETURN = r"""
changes:
  description: What was, or in check mode would be, done.
  returned: always
  type: list
inputs:
  description: Digest of all that the image is built of.
  returned: always
  type: str
"""

import hashlib  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import shutil  # noqa: E402
import tempfile  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import (  # noqa: E402
    change,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.podman_images import (  # noqa: E402
    ImageError,
    Store,
    archived,
)

LABEL = "cloudlet-deploy.inputs"


def inputs_of(options):
    """Digest of what the image is built of. Raises ImageError.

    An archive that is not there yet counts as none; it is an error before the build.
    """
    archive = options["base_archive"]
    base = archived(archive) if archive and os.path.exists(archive) else ""
    files = sorted((one["name"], one["sha256"]) for one in options["files"])
    text = json.dumps([options["containerfile"], options["base"], base, files])
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def build(store, options, inputs):
    """Build it of the files that are staged."""
    _bring_base(store, options["base"], options["base_archive"])
    context = tempfile.mkdtemp(prefix="cloudlet-build.", dir="/var/tmp")
    try:
        files = os.path.join(context, "files")
        os.mkdir(files)
        path = os.path.join(context, "Containerfile")
        with open(path, "w", encoding="utf-8") as stream:
            stream.write(options["containerfile"])
        # The account is to read them, and nobody else.
        copied = [
            shutil.copy(os.path.join(options["staged"], one["name"]), files)
            for one in options["files"]
        ]
        for one in (context, files, path, *copied):
            os.chmod(one, 0o700 if os.path.isdir(one) else 0o600)
            shutil.chown(one, store.account)
        store.build(options["image"], context, LABEL, inputs)
    finally:
        shutil.rmtree(context)


def _bring_base(store, base, archive):
    if not archive:
        return  # a registry's comes with the build
    if not os.path.exists(archive):
        raise ImageError("%s is not there, which is to have %s." % (archive, base))
    wanted = archived(archive)
    if store.id_of(base) != wanted:
        store.load(archive, base, wanted)


def main():
    module = AnsibleModule(
        argument_spec={
            "account": {"type": "str", "required": True},
            "image": {"type": "str", "required": True},
            "containerfile": {"type": "str", "required": True},
            "base": {"type": "str", "required": True},
            "base_archive": {"type": "path"},
            "files": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "source": {"type": "str"},
                    "name": {"type": "str"},
                    "sha256": {"type": "str", "required": True},
                },
            },
            "staged": {"type": "path"},
            "timeout": {"type": "int", "default": 3600},
        },
        supports_check_mode=True,
    )
    options = module.params
    store = Store(options["account"], timeout=options["timeout"])
    try:
        inputs = inputs_of(options)
        there = store.label_of(options["image"], LABEL) == inputs
        if not there and options["staged"] and not module.check_mode:
            if not store.exists:
                raise ImageError("There is no account %s on this host." % store.account)
            build(store, options, inputs)
    except (ImageError, OSError) as exc:
        module.fail_json(msg=str(exc))
    changes = [] if there else [change("image", options["image"], "build")]
    module.exit_json(changed=bool(changes), changes=changes, inputs=inputs)


if __name__ == "__main__":
    main()
