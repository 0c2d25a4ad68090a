# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Runs the vendor's programs as their account, secrets by standard input. Python 3.9 and later."""

from __future__ import annotations

import os
import pwd
import subprocess

from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import (
    TIMED_OUT,
    Result,
    tail,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.idmaps import Refused
from ansible_collections.cloudlet.deploy.plugins.module_utils.user_manager import as_account

#: The vendor's programs are scripts of bash that take a secret as a word of their command line,
#: where every user sees it. So bash reads the script into itself, and first adds words to its
#: arguments that it reads from standard input. What is written meanwhile is the account's alone.
_SOURCED = (
    'umask 077; while IFS= read -r word; do set -- "$@" "$word"; done; exec </dev/null; . "$0"'
)


class Programs:
    """The programs of the account ``name``; KeyError if there is none."""

    def __init__(self, name):
        self.entry = pwd.getpwnam(name)

    def run(self, program, *words, secrets=(), directory="/", timeout=120):
        """Run ``program``; ``secrets`` are further words of it that nobody sees. Never raises.

        What it said comes back without the secrets.
        """
        argv = [*as_account(self.entry), "env", "--chdir=" + directory]
        argv += ["bash", "-c", _SOURCED, program, *words] if secrets else [program, *words]
        return self._done(argv, "".join(word + "\n" for word in secrets).encode(), secrets, timeout)

    def unpack(self, archive, directory, timeout=3600):
        """Unpack ``archive``, which has one directory at its top, into ``directory``.

        As the account, which need not be able to read the archive.
        """
        argv = ["tar", "--extract", "--gzip", "--strip-components=1", "--no-same-owner"]
        argv += ["--directory=" + directory]
        with open(archive, "rb") as stream:
            return self._done([*as_account(self.entry), *argv], stream, (), timeout)

    def _done(self, argv, given, secrets, timeout):
        source = {"input": given} if isinstance(given, bytes) else {"stdin": given}
        environment = dict(os.environ, LC_ALL="C", LANGUAGE="C")
        environment["PATH"] = environment.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin:/bin"
        try:
            done = subprocess.run(
                argv,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                timeout=timeout,
                env=environment,
                check=False,
                **source,
            )
        except subprocess.TimeoutExpired:
            return Result(TIMED_OUT, "", "no answer within %d s" % timeout)
        return Result(done.returncode, *(_shown(t, secrets) for t in (done.stdout, done.stderr)))

    def checked(self, what, program, *words, **options):
        """As ``run``; raises Refused, which says that ``what`` failed and why."""
        done = self.run(program, *words, **options)
        if done.rc != 0:
            raise Refused(
                "%s failed: %s" % (what, tail(done, 8)), "Correct its cause, then apply again."
            )
        return done


def _shown(said, secrets):
    text = said.decode("utf-8", "replace")
    for secret in secrets:
        # Flags are among the words.
        if not secret.startswith("--"):
            text = text.replace(secret, "***")
    return text
