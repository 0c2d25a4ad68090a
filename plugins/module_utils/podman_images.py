# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""The images in an account's Podman. Runs on Python 3.9 and later."""

from __future__ import annotations

import json
import os
import tarfile

from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import run, tail
from ansible_collections.cloudlet.deploy.plugins.module_utils.podman import Podman

#: Podman's storage below a home, unless storage.conf moved it.
_STORAGE = ".local/share/containers/storage"
_LISTS = ("overlay-images", "vfs-images")


class ImageError(Exception):
    """The image cannot be had; the message says what to do."""


def listed(home, image):
    """Id of ``image`` in the storage below ``home``, or None where the lists do not have it."""
    for name in _LISTS:
        try:
            with open(os.path.join(home, _STORAGE, name, "images.json"), encoding="utf-8") as text:
                entries = json.load(text)
        except (OSError, ValueError):
            continue
        for entry in entries:
            if image in (entry.get("names") or ()):
                return entry["id"]
    return None


def archived(path):
    """Id of the one image in an archive. Raises ImageError."""
    try:
        with tarfile.open(path) as archive:
            names = archive.getnames()
            if "manifest.json" in names:
                (only,) = _json(archive, "manifest.json")
                return os.path.basename(only["Config"]).partition(".")[0]
            (only,) = _json(archive, "index.json")["manifests"]
            manifest = _json(archive, _blob(only["digest"]))
            return manifest["config"]["digest"].partition(":")[2]
    except (OSError, tarfile.TarError, ValueError, KeyError, TypeError) as exc:
        raise ImageError(
            "%s is no archive of one image (%s). 'podman save -o FILE IMAGE' makes one."
            % (path, exc)
        ) from exc


def _blob(digest):
    return "blobs/" + digest.replace(":", "/")


def _json(archive, name):
    member = archive.extractfile(name)
    if member is None:
        raise ValueError("%s is no file" % name)
    return json.load(member)


class Store(Podman):
    """The images that it has."""

    def __init__(self, account, run=run, timeout=1800):
        super().__init__(account, run, timeout)

    def id_of(self, image):
        """Id of an image, "" where it is not there; asks Podman if its lists do not have it."""
        found = self.exists and listed(self._home, image)
        if found or not self.exists:
            return found or ""
        return self._podman("image", "inspect", "--format={{.Id}}", image).out.strip()

    def load(self, archive, image, image_id):
        """Load the image that has ``image_id`` and give it its name."""
        # Handed over open: the account need not be allowed to read the file.
        with open(archive, "rb") as stream:
            done = self._podman("load", stdin=stream)
        if done.rc == 0 and self.id_of(image) != image_id:
            done = self._podman("tag", image_id, image)
        if done.rc:
            raise ImageError(
                "The image %s cannot be loaded from %s: %s. 'podman load' as %s tells more."
                % (image, archive, tail(done), self.account)
            )

    def pull(self, image):
        """Fetch it from its registry."""
        done = self._podman("pull", "--quiet", image)
        if done.rc:
            raise ImageError(
                "The image %s cannot be pulled: %s. Does the host reach its registry, or is an "
                "archive to be loaded (pod_archive)?" % (image, tail(done))
            )

    def label_of(self, image, label):
        """What a label of an image says; "" where it, or the image, is not there."""
        if not self.exists:
            return ""
        found = self._podman("image", "inspect", '--format={{index .Labels "%s"}}' % label, image)
        return found.out.strip() if found.rc == 0 else ""

    def build(self, image, context, label, value):
        """Build ``image`` of the directory ``context`` and label it.

        Those of before that have the label and no name any more go first, so that one build
        leaves no more than one behind.
        """
        self._podman("image", "prune", "--force", "--filter=label=" + label)
        done = self._podman(
            "build", "--isolation=chroot", "--network=host", "--layers=false", "--force-rm",
            "--label=%s=%s" % (label, value), "--tag=" + image, context,
        )  # fmt: skip
        if done.rc:
            raise ImageError(
                "The image %s cannot be built: %s. Its account, %s, builds it by 'podman build'."
                % (image, tail(done), self.account)
            )
