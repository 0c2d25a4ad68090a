"""Keeps what the Python of a lab's host compiles of Ansible's modules.

Ansible sends each module as a zip archive, whose sources Python compiles anew at each task: that
is a third of what a task costs a host, and the tests run thousands. Here the result is kept, by
what the source is. What runs is the same, and comes from the same archive.

Runs by itself as root on a host, at each start of Python: it imports nothing of the package.
"""

from __future__ import annotations

import _imp
import marshal
import os
import sys
import zipimport

TYPE_CHECKING = False  # typing's own would be one more import
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

_DIRECTORY = f"/var/cache/lab-zip-cache/{sys.implementation.cache_tag}"
# There is no public way to have zipimport compile by another function. The three silenced findings
# are that the types of Python's library leave out what is not public.
_compiled: Callable[[str, bytes], CodeType] = zipimport._compile_source  # type: ignore[attr-defined]


def _kept(pathname: str, source: bytes) -> CodeType:
    """What ``zipimport`` makes of ``source``; its errors are those of ``zipimport``."""
    path = os.path.join(_DIRECTORY, _imp.source_hash(0, source).hex())
    try:
        with open(path, "rb") as stream:
            code: CodeType = marshal.load(stream)
    except (OSError, EOFError, ValueError, TypeError):
        code = _compiled(pathname, source)
        _keep(path, code)
    else:
        # As a traceback tells it.
        _imp._fix_co_filename(code, pathname)  # type: ignore[attr-defined]
    return code


def _keep(path: str, code: CodeType) -> None:
    fresh = f"{path}.{os.getpid()}"
    try:
        os.makedirs(_DIRECTORY, 0o700, exist_ok=True)
        with open(fresh, "wb") as stream:
            marshal.dump(code, stream)
        os.replace(fresh, path)
    except OSError:
        # A full or read-only disk is what a test is about, or not; this is for time only.
        pass


if os.geteuid() == 0:
    zipimport._compile_source = _kept  # type: ignore[attr-defined]
