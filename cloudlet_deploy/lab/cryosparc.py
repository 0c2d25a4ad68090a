"""The archives of CryoSPARC's stand-in, as the vendor's would come: master and worker by version.

They lie in the lab's image ``cryosparc13``, and in a directory of their own for tests on this
machine. Equal sources give equal bytes, so their checksums can be told beforehand.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

from cloudlet_deploy.lab.files import Put, packing

#: The two that an upgrade leads between, and the last of the series before.
VERSIONS = ("v5.0.1", "v5.0.2", "v4.7.1")
#: Where they lie in the image: HOME/VERSION/cryosparc_{master,worker}.tar.gz.
HOME = "/opt/cryosparc-standin"
#: Of the lab's instance; no secrets, but their names are looked for like those of secrets.
LICENSE = "c0ffee00-1ab0-4e57-8a11-2bad5eed0001"
USER_PASSWORD = "lab-microscopist-Xq7"
PARTS = ("master", "worker")
_SOURCE = Path(__file__).resolve().parent / "standin" / "cryosparc"
_COMMANDS = {"master": "cryosparcm", "worker": "cryosparcw"}


def archive(part: str, version: str) -> bytes:
    """The archive ``cryosparc_PART.tar.gz`` of a version."""
    top = f"cryosparc_{part}"
    program = _COMMANDS[part]
    files = {
        "STAND-IN": (_SOURCE / "README", 0o644),
        "install.sh": (_SOURCE / f"install_{part}.sh", 0o755),
        f"bin/{program}": (_SOURCE / f"{program}.sh", 0o755),
        **{
            f"lib/cryosparc_standin/{path.name}": (path, 0o644)
            for path in sorted((_SOURCE / "program").glob("*.py"))
        },
    }
    puts = [Put(f"{top}/{name}", path.read_bytes(), mode) for name, (path, mode) in files.items()]
    return _packed([*puts, Put(f"{top}/version", f"{version}\n".encode(), 0o644)])


def checksum(part: str, version: str) -> str:
    """What an inventory says of the archive."""
    return f"sha256:{hashlib.sha256(archive(part, version)).hexdigest()}"


def files() -> tuple[Put, ...]:
    """All archives, where they lie in the image."""
    return tuple(
        Put(f"{HOME}/{version}/cryosparc_{part}.tar.gz", archive(part, version), 0o644)
        for version in VERSIONS
        for part in PARTS
    )


def inputs() -> dict[str, str]:
    """What decides them, for the image's recipe."""
    return {f"{version}/{part}": checksum(part, version) for version in VERSIONS for part in PARTS}


def _packed(puts: list[Put]) -> bytes:
    plain = io.BytesIO()
    with packing(plain) as tar:
        for put in puts:
            entry = tarfile.TarInfo(put.path)
            content = put.content or b""
            entry.size, entry.mode = len(content), put.mode
            # A fixed time: equal sources give equal bytes.
            entry.mtime = 315532800
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), mtime=0)
