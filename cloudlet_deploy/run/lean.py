"""Runs a program of Ansible with less work in each of its workers.

Started as ``python lean.py SCRIPT ARGUMENT...`` it runs SCRIPT, such as ansible-playbook, in
this process. Ansible forks a worker for each task on each host, and a worker loads again
what the one before it had loaded. What nearly all of them need is loaded once here, before
the first; and none of them has the garbage collector walk through, and so copy, all that it
inherited. Together that is a fifth of Ansible's time on the controller, measured.

This file runs as a script: it imports nothing of this package.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import os
import runpy
import sys
from pathlib import Path

#: Allocations between two looks of the collector; Python's own number is for small programs.
_THRESHOLD = 50_000

#: What a task that runs a module over ssh as root takes, by loader. Asked for as Ansible does,
#: so that a plugin of the user's that has one of these names is found in its place.
_PLUGINS = (
    ("connection_loader", "ssh"),
    ("shell_loader", "sh"),
    ("become_loader", "sudo"),
    ("action_loader", "ansible.legacy.normal"),
    ("action_loader", "ansible.builtin.fail"),
    ("action_loader", "ansible.builtin.validate_argument_spec"),
    ("action_loader", "cloudlet.deploy.config_set"),
)


@functools.cache
def _load() -> None:
    """Load what the workers need, before the first: then Ansible has read its configuration.

    What fails is left to the workers, who know what to say of it.
    """
    with contextlib.suppress(Exception):
        from ansible.plugins import loader

        importlib.import_module("ansible.executor.module_common")  # builds the modules
        for name, plugin in _PLUGINS:
            with contextlib.suppress(Exception):
                getattr(loader, name).get(plugin, class_only=True)
        for name in ("filter_loader", "test_loader"):
            list(getattr(loader, name).all())


def main(argv: list[str]) -> None:
    """Run the script ``argv[0]`` with the rest as its arguments."""
    gc.set_threshold(_THRESHOLD, 20, 100)
    os.register_at_fork(before=_load, after_in_child=gc.freeze)
    sys.argv = argv
    # As Python does for the script that it is given.
    sys.path[0] = str(Path(argv[0]).parent)
    runpy.run_path(argv[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
