"""Writing files whose mode is right from the first byte."""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO


def write_file(path: Path, content: bytes, *, mode: int) -> bool:
    """Replace ``path`` unless it holds ``content`` with ``mode`` already. True if written.

    Directories on the way are made 0755, those of secret files 0700.
    """
    if path.is_file() and path.read_bytes() == content and path.stat().st_mode & 0o777 == mode:
        return False
    path.parent.mkdir(mode=0o755 if mode & 0o004 else 0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as handle:
        os.fchmod(descriptor, mode)
        handle.write(content)
    fresh.replace(path)
    return True


@dataclass(frozen=True)
class Put:
    """A file to put into a host; ``content`` None makes a directory."""

    path: str
    content: bytes | None
    mode: int
    owner: int = 0


@contextlib.contextmanager
def packing(stream: IO[bytes]) -> Iterator[tarfile.TarFile]:
    """A tar archive into ``stream`` that ends at its end marker, for ``podman cp -``.

    Podman stops reading there, and fails with a broken pipe if padding is still to come.
    """
    with tarfile.open(fileobj=stream, mode="w") as tar:
        yield tar
    stream.truncate(tar.offset)


def archive(items: Iterable[Put]) -> bytes:
    """A tar archive of ``items``, for ``podman cp``."""
    buffer = io.BytesIO()
    with packing(buffer) as tar:
        for item in items:
            entry = tarfile.TarInfo(item.path.lstrip("/"))
            entry.uid = entry.gid = item.owner
            entry.mode = item.mode
            entry.mtime = int(time.time())
            if item.content is None:
                entry.type = tarfile.DIRTYPE
                tar.addfile(entry)
            else:
                entry.size = len(item.content)
                tar.addfile(entry, io.BytesIO(item.content))
    return buffer.getvalue()
