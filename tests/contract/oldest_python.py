"""The oldest Python that our modules must run on, if this machine has it."""

from __future__ import annotations

import shutil
from pathlib import Path

_DIRECTORIES = ["/usr/bin", "/usr/local/bin"]
_DIRECTORIES += [str(p) for p in sorted(Path.home().glob(".pyenv/versions/3.9.*/bin"))]

#: Path of a Python 3.9, or None: ``run_tasks`` then takes the Python of the tests.
PYTHON = shutil.which("python3.9", path=":".join(_DIRECTORIES))
