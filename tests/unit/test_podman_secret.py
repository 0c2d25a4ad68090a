"""``podman_secret``: secrets that were deleted, replaced or half made, and who sees a content."""

from __future__ import annotations

import json
import pwd
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import podman_secrets
from ansible_collections.cloudlet.deploy.plugins.module_utils.commands import Result
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import Ledger
from ansible_collections.cloudlet.deploy.plugins.module_utils.idmaps import Refused
from ansible_collections.cloudlet.deploy.plugins.modules import podman_secret
from cryptography import x509

WORDS = "-----BEGIN KEY-----\nof several lines\n-----END KEY-----"


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


class Host:
    """The Podman of ``svc``: what it holds, by name, and what it was asked."""

    def __init__(self, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.state = base / "state"
        self.home = base / "home"
        self.list = self.home / ".local/share/containers/storage/secrets/secrets.json"
        self.list.parent.mkdir(parents=True)
        self.held: dict[str, tuple[str, bytes]] = {}
        self.made = 0
        self.asked: list[list[str]] = []
        self.kills = ""
        self.rc = 0
        entry = pwd.struct_passwd(("svc", "x", 989, 989, "", str(self.home), "/bin/sh"))
        self.accounts = {"svc": entry}
        monkeypatch.setattr(pwd, "getpwnam", lambda name: self.accounts[name])

    def run(self, argv: list[str], timeout: float, stdin: bytes = b"") -> Result:
        assert "--reuid=989" in argv
        verb, *words = argv[argv.index("secret") + 1 :]
        self.asked.append([verb, *words])
        if verb == self.kills:
            raise Killed
        if self.rc:
            return Result(self.rc, "", "Error: no")
        out = ""
        if verb == "create":
            name, dash = words
            assert dash == "-" and name not in self.held
            out = self.put(name, stdin)
        elif verb == "rm":
            (gone,) = [name for name, (number, _) in self.held.items() if number == words[0]]
            self.take(gone)
        else:
            out = "".join(f"{number} {name}\n" for name, (number, _) in self.held.items())
        return Result(0, out, "")

    def put(self, name: str, data: bytes) -> str:
        self.made += 1
        self.held[name] = (f"{self.made:025x}", data)
        self._write()
        return self.held[name][0] + "\n"

    def take(self, name: str) -> None:
        del self.held[name]
        self._write()

    def _write(self) -> None:
        ids = {name: number for name, (number, _) in self.held.items()}
        self.list.write_text(json.dumps({"secrets": {}, "nameToID": ids}))

    def __call__(self, check: bool = False, component: str | None = "portal") -> Any:
        def store(account: str) -> podman_secrets.Store:
            return podman_secrets.Store(account, self.run)

        return podman_secret.SecretSet(component, str(self.state), store, check)

    def have(self, *secrets: dict[str, Any], check: bool = False, component: str = "portal") -> Any:
        """The result of ``present``, which check mode must have foreseen but for new ids."""
        before = dict(self.held), len(self.asked)
        planned = self(True, component).present("svc", list(secrets))
        assert self.held == before[0]
        if check:
            return planned
        done = self(False, component).present("svc", list(secrets))
        assert planned["changes"] == done["changes"]
        ids = {name: number or done["ids"][name] for name, number in planned["ids"].items()}
        assert ids == done["ids"] == {one["name"]: self.held[one["name"]][0] for one in secrets}
        return done

    @property
    def entries(self) -> dict[str, Any]:
        return dict(Ledger(str(self.state)).entries)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host(tmp_path, monkeypatch)
    host._write()
    return host


def told(name: str, content: str) -> dict[str, Any]:
    return {"name": name, "content": content, "generate": None, "certificate": None, "rotate": ""}


def drawn(name: str, rotate: str = "", count: int = 32) -> dict[str, Any]:
    return {**told(name, ""), "content": None, "generate": count, "rotate": rotate}


def signed(name: str, host: str) -> dict[str, Any]:
    return {**told(name, ""), "content": None, "certificate": host}


def words_of(result: Any) -> list[str]:
    assert result["changed"] == bool(result["changes"])
    return [" ".join((c["action"], c["name"], c["detail"])).strip() for c in result["changes"]]


def test_what_is_as_wanted_needs_no_podman(host: Host) -> None:
    first = host.have(told("tls", WORDS), drawn("phrase"))
    assert words_of(first) == ["create svc/tls not there yet", "create svc/phrase not there yet"]
    assert host.held["tls"][1] == WORDS.encode()
    phrase = host.held["phrase"][1]
    assert len(bytes.fromhex(phrase.decode())) == 32
    asked = list(host.asked)
    assert words_of(host.have(told("tls", WORDS), drawn("phrase", count=16))) == []
    assert host.asked == asked and host.held["phrase"][1] == phrase


def test_another_content_has_another_id(host: Host) -> None:
    before = host.have(told("tls", WORDS), told("id", "a"))["ids"]
    planned = host.have(told("tls", WORDS + "!"), told("id", "a"), check=True)
    assert planned["ids"] == {"tls": "", "id": before["id"]}
    after = host.have(told("tls", WORDS + "!"), told("id", "a"))
    assert words_of(after) == ["change svc/tls other content"]
    assert after["ids"]["tls"] != before["tls"] and after["ids"]["id"] == before["id"]


def test_random_bytes_stay_until_the_word_is_another(host: Host) -> None:
    host.have(drawn("phrase", "2026"))
    first = host.held["phrase"]
    assert words_of(host.have(drawn("phrase", "2026"))) == []
    assert words_of(host.have(drawn("phrase", "2027"))) == ["change svc/phrase it is drawn anew"]
    assert host.held["phrase"][1] != first[1]
    host.have(told("phrase", "mine"))
    assert host.held["phrase"][1] == b"mine"
    assert words_of(host.have(drawn("phrase"))) == ["change svc/phrase it is drawn anew"]


def test_of_a_key_that_the_host_makes_only_the_certificate_is_told(host: Host) -> None:
    one, other = signed("tls", "pod.example.org"), signed("tls", "other.example.org")
    assert host.have(one, check=True)["certificates"] == {"tls": ""}
    made = host.have(one, told("id", "a"))["certificates"]
    held = host.held["tls"][1].decode()
    assert list(made) == ["tls"] and made["tls"] in held and "PRIVATE KEY" in held
    assert "PRIVATE KEY" not in made["tls"] + (host.state / "ledger.json").read_text()
    assert x509.load_pem_x509_certificate(made["tls"].encode()).subject.rfc4514_string() == (
        "CN=pod.example.org"
    )
    again = host.have(one, told("id", "a"))
    assert words_of(again) == [] and again["certificates"] == made
    assert host.have(other, told("id", "a"), check=True)["certificates"] == {"tls": ""}
    changed = host.have(other, told("id", "a"))
    assert words_of(changed) == ["change svc/tls it is drawn anew"]
    assert changed["certificates"] != made
    for wrong in ("-x", "a/b", "a b", ""):
        with pytest.raises(Refused, match="which is no host"):
            host.have(signed("tls", wrong))


@pytest.mark.parametrize("one", [told("tls", WORDS), drawn("tls"), signed("tls", "a.example.org")])
def test_another_hand_is_found_and_made_up_for(host: Host, one: dict[str, Any]) -> None:
    host.have(one)
    host.take("tls")
    assert words_of(host.have(one)) == ["create svc/tls was deleted"]
    host.take("tls")
    host.put("tls", b"theirs")
    assert words_of(host.have(one)) == ["change svc/tls was replaced by another hand"]
    assert host.held["tls"][1] != b"theirs" and words_of(host.have(one)) == []


@pytest.mark.parametrize("kills", ["rm", "create"])
@pytest.mark.parametrize("undo", [False, True])
def test_a_run_that_is_killed_half_way_is_made_up_for(host: Host, kills: str, undo: bool) -> None:
    host.have(told("tls", WORDS), told("id", "a"))
    host.kills = kills
    with pytest.raises(Killed):
        host().present("svc", [told("tls", "new"), told("id", "b")])
    host.kills = ""
    if undo:
        host().absent()
        assert host.held == {} and host.entries == {}
    else:
        host.have(told("tls", "new"), told("id", "b"))
        assert [content for _, content in host.held.values()] == [b"new", b"b"]
        assert words_of(host.have(told("tls", "new"), told("id", "b"))) == []


@pytest.mark.parametrize("found", [False, True])
@pytest.mark.parametrize("undo", [False, True])
def test_a_kill_before_the_ledger_knows_the_id_leaves_nothing_foreign(
    host: Host, monkeypatch: pytest.MonkeyPatch, found: bool, undo: bool
) -> None:
    def make(*_: Any) -> str:
        host.put("tls", b"x")
        raise Killed

    if found:
        host.have(told("tls", "old"))
    with monkeypatch.context() as patch:
        patch.setattr(podman_secrets.Store, "make", make)
        with pytest.raises(Killed):
            host().present("svc", [told("tls", WORDS)])
    if undo:
        assert words_of(host().absent()) == ["remove svc/tls"] and host.held == {}
    else:
        done = host.have(told("tls", WORDS))
        assert words_of(done) == ["change svc/tls an earlier run was interrupted"]


def test_what_is_not_ours_is_refused_and_stays(host: Host) -> None:
    host.put("tls", b"theirs")
    for check in (True, False):
        with pytest.raises(Refused, match=r"secret tls already, .*not made by") as caught:
            host(check).present("svc", [told("tls", WORDS)])
        assert "podman secret rm tls" in caught.value.next_step
    host.have(told("id", "a"))
    with pytest.raises(Refused, match="secret id already, and it is of portal"):
        host.have(told("id", "a"), component="other")
    lost = host.held["id"]
    host.take("id")
    with pytest.raises(Refused, match="secret id already, and it is of portal"):
        host.have(told("id", "a"), component="other")
    host.held["id"] = lost
    host._write()
    host.have(told("more", "b"), component="other")
    assert words_of(host().absent()) == ["remove svc/id"]
    assert set(host.held) == {"tls", "more"} and words_of(host().absent()) == []
    host(component=None).absent()
    assert set(host.held) == {"tls"} and host.entries == {}


def test_one_that_is_wanted_no_more_goes_unless_another_hand_made_it(host: Host) -> None:
    host.have(told("a", "1"), told("b", "2"), told("c", "3"))
    host.take("b")
    host.put("b", b"theirs")
    host.take("c")
    done = host.have()
    assert words_of(done) == ["remove svc/a"] and done["left"] == ["svc/b"]
    assert set(host.held) == {"b"} and host.entries == {}


def test_an_account_that_is_gone_has_taken_its_secrets_along(host: Host) -> None:
    host.have(told("a", "1"))
    host.accounts = {}
    assert words_of(host(True).absent()) == [] and host.entries
    assert words_of(host().absent()) == [] and host.entries == {}
    planned = host(True).present("svc", [told("a", "1")])
    assert words_of(planned) == ["create svc/a not there yet"] and planned["ids"] == {"a": ""}
    with pytest.raises(Refused, match="account svc does not exist"):
        host().present("svc", [told("a", "1")])


def test_podman_is_asked_where_its_list_does_not_tell(host: Host) -> None:
    host.have(told("a", "1"))
    host.list.write_text("{}")
    assert words_of(host().present("svc", [told("a", "1")])) == []
    host.list.unlink()
    assert words_of(host().present("svc", [told("a", "1")])) == []
    assert [one[0] for one in host.asked].count("ls") == 2
    host.rc = 127
    assert words_of(host(True).present("svc", [told("a", "1")])) == ["create svc/a was deleted"]
    host.rc = 125
    with pytest.raises(Refused, match="cannot be listed: Error: no"):
        host(True).present("svc", [told("a", "1")])


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (told("a/b", "x"), "no name"),
        (told("-a", "x"), "no name"),
        (told("a" * 65, "x"), "no name"),
        (told("a", ""), "has 0 bytes"),
        (told("a", "\u00e9" * 256000), "has 512000 bytes"),
        (drawn("a", count=15), "15 random bytes"),
        (drawn("a", count=1025), "1025 random bytes"),
    ],
)
def test_what_podman_would_refuse_is_refused_before(
    host: Host, one: dict[str, Any], words: str
) -> None:
    for check in (True, False):
        with pytest.raises(Refused, match=words):
            host(check).present("svc", [told("first", "x"), one])
    assert host.held == {}
    with pytest.raises(Refused, match="there twice"):
        host().present("svc", [told("a", "x"), told("a", "x")])


def test_names_and_sizes_at_the_edge_pass(host: Host) -> None:
    host.have(told("a", "x"), told("a" * 64, "y" * 511999), drawn("A.b_c-9", count=16))


def test_the_ledger_has_no_content(host: Host) -> None:
    host.have(told("a", "open sesame"), told("b", "open sesame"), drawn("c"))
    kept = (host.state / "ledger.json").read_text()
    assert "sesame" not in kept and host.held["c"][1].decode() not in kept
    # The same content twice does not show as such.
    digests = [host.entries[f"podman-secret:svc/{name}"]["note"]["digest"] for name in "ab"]
    assert digests[0] != digests[1]
