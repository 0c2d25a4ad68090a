"""``portal_files``: what is written is what Apache and the pod read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import (
    portal_files,
    portal_map,
    portal_who,
)
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_764_000_000
Person = portal_who.Person

CLAIMS = st.text(min_size=1, max_size=60).filter(
    lambda text: (
        not any(0xD800 <= ord(sign) < 0xE000 for sign in text)
        and portal_who.claim_of(text.encode("utf-8")) is not None
    )
)


@st.composite
def _people(draw: st.DrawFn) -> list[Any]:
    claims = draw(st.lists(CLAIMS, unique=True, max_size=12))
    people = []
    for number, claim in enumerate(claims):
        gids = (123400, *draw(st.sets(st.sampled_from([150001, 150002]))))
        mine = (claim,) if number % 3 else (claim, claim + "+2 %")
        people.append(Person(f"p{number}", 200000 + number, 123400, "/home/p", gids, mine))
    return people


@given(_people())
def test_the_pod_reads_what_is_written(people: list[Any]) -> None:
    text = f"{portal_files.HEADER}{NOW + 1}\n{portal_files.people_text(people)}"
    assert portal_map.parsed(text.encode("ascii"), NOW) == [
        (claim, person.account, person.uid) for person in people for claim in person.claims
    ]
    told = {claim for person in people for claim in person.claims}
    assert {portal_map.decoded(portal_files.escaped(claim)) for claim in told} == told


def _apache(text: str) -> dict[str, set[str]]:
    """{group: members} as Apache takes a group file, with its quoting, written anew."""
    groups: dict[str, set[str]] = {}
    for line in text.split("\n"):
        name, colon, rest = line.partition(":")
        if not colon or line.startswith("#"):
            continue
        assert len(line.encode()) < 8192 and not line.endswith("\\")
        members = groups.setdefault(name, set())
        while rest := rest.lstrip():
            assert rest[0] == '"'
            end = next(at for at in range(1, len(rest)) if rest[at] == '"' and rest[at - 1] != "\\")
            members.add(rest[1:end].replace('\\"', '"').replace("\\\\", "\\"))
            rest = rest[end + 1 :]
    return groups


@given(_people())
def test_a_gate_lets_its_members_in_and_nobody_else(people: list[Any]) -> None:
    gids = {"one": 150001, "two": 150002}
    instruments = {name: SimpleNamespace(group=name) for name in gids}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(portal_files, "grp", SimpleNamespace(
            getgrnam=lambda name: SimpleNamespace(gr_gid=gids[name])))  # fmt: skip
        text, notes = portal_files.gates_text(people, instruments)
    unsafe = 0
    expected: dict[str, set[str]] = {}
    for name, gid in gids.items():
        members = [claim for one in people if gid in one.gids for claim in one.claims]
        expected[name] = {claim for claim in members if '"' not in claim and "\\" not in claim}
        unsafe += len(members) - len(expected[name])
    assert _apache(text) == expected
    assert len(notes) == unsafe


def test_a_gate_with_many_members_has_lines_that_apache_reads() -> None:
    people = [Person(f"p{n}", 200000 + n, 123400, "/home/p", (0,), (f"p{n}@" + "ü" * 400,))
              for n in range(30)]  # fmt: skip
    text, notes = portal_files.gates_text(people, {"a": SimpleNamespace(group="root")})
    assert len(_apache(text)["a"]) == 30 and not notes


@given(_people())
def test_rights_are_read_back_from_the_files(people: list[Any]) -> None:
    config = SimpleNamespace(delegated_gids=[[123400, 1], [150001, 1]], shell="/bin/sh")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(portal_files, "grp", SimpleNamespace(
            getgrnam=lambda _name: SimpleNamespace(gr_gid=150002),
            getgrgid=lambda gid: SimpleNamespace(gr_name=f"g{gid}")))  # fmt: skip
        found = portal_files.rights({
            "people": portal_files.HEADER + "1\n" + portal_files.people_text(people),
            "passwd": portal_files.passwd_text(people, config),
            "group": portal_files.group_text(people, config),
            "gate-groups": portal_files.gates_text(people, {"x": SimpleNamespace(group="x")})[0],
        })  # fmt: skip
    for person in people:
        mine = {what for kind, who, what in found if (kind, who) == ("account", person.account)}
        assert mine == {
            f"uid {person.uid}", f"gid {person.gid}",
            *(f"claim {portal_files.escaped(claim)}" for claim in person.claims),
            *(f"group {gid}" for gid in person.gids if gid == 150001),
        }  # fmt: skip
        for claim in person.claims:
            safe = '"' not in claim and "\\" not in claim
            assert (("gate", "x", claim) in found) == (safe and 150002 in person.gids)
