"""Accounts and files of subordinate ids that exist in a test only."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from ansible_collections.cloudlet.deploy.plugins.module_utils import (
    subid_look,
    subid_people,
)
from ansible_collections.cloudlet.deploy.plugins.modules.subid_set import SubidSet

FOUND = b"# subordinate ids\nadmin:100000:65536\n\nnot a range\nbob:165536:65536\n"


class Account(NamedTuple):
    pw_name: str
    pw_uid: int
    pw_gid: int


class Group(NamedTuple):
    gr_name: str
    gr_gid: int


# What runs on hosts has no types, so mypy takes the base for Any.
class Village(subid_people.People):  # type: ignore[misc]
    """Few accounts, as a name service would tell them."""

    def __init__(self) -> None:
        self.host = "host1"
        self.least_uid = self.least_gid = 1000
        self.people: dict[str, tuple[int, list[int]]] = {
            "root": (0, [0]),
            "daemon": (1, [1]),
            "nobody": (65534, [65534]),
            "admin": (1000, [1000, 27]),
            "bob": (1001, [1001]),
            "alice": (323456, [323400, 250001, 101]),
            "carol": (323457, [323400]),
            "oodsvc": (989, [989]),
        }
        self.names = {0: "root", 27: "sudo", 101: "render", 998: "docker", 1001: "bob"}
        self.names |= {250001: "proj", 323400: "grid", 989: "oodsvc", 4000: "docker"}

    def account(self, name: str) -> Any:
        known = self.people.get(name)
        return known and Account(name, known[0], known[1][0])

    def account_of(self, uid: int) -> Any:
        return next((one for one in self.accounts() if one.pw_uid == uid), None)

    def accounts(self) -> Any:
        return [self.account(name) for name in self.people]

    def groups(self) -> Any:
        return [Group(name, gid) for gid, name in self.names.items()]

    def group_name(self, gid: int) -> str:
        return self.names.get(gid, "")

    def gids_of(self, entry: Any) -> list[int]:
        return self.people[entry.pw_name][1]


class Host:
    def __init__(self, base: Path) -> None:
        self.etc, self.state = base / "etc", base / "state"
        self.etc.mkdir()
        for name in ("subuid", "subgid"):
            (self.etc / name).write_bytes(FOUND)
        self.village = Village()
        self.trials: list[Any] = []

    def __call__(self, check: bool = False, component: str | None = "portal") -> SubidSet:
        place = subid_look.Place(str(self.etc), self.village)
        return SubidSet(component, place, str(self.state), check)

    def set(self, check: bool = False, **options: Any) -> dict[str, Any]:
        result: dict[str, Any] = self(check).present(wanted(**options))
        return result

    def told(self, result: dict[str, Any]) -> list[str]:
        assert {change["kind"] for change in result["changes"]} <= {"subid"}
        assert result["changed"] == bool(result["changes"])
        names = (c["name"].replace(f"{self.etc}/", "") for c in result["changes"])
        signs = {"create": "+", "remove": "-"}
        return [
            f"{signs[c['action']]}{name}"
            for c, name in zip(result["changes"], names, strict=True)
        ]  # fmt: skip

    def lines(self, name: str) -> list[str]:
        return (self.etc / name).read_text().splitlines()[5:]

    def everything(self) -> dict[str, bytes]:
        paths = [*self.etc.iterdir(), *(self.state.iterdir() if self.state.exists() else [])]
        return {path.name: path.read_bytes() for path in paths if not path.name.endswith("lock")}


def wanted(**options: Any) -> dict[str, Any]:
    plain = {"account": "oodsvc", "uid": 0, "gid": 0, "base_start": 0, "base_count": 65536}
    return {**plain, "users": [], "uids": [], "gids": [], "storage": None, **options}
