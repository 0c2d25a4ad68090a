"""The access matrix: who gets how far to the instruments, by whatever path, and by code in the pod.

Who was removed has the same paths to go in ``test_portal``.
"""

from __future__ import annotations

import base64
import json
import time

import pytest
from hosts import ALICE, BOB, GATE, SCIENCE, host, in_pod, until
from testinfra.host import Host
from visitor import HOME, RFB, Visitor, address

#: The screen for onlookers, and what was typed at the microscope.
LOOK, TYPED = "/rnode/127.0.0.1/6082/websockify", "/srv/microscope/typed"
#: Ways past the gate that must not be.
TRICKS = (
    *("/rnode/127.0.0.1/22/", "/rnode/127.0.0.1/6080/", "/rnode/127.0.0.1/60810/"),
    *("/rnode/127.0.0.1/6081x/", "/rnode/localhost/6081/", "/rnode/127.0.0.2/6081/"),
    *("/rnode/microscope.lab.test/5901/", "/node/127.0.0.1/443/", "/RNODE/127.0.0.1/6081/"),
    *("/secure-rnode/127.0.0.1/6081/", "/secure-node/127.0.0.1/6081/"),
    *("/rnode/a@127.0.0.1/6081/", "/%72node/127.0.0.1/22/", "/%2e/rnode/127.0.0.1/22/"),
    *("//rnode/127.0.0.1/22/", "/pun/../rnode/127.0.0.1/22/", "/rnode/127.0.0.1/6081/../22/"),
    *("/rnode/127.0.0.1/6081/..%2f22/", "/rnode/127.0.0.1/7081/", "/rnode/127.0.0.1/7082/"),
)
#: Status of the portal and of the declared route (by websocket) for each kind of visitor.
MATRIX = {
    None: (302, 401),
    "unknown": (404, 403),  # a good provider, and nobody's claim
    "mallory": (403, 403),  # Alice's claim by a provider that is not allowed
    "carol": (404, 403),  # in the directory, and no approved account
    "bob": (200, 403),  # an approved account without the group
    "alice": (200, 101),
}
KINDS = [str(kind or "anonymous") for kind in MATRIX]


def refused(visitor: Visitor, path: str, sub: str | None) -> bool:
    """Whether a path is closed to a visitor who is ``sub``, by request and by websocket."""
    closed = (302, 401, 403, 404) if sub is None else (403, 404)
    answer = visitor.ask(path)
    status, first = visitor.websocket(path)
    assert answer.status in closed and "RFB" not in answer.text, (path, answer)
    assert status in (400, *closed) and not first, (path, status, first)
    return True


@pytest.mark.parametrize(("sub", "expected"), MATRIX.items(), ids=KINDS)
def test_each_gets_as_far_as_they_may(
    visitors: dict[str | None, Visitor], sub: str | None, expected: tuple[int, int]
) -> None:
    home = visitors[sub].ask(HOME)
    status, first = visitors[sub].websocket(GATE)
    assert (home.status, status) == expected, home.text
    assert ("Titan of the lab" in home.text) == (sub == "alice")
    assert first == (RFB if sub == "alice" else b"")


def test_onlookers_look_only(visitors: dict[str | None, Visitor]) -> None:
    """Bob is in the group that may look; what his browser sends ends in the relay."""
    assert visitors["carol"].websocket(LOOK) == (403, b"")
    assert "Look on" in visitors["bob"].ask(HOME).text
    with visitors["bob"].watching(LOOK) as line:
        assert (line.status, line.first) == (101, RFB)
        line.press("z")
        time.sleep(1)
    with visitors["alice"].watching(GATE) as line:
        line.press("q")
        screen = host("microscope.lab.test")
        until(10, lambda: "q" in screen.check_output(f"cat {TYPED}"), "a key of Alice's")
    assert "z" not in screen.check_output(f"cat {TYPED}")


@pytest.mark.parametrize("path", TRICKS)
@pytest.mark.parametrize("sub", MATRIX, ids=KINDS)
def test_there_is_no_way_past_the_gate(
    visitors: dict[str | None, Visitor], sub: str | None, path: str
) -> None:
    assert refused(visitors[sub], path, sub)


#: Tries to connect as somebody, and tells how each try ended, as JSON.
CONNECT = """
import json, os, socket
uid, gid, places = {asked}
os.setgroups([])
os.setgid(gid)
os.setuid(uid)
ends = []
for host, port in places:
    try:
        with socket.create_connection((host, port), 5) as peer:
            ends.append("through")
            # To be no burglar to the screen, as in visitor.py.
            for said in (peer.recv(12), b"\\x01") if port == 5901 else ():
                peer.sendall(said)
                peer.recv(4)
    except OSError as exc:
        ends.append(type(exc).__name__)
print(json.dumps(ends))
"""
#: Where the gate's relay listens, by each name that a connection to it may have.
RELAY = ("127.0.0.1", "localhost", "0.0.0.0", "::ffff:127.0.0.1")
#: Where it does not.
ELSEWHERE = ("127.0.0.2", "::1", "::")
WHO = {"alice": (ALICE, SCIENCE), "bob": (BOB, SCIENCE), "www-data": (33, 33), "root": (0, 0)}


@pytest.mark.parametrize("who", WHO)
def test_a_persons_code_does_not_get_round_the_gate(portal: Host, who: str) -> None:
    """What runs in the pod with a person's id, as their apps do, reaches no instrument directly.

    Members' code neither. The web server's and the relays' ids do, as they are the way.
    """
    own = [one for one in in_pod(portal, "hostname -I").split() if one != "127.0.0.1"]
    assert own, "the pod has no address of its own"
    screen = address("microscope.lab.test")
    direct = [*((one, 6081) for one in RELAY), (screen, 5901), (f"::ffff:{screen}", 5901)]
    direct += [("127.0.0.1", port) for port in (6082, 7081, 7082)]
    closed = [(one, 6081) for one in (*ELSEWHERE, *own)]
    program = CONNECT.format(asked=json.dumps([*WHO[who], [*direct, *closed]]))
    coded = base64.b64encode(program.encode()).decode()
    run = f"import base64; exec(base64.b64decode('{coded}'))"
    ends = json.loads(in_pod(portal, f'python3 -c "{run}"'))
    allowed = "through" if WHO[who][0] < 1000 else "ConnectionRefusedError"
    assert ends[: len(direct)] == [allowed] * len(direct), ends
    assert "through" not in ends[len(direct) :], ends
