# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""The secrets in an account's Podman. Runs on Python 3.9 and later."""

from __future__ import annotations

import json
import os

from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import NOT_FOUND, run, tail
from ansible_collections.cloudlet.deploy.plugins.module_utils.idmaps import Refused
from ansible_collections.cloudlet.deploy.plugins.module_utils.podman import Podman

#: Podman's list of secrets below a home, unless storage.conf moved it.
_LIST = ".local/share/containers/storage/secrets/secrets.json"
#: Seconds that Podman may take for one of them.
_PATIENCE = 60


class Store(Podman):
    """The secrets that it has."""

    def __init__(self, account, run=run):
        super().__init__(account, run, _PATIENCE)

    def ids(self):
        """{name: id}; none where there is no account or no Podman yet."""
        if not self.exists:
            return {}
        try:
            with open(os.path.join(self._home, _LIST), encoding="utf-8") as text:
                return dict(json.load(text)["nameToID"])
        except (OSError, ValueError, KeyError, TypeError):
            done = self._podman("secret", "ls", "--format={{.ID}} {{.Name}}")
        if done.rc == NOT_FOUND:
            return {}
        self._succeeds(done, "listed")
        return {name: number for number, name in map(str.split, done.out.splitlines())}

    def make(self, name, content):
        """Make a secret that holds ``content`` (bytes); its id."""
        done = self._podman("secret", "create", name, "-", stdin=content)
        self._succeeds(done, "made: " + name)
        return done.out.split()[-1]

    def drop(self, number):
        """Remove the secret that has this id."""
        self._succeeds(self._podman("secret", "rm", number), "removed")

    def _succeeds(self, done, what):
        if done.rc:
            raise Refused(
                "%s: secrets of the account %s cannot be %s: %s"
                % (os.uname().nodename, self.account, what, tail(done)),
                "Is Podman installed before? 'podman secret ls' as %s tells more." % self.account,
            )


def self_signed(host):
    """A new key and its certificate for ``host``, in PEM. Raises Refused."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "-"]
    names = ["-subj", "/CN=" + host, "-addext", "subjectAltName=DNS:" + host]
    argv = ["openssl", "req", "-x509", "-days", "3650", *names, *key, "-out", "-"]
    done = run(argv, timeout=_PATIENCE)
    if done.rc:
        raise Refused(
            "%s: openssl makes no certificate for %s: %s" % (os.uname().nodename, host, tail(done)),
            "Install openssl before this task, or see what it says by hand.",
        )
    return done.out
