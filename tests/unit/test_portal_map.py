"""``portal_map``: a claim is an account, or nothing is printed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import portal_map
from ansible_collections.cloudlet.deploy.plugins.module_utils.portal_map import Refused
from hypothesis import assume, example, given
from hypothesis import strategies as st

NOW = 1_764_000_000
HEADER = f"portal-people 1 valid until {NOW + 60}\n"
ALICE = "alice%40campus.test alice 123456\n"
PEOPLE = (HEADER + ALICE).encode()
_UIDS = {"alice": 123456, "bob": 999, "nobody2": 65534, "Carl": 123457, "root": 123458}


def escape(claim: str | bytes) -> str:
    """As OOD's portal does it, written without a look at the program."""
    told = claim if isinstance(claim, bytes) else claim.encode("utf-8")
    plain = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-*_"
    return "".join(chr(b) if b in plain else "+" if b == 0x20 else f"%{b:02x}" for b in told)


def _getpwnam(name: str) -> SimpleNamespace:
    return SimpleNamespace(pw_name=name, pw_uid=_UIDS[name])


@pytest.fixture(autouse=True)
def pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portal_map, "pwd", SimpleNamespace(getpwnam=_getpwnam))


def _controls(claim: str) -> bool:
    return any(ord(sign) < 32 or 127 <= ord(sign) < 160 for sign in claim)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300))
@example("a b+c%2b'\"\\")
@example("ü\u2028\U0010ffff")
def test_what_the_portal_escapes_comes_back(claim: str) -> None:
    assume(len(claim.encode()) <= 1024)
    if _controls(claim):
        with pytest.raises(Refused, match="control"):
            portal_map.decoded(escape(claim))
    else:
        assert portal_map.decoded(escape(claim)) == claim


@given(st.text())
@example("%")
@example("%4")
@example("%4é")
def test_anything_else_is_refused_or_text(argument: str) -> None:
    try:
        claim = portal_map.decoded(argument)
    except Refused:
        return
    assert claim and not _controls(claim) and len(claim.encode()) <= 1024


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ("", "empty"),
        ("%4", "malformed"),
        ("%", "malformed"),
        ("a%zzb", "malformed"),
        ("%+1", "malformed"),
        ("a%4Ab", "malformed"),  # the portal's digits are lower-case
        ("%61lice%40campus.test", "never escaped"),
        ("a%20b", "never escaped"),
        ("a b", "always escaped"),
        ("a'b", "always escaped"),
        ("\N{LATIN SMALL LETTER E WITH ACUTE}", "always escaped"),
        ("a\n", "always escaped"),
        (escape(b"\xff"), "UTF-8"),
        (escape(b"\xc0\xaf"), "UTF-8"),  # an overlong slash
        (escape(b"\xed\xa0\x80"), "UTF-8"),  # a surrogate
        (escape("alice\nroot"), "control"),
        (escape("a\0"), "control"),
        (escape("a" * 1025), "too long"),
        (escape("ü" * 513), "too long"),
        ("a" * 10_000, "too long"),
    ],
)
def test_what_no_portal_says_is_refused(argument: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        portal_map.decoded(argument)


def test_it_is_decoded_once_and_up_to_its_length() -> None:
    assert portal_map.decoded("%2525") == "%25"
    assert portal_map.decoded(escape("ü" * 512)) == "ü" * 512


def test_a_claim_in_people_is_its_account() -> None:
    assert portal_map.account_of("alice@campus.test", PEOPLE, NOW) == "alice"
    for other in ("Alice@campus.test", "alice", "alice@campus.test ", "lice@campus.test", "%40"):
        with pytest.raises(Refused, match="not in people"):
            portal_map.account_of(other, PEOPLE, NOW)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "malformed"),
        ("\n", "malformed"),
        (HEADER[:-1], "malformed"),
        (ALICE, "malformed"),
        (HEADER.replace(" 1 ", " 2 ") + ALICE, "malformed"),
        (HEADER.replace(" until ", " until -") + ALICE, "malformed"),
        ("portal-people 1 valid until \n" + ALICE, "malformed"),
        (HEADER + ALICE[:-1], "malformed"),  # cut off, it might be another uid
        (HEADER + ALICE + "\n", "malformed"),
        (HEADER + ALICE.replace(" ", "\t"), "malformed"),
        (HEADER + ALICE + "eve%40x eve 1 2\n", "malformed"),
        (HEADER + ALICE + "eve%40x eve 0x1\n", "malformed"),
        (HEADER + ALICE + "e%zz eve 1234\n", "escape"),
        (HEADER + ALICE + "é eve 1234\n", "malformed"),
        (HEADER + ALICE + ALICE, "more than once"),
        (HEADER + ALICE + ALICE.replace("alice 123456", "bob 1234"), "more than once"),
        (HEADER + ALICE * 40_000, "malformed"),
        (HEADER.replace(str(NOW + 60), str(NOW)) + ALICE, "out of date"),
        (HEADER + ALICE.replace("123456", "123457"), "with the uid 123456, not 123457"),
        (HEADER + ALICE.replace("alice 123456", "bob 999"), "system account"),
        (HEADER + ALICE.replace("alice 123456", "nobody2 65534"), "system account"),
        (HEADER + ALICE.replace("alice 123456", "root 123458"), "no valid account"),
        (HEADER + ALICE.replace("alice 123456", "Carl 123457"), "no valid account"),
        (HEADER + ALICE.replace("alice 123456", "dora 123459"), "has no account"),
    ],
)
def test_people_that_are_not_right_map_nobody(text: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        portal_map.account_of("alice@campus.test", text.encode(), NOW)


def test_a_name_that_the_name_service_answers_with_another_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = SimpleNamespace(pw_name="Alice", pw_uid=123456)
    monkeypatch.setattr(portal_map, "pwd", SimpleNamespace(getpwnam=lambda _name: entry))
    with pytest.raises(Refused):
        portal_map.account_of("alice@campus.test", PEOPLE, NOW)


@pytest.mark.parametrize("name", ["alice", "_a", "a-b_9", "a" * 32, "e5", "in", "nano"])
def test_names_of_accounts(name: str) -> None:
    assert portal_map.is_account(name)


@pytest.mark.parametrize(
    "name",
    ["", "root", "0", "1000", "0x0", "0b1", "1e3", "inf", "infinity", "nan", "-a", "--help", "a b",
     "a\n", "A", "a.b", "a" * 33, "é", "$(id)", "a;b", "\N{ARABIC-INDIC DIGIT ONE}a"],
)  # fmt: skip
def test_what_is_no_account(name: str) -> None:
    assert not portal_map.is_account(name)


# ---- the program ------------------------------------------------------------------------------

Said = tuple[int, str, str]


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    told: list[str] = []
    monkeypatch.setattr(portal_map, "PEOPLE", str(tmp_path / "people"))
    monkeypatch.setattr(portal_map.time, "time", lambda: float(NOW))
    monkeypatch.setattr(portal_map.syslog, "syslog", lambda _level, text: told.append(text))
    (tmp_path / "people").write_bytes(PEOPLE)
    yield told
    assert all(line.isascii() and line.isprintable() and len(line) < 500 for line in told)


def test_a_person_is_printed_and_nothing_else(
    log: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert portal_map.main(["portal-map", "alice%40campus.test"]) == 0
    assert capfd.readouterr() == ("alice\n", "")
    assert log == []


HOSTILE = [
    "root", "0", "0x0", "--help", "-h", "$(id)", "`id`", "';id;'", '"', "alice\nroot", "a" * 10_240,
    b"\xff\xfe", "%40", "alice@campus.test\n", "\u202ealice", "../../etc/passwd", "123456", "%s%n",
]  # fmt: skip


@pytest.mark.parametrize("claim", HOSTILE)
@pytest.mark.parametrize("raw", [False, True])
def test_a_hostile_claim_is_logged_and_nothing_printed(
    log: list[str], capfd: pytest.CaptureFixture[str], claim: str | bytes, raw: bool
) -> None:
    argument = os.fsdecode(claim) if raw else escape(claim)
    assert portal_map.main(["portal-map", argument]) == 1
    assert capfd.readouterr() == ("", "")
    assert len(log) == 1 and log[0].startswith("refused ")


@given(st.text(), st.binary(max_size=200))
def test_no_argument_and_no_file_raises_more_than_a_refusal(argument: str, people: bytes) -> None:
    for text in (people, PEOPLE, PEOPLE + people, HEADER.encode() + people):
        try:
            claim = portal_map.decoded(argument)
            assert portal_map.account_of(claim, text, NOW) in _UIDS
        except Refused:
            pass


def test_any_failure_is_a_refusal(
    log: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_name: str) -> SimpleNamespace:
        raise KeyboardInterrupt

    alice = ["portal-map", "alice%40campus.test"]
    assert portal_map.main(["portal-map"]) == 1
    assert portal_map.main([*alice, "more"]) == 1
    monkeypatch.setattr(portal_map, "pwd", SimpleNamespace(getpwnam=broken))
    assert portal_map.main(alice) == 1
    Path(portal_map.PEOPLE).unlink()
    assert portal_map.main(alice) == 1
    assert len(log) == 4
    assert "KeyboardInterrupt" in log[2] and "FileNotFound" in log[3]
    monkeypatch.setattr(portal_map.syslog, "syslog", broken)
    assert portal_map.main(alice) == 1
    assert capfd.readouterr() == ("", "")


def _program(path: Path, people: Path, *arguments: str | bytes) -> subprocess.CompletedProcess[str]:
    text = Path(portal_map.__file__).read_text(encoding="utf-8")
    path.write_text(text.replace("/etc/ood/site/people", str(people)), encoding="utf-8")
    return subprocess.run(
        [sys.executable, "-I", "-S", str(path), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"LC_ALL": "C"},
    )


@pytest.mark.parametrize(
    "argument", ["--help", "root", b"\xff", "alice%40campus.test", "a" * 10_240]
)
def test_the_program_says_nothing_to_the_unknown(tmp_path: Path, argument: str | bytes) -> None:
    done = _program(tmp_path / "portal-map", tmp_path / "people", argument)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_the_program_imports_only_what_starts_fast(tmp_path: Path) -> None:
    (tmp_path / "people").write_bytes(PEOPLE)
    text = Path(portal_map.__file__).read_text(encoding="utf-8")
    (tmp_path / "portal_map.py").write_text(text, encoding="utf-8")
    code = "import sys; sys.path.insert(0, sys.argv[1]); import portal_map; print(*sys.modules)"
    said = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    slow = {"re", "json", "urllib", "argparse", "typing", "logging", "enum", "subprocess"}
    assert not slow.intersection(said)
