"""Code of the collection's plugins that the site's checks share with the roles.

Roles run without this package, so what both need lies in the collection. A checkout is not on
Python's path as a collection; hence by file.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from types import ModuleType

from cloudlet_deploy.content import root
from cloudlet_deploy.errors import RunFailedError


@cache
def load(name: str) -> ModuleType:
    """The module ``plugins/NAME.py``, which imports nothing of the collection.

    Raises RunFailedError if it is missing.
    """
    path = root() / "plugins" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"cloudlet_deploy_plugin.{name}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise RunFailedError(
            f"{path} is missing.", next_step="Install cloudlet-deploy again: its wheel brings it."
        )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
