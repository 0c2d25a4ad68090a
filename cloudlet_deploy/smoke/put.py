"""Writes the files of a report."""

from __future__ import annotations

import os
from pathlib import Path


def put(path: Path, whole: str | bytes) -> None:
    """Write ``path`` whole or not at all. Raises OSError."""
    # A lone surrogate is in no text that can be written; a server may have sent one.
    data = whole.encode("utf-8", "replace") if isinstance(whole, str) else whole
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
