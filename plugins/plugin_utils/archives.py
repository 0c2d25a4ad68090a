# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Archives on the controller: known by their checksums, and fetched once.

Those that were fetched are kept below ``XDG_CACHE_HOME``, each under its checksum.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile

from ansible.module_utils.urls import open_url

_CHECKSUM = re.compile(r"sha256:[0-9a-f]{64}")
_URL = re.compile(r"(https?|ftp)://")
_BLOCK = 1 << 20


class WrongArchive(Exception):
    """The archive has another checksum, which is ``found``."""

    def __init__(self, found):
        super().__init__(found)
        self.found = found


def is_checksum(text):
    return bool(_CHECKSUM.fullmatch(str(text)))


def is_url(archive):
    return bool(_URL.match(archive))


def checked(path, checksum):
    """``path``, if its archive has the checksum. Raises WrongArchive and OSError."""
    found = _digest(path)
    if found != checksum:
        raise WrongArchive(found)
    return path


def fetched(url, checksum):
    """Path of what ``url`` gives, checked. Raises WrongArchive and OSError, which may name it."""
    kept = os.path.join(_cache(), checksum.partition(":")[2])
    if os.path.exists(kept) and _digest(kept) == checksum:
        return kept
    fd, part = tempfile.mkstemp(dir=os.path.dirname(kept))
    try:
        with os.fdopen(fd, "wb") as stream:
            answer = open_url(url, timeout=60)
            for block in iter(lambda: answer.read(_BLOCK), b""):
                stream.write(block)
        os.replace(checked(part, checksum), kept)
    finally:
        if os.path.exists(part):
            os.unlink(part)
    return kept


def _digest(path):
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(_BLOCK), b""):
            digest.update(block)
    return "sha256:" + digest.hexdigest()


def _cache():
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    path = os.path.join(base, "cloudlet-deploy", "archives")
    os.makedirs(path, mode=0o700, exist_ok=True)
    return path
