"""``portal_people``: who agrees in all places is in, the rest is out, at once."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import (
    portal_files,
    portal_people,
    portal_who,
)
from portal_campus import BOTH, KEEP, NOW, URI, Campus, mapped


@pytest.fixture
def campus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Campus:
    return Campus(tmp_path, monkeypatch)


def apaches_time(second: float) -> str:
    """What Apache's ``%{TIME}`` is at a second of the epoch."""
    return f"{datetime.fromtimestamp(second):%Y%m%d%H%M%S}"


BOB = {"bob@campus.test": "bob"}


def test_the_files(campus: Campus, capsys: pytest.CaptureFixture[str]) -> None:
    assert campus.run() == 0
    out, err = capsys.readouterr()
    assert (
        out == "2 people, 2 gates: wrote people, gate-groups, gate-until, passwd, group, shadow\n"
    )
    assert err == "left out: spare: the host has no group nobody-has-it\n"
    assert campus.text("people") == (
        f"portal-people 1 valid until {NOW + KEEP * 60}\n"
        "alice%40campus.test alice 123456\n"
        "bob%40campus.test bob 123457\n"
    )
    assert campus.text("gate-groups") == 'spare:\ntitan: "alice@campus.test"\n'
    assert campus.text("gate-until") == apaches_time(NOW + KEEP * 60)
    assert campus.text("passwd") == (
        "alice:x:123456:123400::/home/alice:/bin/bash\nbob:x:123457:123400::/home/bob:/bin/bash\n"
    )
    # Neither a group of the system nor one that is not delegated.
    assert campus.text("group") == "staff:x:123400:\ninstr:x:150001:alice\n"
    assert campus.text("shadow") == "alice:*:1::::::\nbob:*:1::::::\n"
    modes = {name: campus.path(name).stat().st_mode & 0o7777 for name in portal_files.NAMES}
    assert modes.pop("shadow") == 0o640
    assert set(modes.values()) == {0o644}
    assert campus.told_to_cut() == []


def test_a_run_that_changes_nothing_writes_nothing(
    campus: Campus, capsys: pytest.CaptureFixture[str]
) -> None:
    campus.run()
    before = campus.everything()
    capsys.readouterr()
    campus.now += KEEP * 60 * 0.09
    assert campus.run() == 0
    assert capsys.readouterr().out == "2 people, 2 gates: unchanged\n"
    assert campus.everything() == before


@pytest.mark.parametrize("step", [KEEP * 60 * 0.11, KEEP * 60 * 3.0, -3600.0])
def test_the_date_is_renewed_in_time_and_after_a_clock_that_was_wrong(
    campus: Campus, step: float
) -> None:
    campus.run()
    campus.now += step
    assert campus.run() == 0
    assert portal_files.valid_until(campus.text("people")) == int(campus.now) + KEEP * 60
    assert campus.text("gate-until") == apaches_time(int(campus.now) + KEEP * 60)
    assert campus.told_to_cut() == []


def test_what_another_hand_changed_is_put_right(campus: Campus) -> None:
    campus.run()
    before = {name: state[1:] for name, state in campus.everything().items()}
    campus.path("shadow").chmod(0o644)
    campus.path("group").write_bytes(campus.path("group").read_bytes().replace(b"\n", b"\r\n"))
    campus.path("passwd").unlink()
    assert campus.run() == 0
    assert {name: state[1:] for name, state in campus.everything().items()} == before


def _alice(campus: Campus, **changes: Any) -> None:
    campus.ldap.entries["uid=alice,dc=x"].update(changes)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda c: c.config.update(approved=["bob"]), ""),
        (lambda c: c.config.update(approved=["bob", "root", "0x0"]), "root: no valid name"),
        (lambda c: c.config.update(approved=["bob", "alice\n"]), "alice\\n: no valid name"),
        (lambda c: c.accounts.pop("alice"), "alice: the host has no such account"),
        (lambda c: c.accounts.update(alice=(999, 123400)), "the uid 999 is not a person's"),
        (lambda c: c.accounts.update(alice=(65534, 123400)), "the uid 65534 is not"),
        (lambda c: c.accounts.update(alice=(123456, 123401)), "group 123401 is not delegated"),
        (lambda c: c.config.update(minimum_uid=123457), "the uid 123456 is not"),
        (lambda c: c.ldap.entries.pop("uid=alice,dc=x"), "alice: LDAP has 0 entries"),
        (lambda c: c.ldap.add("alice", "a@x", dn="uid=alice,ou=old"), "alice: LDAP has 2 entries"),
        (lambda c: _alice(c, UID=[b"Alice"]), "alice: LDAP has 0 entries"),
        (lambda c: _alice(c, mail=[]), "alice: its LDAP entry has no mail"),
        (lambda c: _alice(c, mail=[b"\xff"]), "alice: its LDAP entry has a malformed mail"),
        (lambda c: _alice(c, mail=[b"a\nb"]), "has a malformed mail"),
        (lambda c: _alice(c, mail=[b"\xc2\x85"]), "has a malformed mail"),
        (lambda c: _alice(c, mail=[b"a" * 1025]), "has a malformed mail"),
        (lambda c: c.ldap.add("eve", "alice@campus.test"), "others have the claim"),
    ],
)
def test_who_does_not_agree_everywhere_is_out(
    campus: Campus, capsys: pytest.CaptureFixture[str], change: Any, told: str
) -> None:
    campus.run()
    assert mapped(campus) == BOTH
    capsys.readouterr()
    change(campus)
    assert campus.run() == 0
    assert mapped(campus) == BOB
    assert campus.text("gate-groups") == "spare:\ntitan:\n"
    assert "alice" not in campus.text("passwd") + campus.text("group") + campus.text("shadow")
    assert told in capsys.readouterr().err
    assert campus.told_to_cut()[0] == "pod --account alice --gates"


def test_a_name_that_means_another_to_the_host_is_out(
    campus: Campus, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = SimpleNamespace(pw_name="ALICE", pw_uid=123456, pw_gid=123400, pw_dir="/home/alice")
    monkeypatch.setattr(portal_who, "pwd", SimpleNamespace(getpwnam=lambda _name: entry))
    campus.run()
    assert mapped(campus) == {}


@pytest.mark.parametrize("home", ["/home/a:b", "/home/a\nroot:x:0:0", "home"])
def test_a_home_that_would_make_another_entry_is_none(
    campus: Campus, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    entry = SimpleNamespace(pw_name="alice", pw_uid=123456, pw_gid=123400, pw_dir=home)
    monkeypatch.setattr(portal_who, "pwd", SimpleNamespace(getpwnam=lambda _name: entry))
    campus.config["approved"] = ["alice"]
    assert campus.run() == 0
    assert campus.text("passwd") == "" and mapped(campus) == {}


def test_a_claim_of_two_is_neithers(campus: Campus, capsys: pytest.CaptureFixture[str]) -> None:
    _alice(campus, mail=[b"alice@campus.test", b"lab@campus.test"])
    campus.ldap.add("bob", "lab@campus.test", "bob@campus.test")
    assert campus.run() == 0
    assert mapped(campus) == BOTH
    said = capsys.readouterr().err
    assert "alice: others have the claim 'lab@campus.test', too" in said
    assert "bob: others have the claim 'lab@campus.test', too" in said


def test_one_entry_for_two_accounts_lets_neither_in(campus: Campus) -> None:
    del campus.ldap.entries["uid=bob,dc=x"]
    _alice(campus, UID=[b"alice", b"bob"])
    assert campus.run() == 0
    assert mapped(campus) == {}


def test_values_break_out_of_no_filter(campus: Campus) -> None:
    _alice(campus, mail=[b"*)(mail=*", b"a\\b"])
    assert campus.run() == 0
    assert set(mapped(campus)) == {"*)(mail=*", "a\\b", "bob@campus.test"}


def test_many_are_asked_for_in_parts(campus: Campus) -> None:
    names = [f"p{number}" for number in range(230)]
    campus.config["approved"] = names
    for number, name in enumerate(names):
        campus.accounts[name], campus.members[name] = (200000 + number, 123400), []
        campus.ldap.add(name, f"{name}@campus.test")
    assert campus.run() == 0
    assert len(mapped(campus)) == 230
    assert len(campus.ldap.filters) == 6


@pytest.mark.parametrize("start_tls", [False, True])
def test_no_word_is_said_without_a_verified_certificate(campus: Campus, start_tls: bool) -> None:
    if start_tls:
        campus.config["ldap"].update(uri="ldap://ldap.campus.test", start_tls=True)
    assert campus.run() == 0
    steps = campus.ldap.done
    before = steps[: steps.index(("bind", "cn=portal", "no secret"))]
    options = [step[1:] for step in before if step[0] == "set_option"]
    assert ("OPT_X_TLS_REQUIRE_CERT", "OPT_X_TLS_DEMAND") in options
    assert ("OPT_X_TLS_CACERTFILE", "/ca.pem") in options
    assert {("OPT_NETWORK_TIMEOUT", 5), ("OPT_TIMEOUT", 5)} < set(options)
    assert options[-1] == ("OPT_X_TLS_NEWCTX", 0), "what was set before it holds"
    assert (before[-1] == ("start_tls",)) == start_tls
    assert os.environ["LDAPNOINIT"] == "1"
    assert steps[-1] == ("unbind",)


# ---- LDAP away --------------------------------------------------------------------------------

STEPS = ["initialize", "bind", "search"]


@pytest.mark.parametrize("step", STEPS)
def test_while_ldap_is_away_all_stays_until_it_is_out_of_date(
    campus: Campus, capsys: pytest.CaptureFixture[str], step: str
) -> None:
    campus.run()
    before = campus.everything()
    capsys.readouterr()
    campus.ldap.broken = step
    campus.config["approved"] = ["bob"]
    campus.now += KEEP * 60 - 1
    assert campus.run() == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(
        f"portal-people: {URI}: Can't contact LDAP server: refused; people stays valid until 2025-"
    )
    assert said.err.count("\n") == 1
    assert campus.everything() == before
    assert campus.told_to_cut() == []
    campus.now += 1
    for _ in range(2):
        assert campus.run() == 1
        assert "people is out of date, so nobody is in" in capsys.readouterr().err
        assert mapped(campus) == {}
        assert campus.text("gate-groups") == "spare:\ntitan:\n"
        assert campus.text("passwd") == campus.text("group") == campus.text("shadow") == ""
    assert campus.told_to_cut() == ["pod --account alice --account bob --gates", "alice", "bob"]
    campus.ldap.broken = ""
    assert campus.run() == 0
    assert mapped(campus) == BOB


def test_a_server_that_says_nothing_is_not_waited_for(
    campus: Campus, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(portal_who, "_STEPS", 0.1)
    campus.ldap.silent = {URI}
    assert campus.run() == 1
    assert f"{URI}: no answer in 0.5 s" in capsys.readouterr().err
    campus.config["ldap"]["uri"] = f"{URI} ldaps://second.campus.test"
    assert campus.run() == 0
    assert mapped(campus) == BOTH


def test_all_servers_are_told_of_when_none_answers(
    campus: Campus, capsys: pytest.CaptureFixture[str]
) -> None:
    campus.config["ldap"]["uri"] = "ldaps://one ldaps://two"
    campus.ldap.broken = "bind"
    assert campus.run() == 1
    said = capsys.readouterr().err
    assert "ldaps://one: Can't contact LDAP server: refused; ldaps://two: Can't" in said


def test_the_first_run_without_ldap_lets_nobody_in(campus: Campus) -> None:
    campus.ldap.broken = "bind"
    assert campus.run() == 1
    assert mapped(campus) == {} and campus.text("gate-groups") == "spare:\ntitan:\n"
    assert campus.told_to_cut() == []


def test_an_answer_with_nobody_is_an_answer(campus: Campus) -> None:
    campus.run()
    campus.ldap.entries.clear()
    assert campus.run() == 0
    assert mapped(campus) == {}
    assert campus.told_to_cut() == ["pod --account alice --account bob --gates", "alice", "bob"]


def test_python_without_ldap_is_told(
    campus: Campus, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ldap", None)
    assert campus.run() == 1
    assert "Install python3-ldap." in capsys.readouterr().err


# ---- who lost something -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "cut"),
    [
        (lambda c: c.members.update(alice=["users", "secret"]), "pod --account alice --gates"),
        (lambda c: c.config.update(delegated_gids=[[123400, 1]]), "pod --account alice"),
        (lambda c: c.accounts.update(bob=(123457, 150001)), "pod --account bob"),
        (lambda c: c.accounts.update(bob=(123459, 123400)), "pod --account bob"),
        (lambda c: c.ldap.add("bob", "bob@elsewhere.test"), "pod --account bob"),
        (lambda c: c.config.update(instruments={}), "pod --gates"),
        (lambda c: c.members.update(bob=["instr"]), None),
        (lambda c: c.config.update(approved=["alice", "bob", "carol"]), None),
        (lambda c: c.ldap.add("bob", "bob@campus.test", "bob@elsewhere.test"), None),
        (lambda c: c.config.update(shell="/bin/sh"), None),
    ],
)
def test_who_lost_something_is_cut_and_nobody_else(
    campus: Campus, change: Any, cut: str | None
) -> None:
    campus.run()
    change(campus)
    assert campus.run() == 0
    assert campus.told_to_cut()[:1] == ([cut] if cut else [])
    assert campus.run() == 0
    assert campus.told_to_cut() == []


def test_a_cut_that_failed_is_tried_again_also_without_ldap(
    campus: Campus, capsys: pytest.CaptureFixture[str]
) -> None:
    campus.run()
    capsys.readouterr()
    campus.config["approved"] = ["bob"]
    campus.status.write_text("125")
    for broken in ("", "", "bind"):
        campus.ldap.broken = broken
        assert campus.run() == 1
        said = capsys.readouterr()
        assert "pod --account alice --gates': no pod. " in said.err
        assert (URI in said.err, "Is the pod running?" in said.err) == (bool(broken), not broken)
        # Nobody is mapped to it, but the pod can tell whose processes are to end.
        assert mapped(campus) == BOB
        assert campus.told_to_cut() == ["pod --account alice --gates", "bob", "alice"]
        assert campus.path("people").with_name(".cut-pending").stat().st_mode & 0o777 == 0o600
    assert campus.run("--check") == 1
    campus.ldap.broken = ""
    assert campus.run("--check") == 2
    assert "still to be cut: alice\nstill to be cut: gates\n" in capsys.readouterr().out
    campus.status.unlink()
    assert campus.run() == 0
    assert capsys.readouterr().out == "1 person, 2 gates: unchanged; cut alice, gates\n"
    assert campus.text("passwd").startswith("bob:") and "alice" not in campus.text("passwd")
    assert not campus.site.joinpath(".cut-pending").exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"accounts": 1, "gates": false}'])
def test_a_note_that_cannot_be_read_means_everybody(campus: Campus, text: str) -> None:
    campus.run()
    campus.site.joinpath(".cut-pending").write_text(text)
    assert campus.run() == 0
    assert campus.told_to_cut()[0] == "pod --account alice --account bob --gates"


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


@pytest.mark.parametrize("at", range(8))
def test_a_run_killed_anywhere_is_finished_by_the_next(
    campus: Campus, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    campus.run()
    campus.config["approved"] = ["bob"]
    real, writes = portal_people.write, iter(range(100))

    def killed(file: Any) -> None:
        if next(writes) == at:
            raise Killed
        real(file)

    with monkeypatch.context() as patch:
        patch.setattr(portal_people, "write", killed)
        if at < 7:  # the note, five files, and passwd without the account
            with pytest.raises(Killed):
                campus.run()
        else:
            assert campus.run() == 0
    assert campus.run() == 0
    assert mapped(campus) == BOB
    assert "pod --account alice --gates" in campus.told_to_cut()
    assert "alice" not in campus.text("passwd")
    assert set(campus.everything()) == set(portal_files.NAMES)


def test_a_disk_that_is_full_is_an_error_in_words(
    campus: Campus, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(file: Any) -> None:
        raise OSError(28, "No space left on device", file.path)

    monkeypatch.setattr(portal_people, "write", full)
    assert campus.run() == 1
    said = capsys.readouterr().err
    assert "No space left" in said and "people" in said and "next run" in said
