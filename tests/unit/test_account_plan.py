"""``account_set`` against a host whose accounts are kept in memory."""

from __future__ import annotations

import grp
import pwd
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import accounts
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import Result
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import Ledger
from ansible_collections.cloudlet.deploy.plugins.modules import account_set

BEFORE = {"home": "/home/alice", "shell": "/bin/bash", "comment": "Alice A."}


class MiniHost(accounts.Host):
    """Accounts and groups; called with an argv it does what shadow-utils would."""

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir
        self.users: dict[str, dict[str, Any]] = {
            "alice": {"uid": 1000, "gid": 1000, **BEFORE},
            "ldap": {"uid": 9000, "gid": 1000, "home": "/h", "shell": "/bin/sh", "comment": ""},
        }
        self.groups: dict[str, dict[str, Any]] = {
            "alice": {"gid": 1000, "members": []},
            "grid": {"gid": 2000, "members": []},
            "nogroup": {"gid": 65534, "members": []},
        }
        self.local = {"alice"}
        self.calls: list[list[str]] = []
        self.ledger_at_call: list[dict[str, Any]] = []
        self.failing = ""
        self.busy = 0

    def account(self, name: str) -> Any:
        user = self.users.get(name)
        if user is None:
            return None
        return pwd.struct_passwd(
            (name, "x", user["uid"], user["gid"], user["comment"], user["home"], user["shell"])
        )

    def account_of(self, uid: int) -> Any:
        return next((self.account(n) for n, u in self.users.items() if u["uid"] == uid), None)

    def group(self, name: str) -> Any:
        group = self.groups.get(name)
        return group and grp.struct_group((name, "x", group["gid"], group["members"]))

    def group_of(self, gid: int) -> Any:
        return next((self.group(n) for n, g in self.groups.items() if g["gid"] == gid), None)

    def accounts(self) -> list[Any]:
        return [self.account(name) for name in self.users]

    def is_local(self, name: str, path: str = "") -> bool:
        return name in self.local

    def exists(self, path: str) -> bool:
        return Path(path).exists()

    def __call__(self, argv: list[str]) -> Result:
        self.calls.append(argv)
        self.ledger_at_call.append(Ledger(str(self.state_dir)).entries)
        if argv[0] == self.failing:
            return Result(9, "", f"{argv[0]}: cannot lock /etc/passwd; try again later.")
        rc = getattr(self, f"_{argv[0]}")(argv[-1], self._options(argv[1:-1]))
        return Result(rc or 0, "", "busy" if rc else "")

    @staticmethod
    def _options(args: list[str]) -> dict[str, str]:
        flags = ("-r", "-m", "-M", "-a")
        options = {flag: "" for flag in args if flag in flags}
        rest = iter(arg for arg in args if arg not in flags)
        return options | dict(zip(rest, rest, strict=True))

    def _groupadd(self, name: str, options: dict[str, str]) -> None:
        self.groups[name] = {"gid": int(options.get("-g", 990)), "members": []}

    def _useradd(self, name: str, options: dict[str, str]) -> None:
        self.users[name] = {
            "uid": int(options.get("-u", 990)),
            "gid": self.groups[options["-g"]]["gid"],
            "home": options.get("-d", f"/home/{name}"),
            "shell": options.get("-s", "/bin/sh"),
            "comment": options.get("-c", ""),
        }
        self.local.add(name)
        self._join(name, options.get("-G", ""))
        if "-m" in options:
            Path(self.users[name]["home"]).mkdir()

    def _join(self, name: str, groups: str) -> None:
        for group in filter(None, groups.split(",")):
            self.groups[group]["members"].append(name)

    def _usermod(self, name: str, options: dict[str, str]) -> None:
        assert ("-G" in options) == ("-a" in options)
        self._join(name, options.get("-G", ""))
        for option, key in (("-d", "home"), ("-s", "shell"), ("-c", "comment")):
            if option in options:
                self.users[name][key] = options[option]
        if "-g" in options:
            wanted = options["-g"]
            gid = int(wanted) if wanted.isdigit() else self.groups[wanted]["gid"]
            self.users[name]["gid"] = gid

    def _gpasswd(self, group: str, options: dict[str, str]) -> None:
        self.groups[group]["members"].remove(options["-d"])

    def _userdel(self, name: str, options: dict[str, str]) -> int:
        if self.busy:
            self.busy -= 1
            return 8
        gone = self.users.pop(name)
        for group in self.groups.values():
            group["members"] = [m for m in group["members"] if m != name]
        # As USERGROUPS_ENAB does.
        if name in self.groups and self.groups[name]["gid"] == gone["gid"]:
            del self.groups[name]
        return 0

    def _groupdel(self, name: str, options: dict[str, str]) -> None:
        del self.groups[name]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MiniHost:
    monkeypatch.setattr(account_set.time, "sleep", lambda seconds: None)
    return MiniHost(tmp_path / "state")


def component(host: MiniHost, name: str = "se", check: bool = False) -> account_set.AccountSet:
    return account_set.AccountSet(name, str(host.state_dir), host, host, check)


def entries(host: MiniHost) -> dict[str, Any]:
    return Ledger(str(host.state_dir)).entries


GROUPS = [{"name": "bestman", "gid": None, "system": True}]
DOOR = {
    "name": "bestman", "uid": None, "group": "bestman", "groups": ["grid"], "system": True,
    "home": "/etc/bestman2", "shell": "/usr/sbin/nologin", "comment": "SRM door",
    "create_home": False,
}  # fmt: skip


def test_group_and_account_are_made_with_the_ledger_first(host: MiniHost) -> None:
    planned = component(host, check=True).present(GROUPS, [DOOR])
    assert host.calls == [] and not host.state_dir.exists()
    done = component(host).present(GROUPS, [DOOR])
    assert planned == done
    assert [(c["kind"], c["action"]) for c in done["changes"]] == [
        ("group", "create"),
        ("account", "create"),
    ]
    assert host.calls == [
        ["groupadd", "-r", "bestman"],
        ["useradd", "-r", "-g", "bestman", "-G", "grid", "-d", "/etc/bestman2",
         "-s", "/usr/sbin/nologin", "-c", "SRM door", "-M", "bestman"],
    ]  # fmt: skip
    assert sorted(host.ledger_at_call[0]) == ["account:bestman", "group:bestman"]
    assert component(host).present(GROUPS, [DOOR])["changes"] == []
    assert len(host.calls) == 2


def test_absent_removes_what_was_made_and_nothing_else(host: MiniHost) -> None:
    before = (repr(host.users), repr(host.groups))
    component(host).present(GROUPS, [DOOR, {"name": "alice"}])
    planned = component(host, check=True).absent()
    done = component(host).absent()
    assert planned == done
    assert [(c["kind"], c["name"], c["action"]) for c in done["changes"]] == [
        ("account", "bestman", "remove"),
        ("group", "bestman", "remove"),
    ]
    assert (repr(host.users), repr(host.groups)) == before
    assert entries(host) == {} and component(host).absent()["changes"] == []


def test_found_account_is_changed_and_restored(host: MiniHost) -> None:
    wanted = {"name": "alice", "shell": "/bin/zsh", "groups": ["grid"], "comment": ""}
    planned = component(host, check=True).present([], [wanted])
    done = component(host).present([], [wanted])
    assert planned == done
    assert done["changes"][0]["detail"] == "shell /bin/zsh, was /bin/bash; joins grid"
    # Another attribute later: the first before-values stay.
    component(host).present([], [{**wanted, "home": "/data/alice", "shell": "/bin/fish"}])
    assert entries(host)["account:alice"]["before"] == {
        "shell": "/bin/bash", "home": "/home/alice", "joined": ["grid"]
    }  # fmt: skip
    assert component(host, check=True).absent() == component(host).absent()
    assert {k: host.users["alice"][k] for k in BEFORE} == BEFORE
    assert host.groups["grid"]["members"] == [] and entries(host) == {}


def test_attribute_that_nobody_asked_for_stays(host: MiniHost) -> None:
    assert component(host).present([], [{"name": "alice", "uid": 1000}])["changes"] == []
    assert entries(host) == {}


def test_account_without_group_gets_one_of_its_name(host: MiniHost) -> None:
    done = component(host).present([], [{"name": "carol", "uid": 5001}])
    assert [(c["kind"], c["detail"]) for c in done["changes"]] == [
        ("group", ""),
        ("account", "uid 5001"),
    ]
    component(host).absent()
    assert "carol" not in host.users and "carol" not in host.groups


def test_group_that_was_there_survives_userdel(host: MiniHost) -> None:
    component(host).present([], [{"name": "grid", "group": "grid"}])
    component(host).absent()
    assert "grid" not in host.users and host.groups["grid"]["gid"] == 2000


def test_group_that_others_use_stays(host: MiniHost) -> None:
    component(host).present(GROUPS, [DOOR])
    host.users["mallory"] = {**host.users["alice"], "uid": 7, "gid": 990}
    # userdel refuses to take a group that is another's primary one.
    host._userdel = lambda name, options: host.users.pop(name) and 0  # type: ignore[method-assign]
    result = component(host).absent()
    assert result["kept"] == ["bestman"] and "bestman" in host.groups
    assert [c["kind"] for c in result["changes"]] == ["account"]


def test_account_of_two_components_goes_with_the_last(host: MiniHost) -> None:
    component(host, "one").present(GROUPS, [DOOR])
    assert component(host, "two").present(GROUPS, [DOOR])["changed"] is False
    assert component(host, "one").absent()["changes"] == []
    assert "bestman" in host.users
    assert len(component(host, "two").absent()["changes"]) == 2


@pytest.mark.parametrize(
    ("groups", "users", "words"),
    [
        ([], [{"name": "alice", "uid": 4}], r"alice has the uid 1000 .* 4 is wanted"),
        ([], [{"name": "x", "uid": 1000}], r"x wants the uid 1000, which account alice has"),
        ([], [{"name": "x", "uid": 7}, {"name": "y", "uid": 7}], "which account y has"),
        ([{"name": "grid", "gid": 3}], [], r"grid has the gid 2000 .* 3 is wanted"),
        ([{"name": "x", "gid": 2000}], [], "x wants the gid 2000, which group grid has"),
        ([{"name": "x", "gid": 7}, {"name": "y", "gid": 7}], [], "which group y has"),
        ([], [{"name": "x", "group": "nix"}], "x wants the group nix, which is not on"),
        ([], [{"name": "x", "groups": ["nix"]}], "x wants the group nix, which is not on"),
        ([], [{"name": "ldap", "shell": "/bin/x"}], "ldap comes from a directory service, .*shell"),
    ],
)
@pytest.mark.parametrize("check", [True, False])
def test_clash_is_refused_before_anything_is_done(
    host: MiniHost, groups: Any, users: Any, words: str, check: bool
) -> None:
    with pytest.raises(accounts.AccountError, match=words):
        component(host, check=check).present([{"name": "new"}, *groups], users)
    assert host.calls == [] and entries(host) == {}


def test_failed_command_claims_nothing(host: MiniHost) -> None:
    host.failing = "useradd"
    with pytest.raises(accounts.AccountError, match=r"useradd .*bestman' failed: .*cannot lock"):
        component(host).present(GROUPS, [DOOR])
    assert sorted(entries(host)) == ["group:bestman"]


def test_busy_account_is_tried_again(host: MiniHost) -> None:
    component(host).present(GROUPS, [DOOR])
    host.busy = 3
    component(host).absent()
    assert "bestman" not in host.users


def test_home_without_content_goes(host: MiniHost, tmp_path: Path) -> None:
    home = tmp_path / "home"
    carol = {"name": "carol", "home": str(home), "create_home": True}
    component(host).present([], [carol])
    assert home.is_dir()
    assert component(host).absent()["kept"] == []
    assert not home.exists()


def test_home_with_content_stays(host: MiniHost, tmp_path: Path) -> None:
    home = tmp_path / "home"
    component(host).present([], [{"name": "carol", "home": str(home), "create_home": True}])
    (home / "thesis").write_text("years of work")
    assert component(host).absent()["kept"] == [str(home)]
    assert (home / "thesis").read_text() == "years of work"


def test_home_that_was_there_stays(host: MiniHost, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    host._useradd = lambda n, o: host.users.update({n: dict(host.users["alice"])})  # type: ignore
    component(host).present([], [{"name": "carol", "home": str(home), "create_home": True}])
    component(host).absent()
    assert home.is_dir()


def test_skeleton_is_told_from_content(tmp_path: Path) -> None:
    skeleton, home = tmp_path / "skel", tmp_path / "home"
    for base in (skeleton, home):
        (base / ".config").mkdir(parents=True)
        (base / ".config" / "a").write_text("same")
        (base / ".link").symlink_to(".config")
    assert accounts.only_skeleton(str(home), str(skeleton))
    (home / ".config" / "a").write_text("mine")
    assert not accounts.only_skeleton(str(home), str(skeleton))
    (home / ".config" / "a").write_text("same")
    (home / ".link").unlink()
    (home / ".link").symlink_to("elsewhere")
    assert not accounts.only_skeleton(str(home), str(skeleton))
