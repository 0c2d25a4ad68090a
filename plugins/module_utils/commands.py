# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Commands that our modules run on a host. Runs on Python 3.9 and later."""

from __future__ import annotations

import os
import subprocess
from typing import NamedTuple

#: Return codes of a command that is not installed and of one that took too long.
NOT_FOUND, TIMED_OUT = 127, 124


class Result(NamedTuple):
    """What a command returned; ``out`` and ``err`` are text."""

    rc: int
    out: str
    err: str


def run(argv, timeout=None, environment=None, stdin=subprocess.DEVNULL):
    """Run ``argv`` without a shell, in the C locale; ``stdin`` is bytes, or an open file.

    Never raises for a command that fails: one that does not exist has the code 127, one
    that takes more than ``timeout`` seconds 124.
    """
    env = dict(os.environ, LC_ALL="C", LANGUAGE="C", **(environment or {}))
    # A login without sbin on its path is common, and useradd lives there.
    env["PATH"] = env.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin:/usr/bin:/bin"
    try:
        done = subprocess.run(
            argv,
            **{"input" if isinstance(stdin, bytes) else "stdin": stdin},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=timeout,
            env=env,
            check=False,
        )
    except FileNotFoundError:
        return Result(NOT_FOUND, "", "%s is not installed" % argv[0])
    except subprocess.TimeoutExpired:
        return Result(TIMED_OUT, "", "no answer from %r within %d s" % (" ".join(argv), timeout))
    return Result(
        done.returncode,
        done.stdout.decode("utf-8", "replace"),
        done.stderr.decode("utf-8", "replace"),
    )


def tail(result, lines=5):
    """The last lines of what a failed command said, those marked as errors if there are any."""
    said = [line.strip() for line in (result.out + "\n" + result.err).splitlines() if line.strip()]
    errors = [line for line in said if line.startswith(("E:", "Error", "dpkg: error", "error:"))]
    return "; ".join((errors or said)[-lines:]) or "exit code %d, no output" % result.rc


def change(kind, name, action, detail=""):
    """One entry of the ``changes`` that every module of ours returns."""
    return {"kind": kind, "name": name, "action": action, "detail": detail}
