"""Numeric ids of this host and the names that HDFS knows owners by."""

from __future__ import annotations

import grp
import pwd
import time
from collections.abc import Callable

#: What an owner is shown as whom this host does not know.
NOBODY = 65534
_KEPT_SECONDS = 30.0


class Names:
    """Looks accounts up, and remembers the answer for half a minute."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str | int], tuple[float, str | int]] = {}

    def uid(self, name: str) -> int:
        """The id that the owner ``name`` has here; a name of digits is the id itself."""
        return int(self._ask("uid", name, lambda: _number(name, lambda: pwd.getpwnam(name).pw_uid)))

    def gid(self, name: str) -> int:
        """The id that the group ``name`` has here."""
        return int(self._ask("gid", name, lambda: _number(name, lambda: grp.getgrnam(name).gr_gid)))

    def user(self, uid: int) -> str:
        """What HDFS is told of the account ``uid``."""
        return str(self._ask("user", uid, lambda: _name(uid, lambda: pwd.getpwuid(uid).pw_name)))

    def group(self, gid: int) -> str:
        """What HDFS is told of the group ``gid``."""
        return str(self._ask("group", gid, lambda: _name(gid, lambda: grp.getgrgid(gid).gr_name)))

    def _ask(self, kind: str, key: str | int, look: Callable[[], str | int]) -> str | int:
        now = time.monotonic()
        kept = self._kept.get((kind, key))
        if kept is None or now - kept[0] > _KEPT_SECONDS:
            kept = self._kept[(kind, key)] = (now, look())
        return kept[1]


def _number(name: str, look: Callable[[], int]) -> int:
    try:
        return look()
    except KeyError:
        return int(name) if name.isdigit() else NOBODY


def _name(number: int, look: Callable[[], str]) -> str:
    try:
        return look()
    except KeyError:
        return str(number)
