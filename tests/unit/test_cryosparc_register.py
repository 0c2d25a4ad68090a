"""Users are made once, and a worker is connected when it must be; both by the vendor's words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import Result
from ansible_collections.cloudlet.deploy.plugins.module_utils.idmaps import Refused
from ansible_collections.cloudlet.deploy.plugins.modules import cryosparc_register as register

NAME = "c.example.org"
ANN = {"email": "ann@example.org", "username": "ann", "first_name": "Ann", "last_name": "A",
       "password": "quiet-please"}  # fmt: skip
BOB = {**ANN, "email": "bob@example.org", "username": "bob", "first_name": "Bob"}
LANE = ["--lane", "default", "--nossd", "--no-gpu"]


class Master:
    """A master that answers, with all that it was told."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.users: list[str] = []
        self.workers: list[str] = []
        self.told: list[list[str]] = []
        self.secrets: list[tuple[str, ...]] = []
        self.away = False
        program = home / "cryosparc_master" / "bin" / "cryosparcm"
        program.parent.mkdir(parents=True)
        program.touch()

    def __call__(self, account: str) -> Master:
        assert account == "cryosparc"
        return self

    def checked(
        self, what: str, program: str, *words: str, secrets: tuple[str, ...] = (), **_: Any
    ) -> Result:
        if self.away:
            raise Refused(f"{what} failed: no answer", "Start it.")
        told = [Path(program).name, *words]
        if told[1:] in (["user", "list"], ["listusers"]):
            return Result(0, "\n".join(f"| {email} | someone |" for email in self.users), "")
        if told[1:] == ["worker", "list"]:
            return Result(0, "\n".join(f"{worker}\tdefault" for worker in self.workers), "")
        self.told.append(told)
        self.secrets.append(secrets)
        if "--email" in words:
            self.users.append(words[words.index("--email") + 1])
        else:
            self.workers = [NAME]
        return Result(0, "", "")

    def register(self, **changes: Any) -> register.Register:
        options = {
            "directory": str(self.home),
            "version": "v5.0.1",
            "account": "cryosparc",
            "hostname": NAME,
            "port": 61000,
            "users": [ANN],
            "worker": LANE,
            "state_dir": str(self.home / "state"),
            **changes,
        }
        return register.Register(options, self)


@pytest.fixture
def master(tmp_path: Path) -> Master:
    return Master(tmp_path)


def _words(result: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(change["kind"], change["name"], change["action"]) for change in result["changes"]]


def test_first_and_never_again(master: Master) -> None:
    planned = master.register().act(check=True)
    done = master.register().act(check=False)
    assert planned["changes"] == done["changes"]
    assert _words(done) == [
        ("cryosparc-user", "ann@example.org", "create"),
        ("cryosparc-worker", NAME, "connect"),
    ]
    user, worker = master.told
    assert user[:3] == ["cryosparcm", "user", "create"]
    assert "quiet-please" not in " ".join(user)
    assert master.secrets[0] == ("--password", "quiet-please")
    assert worker == ["cryosparcw", "connect", "--worker", NAME, "--master", NAME, "--port",
                      "61000", *LANE]  # fmt: skip
    assert "quiet-please" not in str(done)
    assert master.register().act(check=False)["changes"] == []
    changed = {**ANN, "password": "another", "first_name": "Anna"}
    assert master.register(users=[changed]).act(check=False)["changes"] == []


def test_a_user_who_comes_later(master: Master) -> None:
    master.register().act(check=False)
    done = master.register(users=[ANN, BOB]).act(check=False)
    assert _words(done) == [("cryosparc-user", "bob@example.org", "create")]


def test_part_of_another_users_address_is_not_that_user(master: Master) -> None:
    master.users = ["joann@example.org", "ann@example.org.uk"]
    assert _words(master.register(worker=None).act(check=True)) == [
        ("cryosparc-user", "ann@example.org", "create")
    ]


def test_version_4_has_other_words(master: Master) -> None:
    master.register(version="v4.7.1", worker=None).act(check=False)
    assert master.told[0][:2] == ["cryosparcm", "createuser"]


def test_a_worker_that_is_to_be_other(master: Master) -> None:
    master.register().act(check=False)
    lane = ["--lane", "fast", "--gpus", "0,1"]
    done = master.register(worker=lane).act(check=False)
    assert _words(done) == [("cryosparc-worker", NAME, "change")]
    assert master.told[-1][-2:] == ["--update", "--newlane"]


def test_without_a_worker_none_is_asked_for(master: Master) -> None:
    assert _words(master.register(worker=None).act(check=False)) == [
        ("cryosparc-user", "ann@example.org", "create")
    ]


def test_a_plan_without_a_master_knows_whom_the_ledger_has(master: Master) -> None:
    master.away = True
    assert len(master.register().act(check=True)["changes"]) == 2
    with pytest.raises(Refused, match="no answer"):
        master.register().act(check=False)
    master.away = False
    master.register().act(check=False)
    master.away = True
    assert master.register().act(check=True)["changes"] == []


@pytest.mark.parametrize(
    ("users", "told"),
    [
        ([ANN, {**BOB, "email": ANN["email"]}], "ann@example.org is there twice"),
        ([ANN, {**BOB, "username": "ann"}], "username ann is there twice"),
        ([{**ANN, "password": ""}], "empty"),
        ([{**ANN, "password": "two\nlines"}], "several lines"),
    ],
)
def test_users_that_cannot_be(users: list[dict[str, str]], told: str) -> None:
    with pytest.raises(Refused, match=told) as refused:
        register.refuse_wrong(users)
    assert "lines\n" not in str(refused.value)
