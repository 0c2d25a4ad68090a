"""Who gets how far: the portal, its files, the gate before the instrument."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable

import pytest
import testinfra
from testinfra.host import Host
from visitor import FILES, HOME, IDP, PORTAL, SITE, Visitor, address

#: As accounts and groups are on the host.
ALICE, SCIENCE = 123456, 123400
GATE = "/rnode/127.0.0.1/6081/websockify"
PEOPLE = "/var/lib/cloudlet-portal/site/people"
#: Seconds between two looks at the directory, as the inventory has it, and some to cut sessions.
REFRESH, CUT = 10, 15
FAILED = "systemctl is-failed cloudlet-portal-people"
#: Ways past the gate that must not be.
TRICKS = (
    *("/rnode/127.0.0.1/22/", "/rnode/127.0.0.1/6080/", "/rnode/127.0.0.1/60810/"),
    *("/rnode/127.0.0.1/6081x/", "/rnode/localhost/6081/", "/rnode/127.0.0.2/6081/"),
    *("/rnode/microscope.lab.test/5901/", "/node/127.0.0.1/443/", "/RNODE/127.0.0.1/6081/"),
    *("/secure-rnode/127.0.0.1/6081/", "/secure-node/127.0.0.1/6081/"),
    *("/rnode/a@127.0.0.1/6081/", "/%72node/127.0.0.1/22/", "/%2e/rnode/127.0.0.1/22/"),
    *("//rnode/127.0.0.1/22/", "/pun/../rnode/127.0.0.1/22/", "/rnode/127.0.0.1/6081/../22/"),
    "/rnode/127.0.0.1/6081/..%2f22/",
)


def _host(name: str) -> Host:
    return testinfra.get_host(f"ansible://{name}?ansible_inventory={SITE}", sudo=True)


@pytest.fixture(scope="module")
def portal() -> Host:
    return _host(PORTAL)


@pytest.fixture(scope="module")
def directory() -> Host:
    return _host("ldap.lab.test")


@pytest.fixture(scope="module")
def visitors() -> dict[str | None, Visitor]:
    return {sub: come(sub) for sub in (None, "bob", "alice")}


def come(sub: str | None) -> Visitor:
    """A visitor who has logged in, or has tried to; nobody's name is an anonymous one."""
    visitor = Visitor()
    if sub:
        visitor.log_in(sub)
    return visitor


def until(seconds: float, what: Callable[[], bool]) -> None:
    """``what`` becomes true within the time."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "the time is over"
        time.sleep(0.5)


def podman(portal: Host, command: str) -> str:
    """What a command of the account's Podman prints."""
    return str(
        portal.check_output(
            "cd /; HOME=/var/lib/oodsvc XDG_RUNTIME_DIR=/run/user/$(id -u oodsvc) "
            f"setpriv --reuid oodsvc --regid oodsvc --init-groups podman {command}"
        )
    )


def in_pod(portal: Host, command: str) -> str:
    """What a command in the pod prints, as its root."""
    return podman(portal, f"exec portal {command}")


def test_a_person_lands_as_themselves(portal: Host) -> None:
    alice = Visitor()
    home = alice.log_in("alice")
    assert home.status == 200 and "Titan of the lab" in home.text
    written = alice.ask(f"{FILES}/home/alice/from-afar", method="PUT", body="a note")
    assert written.status in (201, 204), written
    assert alice.ask(f"{FILES}/home/alice/from-afar").text == "a note"
    found = portal.file("/home/alice/from-afar")
    assert (found.uid, found.gid, found.mode) == (ALICE, SCIENCE, 0o600)
    assert "nginx: worker process" in portal.check_output(f"ps -u {ALICE} -o args=")


#: Status of the portal and of the declared route (by websocket) for each kind of visitor.
MATRIX = {
    None: (302, 401),
    "unknown": (404, 403),  # a good provider, and nobody's claim
    "mallory": (403, 403),  # Alice's claim by a provider that is not allowed
    "carol": (404, 403),  # in the directory, and no approved account
    "bob": (200, 403),  # an approved account without the group
    "alice": (200, 101),
}


@pytest.mark.parametrize(("sub", "expected"), MATRIX.items(), ids=[str(who) for who in MATRIX])
def test_each_gets_as_far_as_they_may(sub: str | None, expected: tuple[int, int]) -> None:
    visitor = come(sub)
    home = visitor.ask(HOME)
    status, first = visitor.websocket(GATE)
    assert (home.status, status) == expected, home.text
    assert ("Titan of the lab" in home.text) == (sub == "alice")
    assert first == (b"RFB 003.008\n" if sub == "alice" else b"")


@pytest.mark.parametrize("path", TRICKS)
@pytest.mark.parametrize("sub", [None, "bob", "alice"], ids=["anonymous", "bob", "alice"])
def test_there_is_no_way_past_the_gate(
    visitors: dict[str | None, Visitor], sub: str | None, path: str
) -> None:
    visitor = visitors[sub]
    answer = visitor.ask(path)
    refused = (302, 401, 403, 404) if sub is None else (403, 404)
    assert answer.status in refused and "RFB" not in answer.text, answer
    assert visitor.websocket(path)[0] in (400, *refused)


def test_a_persons_code_does_not_get_round_the_gate(portal: Host) -> None:
    """What runs in the pod with a person's id, as their apps do, reaches no instrument."""
    connect = (
        "import os, socket, sys; os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[1])); "
        "socket.create_connection((sys.argv[3], int(sys.argv[4])), 5); print('through')"
    )
    there = ("127.0.0.1", "6081"), (address("microscope.lab.test"), "5901")
    for who, expected in ((f"{ALICE} {SCIENCE}", "Connection refused"), ("0 0", "through")):
        for host, port in there:
            program = f"python3 -c '{connect}' {who} {host} {port} 2>&1; true"
            said = in_pod(portal, f'sh -c "{program}"')
            assert expected in said, (who, host, said)


@pytest.mark.parametrize(
    "claim",
    ["root", "0x0", "0", "--help", "$(id)", "'; id; '", '"', "alice\n", "alice@campus.test\nroot",
     "x" * 10_000, "%61lice@campus.test", "ALICE@campus.test ", "www-data", "\u202ealice"],
)  # fmt: skip
def test_a_hostile_claim_gets_nobody_in(portal: Host, claim: str) -> None:
    idp = Visitor()
    said = {"eppn": claim, "idp": "https://idp.campus.test/shibboleth"}
    assert idp.ask("/users/hostile", host=IDP, method="PUT", body=json.dumps(said),
                   headers={"Content-Type": "application/json"}).status == 204  # fmt: skip
    visitor = come("hostile")
    for path in (HOME, GATE):
        answer = visitor.ask(path)
        assert answer.status in (400, 403, 404), answer
        assert "Traceback" not in answer.text and "portal-map" not in answer.text


def test_refusals_are_logged(portal: Host) -> None:
    come("unknown")
    log = in_pod(portal, "journalctl --no-pager -t portal-map")
    assert "nobody@campus.test" in log


def test_who_is_removed_is_out(portal: Host, directory: Host) -> None:
    """Open sessions included: the person's server and their look at the instrument."""
    alice = come("alice")
    assert alice.websocket(GATE)[0] == 101
    with alice.watching(GATE) as line:
        directory.check_output("campus-people remove alice")
        began = time.monotonic()
        try:
            until(REFRESH + CUT, lambda: alice.ask(HOME).status == 404)
            assert alice.websocket(GATE)[0] in (403, 404)
            assert line.ends_within(CUT)
            assert time.monotonic() - began < REFRESH + CUT
            until(CUT, lambda: not portal.run(f"pgrep -u {ALICE}").stdout)
        finally:
            directory.check_output("campus-people add alice")
    until(REFRESH + CUT, lambda: alice.ask(HOME).status == 200)
    assert alice.websocket(GATE)[0] == 101


def test_the_directory_may_be_away(portal: Host, directory: Host) -> None:
    directory.check_output("systemctl stop campus-ldap")
    try:
        until(3 * REFRESH, lambda: portal.run(FAILED).succeeded)
        assert come("alice").ask(HOME).status == 200
        said = portal.check_output("journalctl -u cloudlet-portal-people -n 5 --no-pager -o cat")
        assert "ldaps://ldap.lab.test" in said and "Traceback" not in said
    finally:
        directory.check_output("systemctl start campus-ldap")
    until(3 * REFRESH, lambda: portal.run(FAILED).failed)


@pytest.mark.parametrize("what", ["kill portal", "exec portal systemctl restart apache2"])
def test_the_portal_comes_back(portal: Host, what: str) -> None:
    alice = come("alice")
    podman(portal, what)
    # Sessions are in the browser, so nobody logs in again.
    until(20, lambda: alice.ask(HOME).status == 200)
    until(20, lambda: alice.websocket(GATE)[0] == 101)


def test_no_secret_is_where_others_see_it(portal: Host) -> None:
    """Looked for by a file of root's, as the search itself would be in the list of processes."""
    coded = base64.b64encode(b"lab-client\nlab-portal\n").decode()
    portal.check_output(f"umask 077; echo {coded} | base64 -d >/root/canaries")
    assert len(in_pod(portal, "cat /etc/ood/secrets/passphrase >>/root/canaries").strip()) == 0
    portal.check_output("echo >>/root/canaries; test $(wc -c </root/canaries) -gt 80")
    places = {
        "processes": "ps axeww",
        "journal": "journalctl --no-pager -o cat",
        "environments": "cat /proc/[0-9]*/environ",
        "files that all may read": "find /etc /usr/local /home /var/log /var/lib/cloudlet* "
        "-type f -perm -004 -exec cat {} +",
        "the image": "cat /opt/ondemand-standin.tar",
        "root's records": "find /var/lib/cloudlet-deploy -type f -exec cat {} +",
    }
    for place, command in places.items():
        found = portal.run(f"({command}) 2>/dev/null | grep -aFf /root/canaries")
        assert found.rc == 1, (place, found.stdout)
    assert portal.run("grep -qFf /root/canaries /etc/cloudlet-deploy/ondemand_portal/*").rc == 0
