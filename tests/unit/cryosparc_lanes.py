"""A lane of an inventory, and a host with a CryoSPARC that a test may ask for all it was told."""

from __future__ import annotations

from typing import Any

from ansible_collections.cloudlet.deploy.plugins.filter import cryosparc_lane_plan
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import Result
from ansible_collections.cloudlet.deploy.plugins.module_utils.cryosparc_lane_probe import Master
from ansible_collections.cloudlet.deploy.plugins.module_utils.idmaps import Refused

LANE: dict[str, Any] = {
    "name": "gpu",
    "worker_bin_path": "/opt/cryosparc_worker/bin/cryosparcw",
    "project_directory": "/srv/projects",
}
REMOTE = {
    **LANE,
    "login": "cs@login.example.org",
    "key_file": "/keys/lane",
    "known_hosts": ["login.example.org ssh-ed25519 AAAA"],
}
MASTER = Master("master", "cs.example.org", 61000, "cs", 59461)


def planned(**lane: Any) -> dict[str, Any]:
    """What the lane ``LANE`` becomes, with other settings."""
    (found,) = cryosparc_lane_plan.lane_plan([{**LANE, **lane}], "/etc/lanes")
    return dict(found)


def argument(**lane: Any) -> dict[str, Any]:
    """The same as an argument of the module."""
    found = planned(**lane)
    kept = ("name", "directory", "info", "script", "project_directory", "timeout")
    return {**{key: found[key] for key in kept}, "settings": "as the key is"}


class FakeCryoSparc:
    """Has lanes by name; ``kills`` is the verb at which the run is killed."""

    account, master = "cs", "/opt/cryosparcm"

    def __init__(self) -> None:
        self.held: dict[str, str] = {}
        self.asked: list[str] = []
        self.away = False
        self.kills = ""

    def __call__(self, account: str, master: str) -> FakeCryoSparc:
        assert (account, master) == (self.account, self.master)
        return self

    def shell(self, text: str, *arguments: str, timeout: int = 0) -> Result:
        raise AssertionError("only a trial runs commands")

    def lanes(self) -> set[str]:
        if self.away:
            raise Refused("it is away", "start it")
        return set(self.held)

    def connect(self, directory: str) -> None:
        self._told("connect " + directory)
        self.held[directory.rpartition("/")[2]] = directory

    def remove(self, name: str) -> None:
        self._told("remove " + name)
        del self.held[name]

    def _told(self, what: str) -> None:
        if what.split(maxsplit=1)[0] == self.kills:
            raise KilledError
        self.asked.append(what)


class KilledError(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""
