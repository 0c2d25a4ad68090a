# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Runs the validators of a config set over staged files. Python 3.9 and later."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile

from ansible_collections.cloudlet.deploy.plugins.module_utils import config_files

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TIMEOUT = 120.0
_OUTPUT = 4000


def validate(name, validators, staged, secrets):
    """Run those of ``validators`` that concern a path in ``staged`` ({path: staged path}).

    A validator is ``argv``, ``paths`` (it runs when one of these changes) and ``uses`` (those
    that it names as ``{PATH}``).
    Raises ConfigError with the validator's output (not if it has seen one of ``secrets``),
    and when it is not installed.
    """
    for validator in concerned(validators, staged):
        program = find_program(validator["argv"][0])
        if program is None:
            raise config_files.ConfigError(
                "config_set %s: the validator %s is not installed, so %s is not validated and "
                "nothing was changed. Install it first."
                % (name, validator["argv"][0], ", ".join(validator["paths"]))
            )
        _run(name, [program, *validator["argv"][1:]], validator, staged, secrets)


def validate_in_check_mode(name, validators, contents, secrets):
    """Validate ``contents`` (new contents by path) in a temporary directory.

    Returns the commands that are not installed. Raises ConfigError as ``validate`` does.
    """
    missing = []
    present = []
    for validator in concerned(validators, contents):
        program = find_program(validator["argv"][0])
        (missing if program is None else present).append(validator)
    if not present:
        return [validator["argv"][0] for validator in missing]
    with tempfile.TemporaryDirectory(prefix="cloudlet-") as scratch:
        staged = {}
        for number, (path, content) in enumerate(sorted(contents.items())):
            # One directory each: the name of the file stays, validators may go by it.
            os.mkdir(os.path.join(scratch, str(number)), 0o700)
            staged[path] = os.path.join(scratch, str(number), os.path.basename(path))
            config_files.write_new(staged[path], [content])
        validate(name, present, staged, secrets)
    return [validator["argv"][0] for validator in missing]


def concerned(validators, changed):
    """Those of ``validators`` that look at one of the ``changed`` paths."""
    return [validator for validator in validators if set(validator["paths"]) & set(changed)]


def find_program(name):
    """Full path of a program, or None. Root's directories are looked through as well."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":" + _PATH)


def _run(name, argv, validator, staged, secrets):
    uses = sorted(set(validator["uses"]) | set(validator["paths"]))
    argv = [_with_paths(argument, uses, staged) for argument in argv]
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_TIMEOUT,
            check=False,
        )
        if done.returncode == 0:
            return
        said = done.stdout.decode("utf-8", "replace").strip()[-_OUTPUT:]
        outcome = "exit code %d" % done.returncode
    except subprocess.TimeoutExpired:
        said, outcome = "", "no end within %d s" % _TIMEOUT
    except OSError as exc:
        said, outcome = "", exc.strerror
    for path in uses:
        said = said.replace(staged.get(path, path), path)
    if secrets & set(uses):
        said = "its output is not shown: a file is secret"
    raise config_files.ConfigError(
        "config_set %s: %s does not accept %s (%s), so nothing was changed: %s"
        % (name, validator["argv"][0], ", ".join(validator["paths"]), outcome, said or "no output")
    )


def _with_paths(argument, paths, staged):
    for path in paths:
        argument = argument.replace("{%s}" % path, staged.get(path, path))
    return argument
