"""The campus around a portal: what its directory, its OIDC provider and its microscope answer."""

from __future__ import annotations

import base64
import http.client
import json
import re
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
import yaml

from cloudlet_deploy import content
from cloudlet_deploy.lab import campus
from tests.lab.conftest import TestLab, made

pytestmark = pytest.mark.lab
IDP, LDAP, MICROSCOPE = "idp.lab.test", "ldap.lab.test", "microscope.lab.test"
CA = "/tmp/ca.pem"


@pytest.fixture(scope="module")
def lab() -> Iterator[TestLab]:
    source = content.root() / "inventories" / "lab-portal"
    with made("t-lab-campus", "--from", str(source), "--hosts", "lab_campus") as hosts:
        authority = (hosts.site / ".lab" / "pki" / "ca" / "cert.pem").read_text()
        hosts.run(IDP, f"cat >{CA}", stdin=authority)
        yield hosts


def address(lab: TestLab, host: str) -> str:
    written = yaml.safe_load((lab.site / "lab_connection.yml").read_text())
    return str(written["all"]["hosts"][host]["ansible_host"])


# --- directory


def search(
    lab: TestLab,
    what: str,
    *,
    ca: str = CA,
    who: str = campus.PORTAL_BIND_DN,
    password: str = campus.PORTAL_BIND_PASSWORD,
    below: str = "people",
) -> tuple[int, str]:
    """Exit code and output of a search, made on another host by the directory's name."""
    done = lab.run(
        IDP,
        f"LDAPTLS_CACERT={ca} ldapsearch -x -H ldaps://{LDAP} -D '{who}' -y /dev/stdin -LLL "
        f"-b ou={below},{campus.DIRECTORY_BASE} '{what}' uid mail eduPersonPrincipalName",
        stdin=password,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_portal_reads_people(lab: TestLab) -> None:
    status, found = search(lab, "(eduPersonPrincipalName=alice@campus.test)")
    assert status == 0 and found.splitlines() == [
        "dn: uid=alice,ou=people,dc=campus,dc=test",
        "mail: alice@campus.test",
        "eduPersonPrincipalName: alice@campus.test",
        "uid: alice",
        "",
    ]
    _, everyone = search(lab, "(objectClass=eduPerson)")
    assert re.findall("uid: (.*)", everyone) == list(campus.PEOPLE)


@pytest.mark.parametrize(
    ("who", "password", "status"),
    [
        ("", "", 48),  # inappropriate authentication
        (campus.PORTAL_BIND_DN, "guessed", 49),  # invalid credentials
        (campus.PORTAL_BIND_DN, "", 53),  # unwilling to perform
    ],
)
def test_nobody_else_reads_anything(lab: TestLab, who: str, password: str, status: int) -> None:
    found, said = search(lab, "(uid=*)", who=who, password=password)
    assert found == status and "dn:" not in said


def test_the_portal_reads_people_only(lab: TestLab) -> None:
    status, said = search(lab, "(objectClass=*)", below="services")
    assert status == 32 and "dn:" not in said  # no such object


def test_the_directory_is_reached_by_tls_only(lab: TestLab) -> None:
    status, said = search(lab, "(uid=*)", ca=f"{campus.CERTIFICATES}/hostcert.pem")
    assert status == 255 and "Can't contact LDAP server" in said
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((address(lab, LDAP), 389), 5)


def test_people_come_and_go(lab: TestLab) -> None:
    lab.run(LDAP, "campus-people add dave")
    assert "uid: dave" in search(lab, "(uid=dave)")[1]
    lab.run(LDAP, "campus-people remove dave")
    assert search(lab, "(uid=dave)") == (0, "")


# --- provider


def ask(
    lab: TestLab,
    method: str,
    path: str,
    *,
    form: dict[str, str] | None = None,
    document: object = None,
    authorization: str = "",
) -> http.client.HTTPResponse:
    """One request to the provider by its address, with its name and the lab's CA."""
    trust = ssl.create_default_context(cafile=lab.site / ".lab" / "pki" / "ca" / "cert.pem")
    plain = socket.create_connection((address(lab, IDP), 443), 10)
    connection = http.client.HTTPSConnection(IDP)
    connection.sock = trust.wrap_socket(plain, server_hostname=IDP)
    headers = {"Authorization": authorization} if authorization else {}
    body: str | None = None
    if form is not None:
        body, headers["Content-Type"] = urlencode(form), "application/x-www-form-urlencoded"
    elif document is not None:
        body, headers["Content-Type"] = json.dumps(document), "application/json"
    connection.request(method, path, body, headers)
    return connection.getresponse()


def log_in(lab: TestLab, sub: str) -> str:
    """The code that the browser of the person ``sub`` brings to the portal."""
    asked = {
        "response_type": "code",
        "client_id": campus.CLIENT_ID,
        "redirect_uri": campus.REDIRECT_URIS[0],
        "scope": "openid email",
        "state": "s1",
        "nonce": sub,
    }
    page = f"/oauth2/authorize?{urlencode(asked)}"
    form = ask(lab, "GET", page).read().decode()
    assert f'name="sub" value="{sub}"' in form and 'method="post"' in form
    sent_back = urlsplit(ask(lab, "POST", page, form={"sub": sub}).headers["Location"])
    assert sent_back._replace(query="").geturl() == campus.REDIRECT_URIS[0]
    answer = parse_qs(sent_back.query)
    assert answer["state"] == ["s1"]
    return answer["code"][0]


def exchange(lab: TestLab, code: str, secret: str) -> http.client.HTTPResponse:
    who = base64.b64encode(f"{campus.CLIENT_ID}:{secret}".encode()).decode()
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": campus.REDIRECT_URIS[0],
    }
    return ask(lab, "POST", "/oauth2/token", form=form, authorization=f"Basic {who}")


def part_of(token: str, place: int) -> dict[str, object]:
    """The header (0) or the claims (1) of a signed token."""
    part = token.split(".")[place]
    found: dict[str, object] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return found


def claims_of(lab: TestLab, sub: str) -> dict[str, object]:
    """What the provider says of a person at the end of a whole login; the token says the same."""
    tokens = json.load(exchange(lab, log_in(lab, sub), campus.CLIENT_SECRET))
    told = json.load(ask(lab, "GET", "/userinfo", authorization=f"Bearer {tokens['access_token']}"))
    signed = part_of(tokens["id_token"], 1)
    assert told.items() <= signed.items()
    assert (signed["iss"], signed["nonce"]) == (f"https://{IDP}", sub)
    return {str(name): value for name, value in told.items()}


def test_the_issuer_is_the_host_by_tls(lab: TestLab) -> None:
    said = json.load(ask(lab, "GET", "/.well-known/openid-configuration"))
    assert said["issuer"] == f"https://{IDP}"
    ends = [value for name, value in said.items() if name.endswith(("_endpoint", "_uri"))]
    assert len(ends) >= 4 and all(end.startswith(f"https://{IDP}/") for end in ends)


@pytest.mark.parametrize("sub", campus.CLAIMS)
def test_a_login_tells_who_somebody_is(lab: TestLab, sub: str) -> None:
    assert claims_of(lab, sub) == {"sub": sub, **campus.CLAIMS[sub]}


def test_mallory_claims_to_be_alice_by_another_provider() -> None:
    alice, mallory = campus.CLAIMS["alice"], campus.CLAIMS["mallory"]
    assert mallory["eppn"] == alice["eppn"] and mallory["idp"] != alice["idp"]


def test_a_claim_may_be_anything(lab: TestLab) -> None:
    hostile = {"eppn": "$(id)'\"\n--help\0ä" + "x" * 10_000, "idp": campus.IDENTITY_PROVIDER}
    assert ask(lab, "PUT", f"/users/{quote('bob')}", document=hostile).status == 204
    assert claims_of(lab, "bob") == {"sub": "bob", **hostile}
    again = ask(lab, "PUT", "/users/bob", document=campus.CLAIMS["bob"])
    assert again.status == 204


def test_only_the_portal_is_a_client(lab: TestLab) -> None:
    refused = exchange(lab, log_in(lab, "alice"), "guessed")
    assert refused.status == 401 and json.load(refused)["error"] == "invalid_client"
    for changed in ({"client_id": "other"}, {"redirect_uri": "https://evil.example/oidc"}):
        asked = {
            "response_type": "code",
            "client_id": campus.CLIENT_ID,
            "redirect_uri": campus.REDIRECT_URIS[0],
            "scope": "openid",
            **changed,
        }
        assert ask(lab, "GET", f"/oauth2/authorize?{urlencode(asked)}").status == 400


def test_the_signing_key_survives_a_restart(lab: TestLab) -> None:
    before = json.load(ask(lab, "GET", "/jwks"))
    lab.run(IDP, "systemctl restart campus-idp")
    assert json.load(ask(lab, "GET", "/jwks")) == before


# --- microscope


@contextmanager
def screen(lab: TestLab) -> Iterator[socket.socket]:
    """A connection to the microscope's screen, past RFB's opening (RFC 6143, section 7)."""
    with socket.create_connection((address(lab, MICROSCOPE), 5901), 10) as peer:

        def read(length: int) -> bytes:
            found = peer.recv(length, socket.MSG_WAITALL)
            assert len(found) == length
            return found

        version = read(12)
        assert version == b"RFB 003.008\n"
        peer.sendall(version)
        assert read(read(1)[0]) == b"\x01"  # the one type of security: none
        peer.sendall(b"\x01")
        assert read(4) == bytes(4)
        peer.sendall(b"\x01")  # shared
        opened = struct.unpack(">HH16xI", read(24))
        assert opened[:2] == (800, 600)
        read(opened[2])
        yield peer


def type_keys(peer: socket.socket, text: str) -> None:
    peer.sendall(struct.pack(">BBHH", 5, 0, 400, 300))  # the pointer decides who gets keys
    for key in text:
        for down in (1, 0):
            peer.sendall(struct.pack(">BBxxI", 4, down, ord(key)))


def test_the_microscope_sees_every_key(lab: TestLab) -> None:
    with screen(lab) as peer, screen(lab):  # a second one looks on
        type_keys(peer, "tilt 3")
        deadline = time.monotonic() + 10
        while (typed := lab.run(MICROSCOPE, f"cat {campus.TYPED}").stdout) != "tilt 3":
            assert time.monotonic() < deadline, typed
            time.sleep(0.1)


# --- all of them


@pytest.mark.parametrize("host", [IDP, LDAP, MICROSCOPE])
def test_a_host_is_what_its_name_says(lab: TestLab, host: str) -> None:
    assert lab.run(host, "systemctl is-system-running").stdout == "running\n"
    key = f"{campus.CERTIFICATES}/hostkey.pem"
    assert lab.run(host, f"stat -c '%a %U' {key}").stdout == "400 root\n"
    listed = "systemctl list-units --plain --no-legend --state=active 'campus-*'"
    found = {line.split()[0] for line in lab.run(host, listed).stdout.splitlines()}
    mine = f"ConditionHost={host.partition('.')[0]}.*\n"
    assert found == {name for name, unit in campus.UNITS.items() if mine in unit}
