"""The load engine as one archive, for hosts that have nothing but Python.

It is what this environment has itself, so it needs neither a registry nor a compiler; the hosts
must have the same version of Python and the same type of machine.
"""

from __future__ import annotations

import io
import platform
import shutil
import sys
import tarfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from cloudlet_deploy import content
from cloudlet_deploy.errors import RunFailedError

#: What the modules of the engine import.
_NEEDS = ("cryptography", "hdrhistogram", "locust", "psutil", "pyyaml")
#: Parts of the collection that they load by file.
_COLLECTION = ("galaxy.yml", "plugins/module_utils")

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
MACHINE = platform.machine()


def write(path: Path) -> None:
    """Write the archive; all of it lies in ``lib/``."""
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for found, name in _files():
            archive.add(found, f"lib/{name}", recursive=False)
        # By this directory the collection is known.
        roles = tarfile.TarInfo("lib/roles")
        roles.type, roles.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(roles)


def _files() -> Iterator[tuple[Path, str]]:
    for distribution in _distributions():
        for file in distribution.files or ():
            name = str(file)
            found = Path(str(file.locate()))
            if not name.startswith("..") and "__pycache__" not in name and found.is_file():
                yield found, name
    package = Path(__file__).resolve().parents[1]
    for found in sorted(package.rglob("*.py")):
        yield found, f"{package.name}/{found.relative_to(package)}"
    for part in _COLLECTION:
        base = content.root() / part
        for found in [base] if base.is_file() else sorted(base.glob("*.py")):
            yield found, str(found.relative_to(content.root()))


def _distributions() -> Iterator[metadata.Distribution]:
    """The distributions that the engine needs, and what those need."""
    waiting, seen = list(_NEEDS), set()
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError as error:
            raise RunFailedError(
                f"The Python package {name} is missing here.",
                next_step="Install cloudlet-deploy again.",
            ) from error
        yield distribution
        for text in distribution.requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                waiting.append(needed.name)


def write_job(path: Path, files: dict[str, Path | bytes]) -> None:
    """Write an archive of these files and directories, readable for nobody else."""
    path.touch(mode=0o600)
    with tarfile.open(path, "w") as archive:
        for name, found in files.items():
            if isinstance(found, bytes):
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(found), 0o600
                archive.addfile(info, io.BytesIO(found))
            else:
                archive.add(found, name)
        output = tarfile.TarInfo("output")
        output.type, output.mode = tarfile.DIRTYPE, 0o700
        archive.addfile(output)


def unpack(path: Path, directory: Path) -> None:
    """Write the operations that a load host packed into a directory of ours; nothing else.

    The archive is another host's word: of each file the last part of its name is taken, and its
    content. (``tarfile`` has a filter for that, but not in the Python of Debian 12.)
    """
    with tarfile.open(path) as archive:
        for member in archive.getmembers():
            rows = archive.extractfile(member) if member.isfile() else None
            if rows is not None and member.name.endswith(".csv.gz"):
                with rows, (directory / Path(member.name).name).open("wb") as stream:
                    shutil.copyfileobj(rows, stream)
