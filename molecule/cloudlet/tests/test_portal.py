"""Who a person is to the portal: their files, hostile claims, those who come and go, secrets."""

from __future__ import annotations

import base64
import json
import re
import time
from urllib.parse import quote_plus

import pytest
from hosts import ALICE, BOB, CUT, GATE, REFRESH, SCIENCE, come, in_pod, until, works
from test_gate import TRICKS, refused
from testinfra.host import Host
from visitor import FILES, HOME, IDP, Answer, Visitor

#: No web server takes a session with it, as it is in a cookie.
TOO_LONG = "x" * 10_000
#: What is still to be cut off, which is written before anything changes.
PENDING = "/var/lib/cloudlet-portal/site/.cut-pending"
#: What a provider might say that somebody is.
HOSTILE = (
    *("root", "0x0", "0", "--help", "$(id)", "'; id; '", '"', "www-data", "\u202ealice"),
    *("alice\n", "alice@campus.test\nroot", "alice\r", "\x1b[2Jalice", "\x7falice", "\x9balice"),
    *("%61lice@campus.test", "%ff%fe", "ALICE@campus.test ", "x" * 1100, TOO_LONG),
)


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


@pytest.fixture(scope="module")
def answers() -> dict[str, list[Answer]]:
    """What each hostile claim gets: at the end of the login, from the portal, from the gate."""
    return {claim: _claimed(claim) for claim in HOSTILE}


def _claimed(claim: str) -> list[Answer]:
    said = {"eppn": claim, "idp": "https://idp.campus.test/shibboleth"}
    visitor = Visitor()
    assert visitor.ask("/users/hostile", host=IDP, method="PUT", body=json.dumps(said),
                       headers={"Content-Type": "application/json"}).status == 204  # fmt: skip
    return [visitor.log_in("hostile"), visitor.ask(HOME), visitor.ask(GATE)]


@pytest.mark.parametrize("claim", HOSTILE)
def test_a_hostile_claim_gets_nobody_in(answers: dict[str, list[Answer]], claim: str) -> None:
    for answer in answers[claim]:
        assert answer.status in (400, 403, 404), answer
        assert "Traceback" not in answer.text and "portal-map" not in answer.text


def test_a_claim_that_is_no_text_makes_no_session(portal: Host) -> None:
    """As half of a character, which no UTF-8 has."""
    end, home, gate = _claimed("\ud800alice")
    assert "Traceback" not in end.text and "alice" not in end.text
    assert (home.status, gate.status) == (302, 302)
    assert "auth_openidc:error" in in_pod(portal, "sh -c 'tail -n 20 /var/log/apache2/*_error*'")


def test_refusals_are_logged(portal: Host, answers: dict[str, list[Answer]]) -> None:
    """Each by one line, with the claim as it can do nothing to who reads it."""
    come("unknown")
    log = in_pod(portal, "journalctl --no-pager -t portal-map -o cat --all")
    assert log.replace("\n", "").isascii() and log.replace("\n", "").isprintable()
    lines = log.splitlines()
    assert all(line.startswith("refused ") for line in lines)
    assert "refused 'nobody@campus.test': not in people" in lines
    for claim in HOSTILE:
        if claim is TOO_LONG:
            # Refused before anybody is asked who it is.
            assert portal.run("grep -q '\" 400 ' /var/log/apache2/portal_access.log").succeeded
            continue
        # Where it cannot be one, it is told as Open OnDemand escaped it.
        escaped = re.sub("%..", lambda code: code[0].lower(), quote_plus(claim))
        told = tuple(f"refused {ascii(form)[:200]}" for form in (claim, escaped))
        assert any(line.startswith(told) for line in lines), claim


def test_who_is_removed_is_out(portal: Host, directory: Host) -> None:
    """Open sessions included: the person's server and their look at the instrument.

    By no path is there a way back, until the person is added again.
    """
    alice = come("alice")
    assert alice.websocket(GATE)[0] == 101
    with alice.watching(GATE) as line:
        directory.check_output("campus-people remove alice")
        began = time.monotonic()
        try:
            until(REFRESH + CUT, lambda: alice.ask(HOME).status == 404, "a member is out")
            assert line.ends_within(CUT)
            assert time.monotonic() - began < REFRESH + CUT
            # Both web servers start anew for that, and have done so once nothing is to be cut.
            until(CUT, lambda: not portal.file(PENDING).exists, "all are cut off")
            assert refused(alice, GATE, "alice")
            until(CUT, lambda: not portal.run(f"pgrep -u {ALICE}").stdout, "their processes end")
            assert all(refused(alice, path, "alice") for path in TRICKS)
        finally:
            directory.check_output("campus-people add alice")
    until(REFRESH + CUT, lambda: works(alice), "a member who was added again is in")


def test_who_is_added_is_in(portal: Host, directory: Host) -> None:
    """With the session of before, as soon as the directory has been asked; others stay in."""
    alice, bob = come("alice"), come("bob")
    assert bob.ask(f"{FILES}/home/bob/kept", method="PUT", body="mine").status in (201, 204)
    directory.check_output("campus-people remove bob")
    try:
        until(REFRESH + CUT, lambda: bob.ask(HOME).status == 404, "a person is out")
        until(CUT, lambda: not portal.file(PENDING).exists, "all are cut off")
        until(CUT, lambda: not portal.run(f"pgrep -u {BOB}").stdout, "their processes end")
        assert come("bob").ask(HOME).status == 404
        until(CUT, lambda: works(alice), "others are in")
    finally:
        directory.check_output("campus-people add bob")
    until(REFRESH + CUT, lambda: bob.ask(HOME).status == 200, "a person who was added is in")
    assert bob.ask(f"{FILES}/home/bob/kept").text == "mine"
    assert refused(bob, GATE, "bob")


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
    # Nor what the provider said of people, and its tokens, in the logs of their servers.
    assert in_pod(portal, "sh -c 'grep -rl OIDC_ /var/log/ondemand-nginx; true'") == ""
