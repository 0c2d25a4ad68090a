"""The portal is right again without a hand, whatever around it went away.

Each bound is what the documentation may promise; ``pytest -rP`` shows the seconds it took.
A host that loses its power is in ``tests/lab/test_portal.py``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
from hosts import ALICE, GATE, REFRESH, come, in_pod, podman, until, works
from testinfra.host import Host
from visitor import HOME, IDP, Answer, Visitor

ASKING = "cloudlet-portal-people"
TAKING = "cloudlet-portal-front"
FRONT = "/etc/cloudlet-deploy/portal_front"
CERTIFICATE, KEY = f"{FRONT}/certificate.pem", f"{FRONT}/key.pem"
#: Seconds in which the front serves a new certificate, or has said why it does not: it tries for
#: some seconds, as one of the two files comes first.
TAKEN = 20
#: Seconds in which what was restarted or killed on the portal's host is back.
BACK = 20
#: Seconds in which what a person's dead server left is out of the way.
STALE = 40


@contextmanager
def stopped(machine: Host, unit: str) -> Iterator[None]:
    """A service is away."""
    machine.check_output(f"systemctl stop {unit}")
    try:
        yield
    finally:
        machine.check_output(f"systemctl start {unit}")


def failed(portal: Host, unit: str) -> bool:
    return bool(portal.run(f"systemctl is-failed {unit}").succeeded)


def test_the_directory_may_be_away(portal: Host, directory: Host) -> None:
    with stopped(directory, "campus-ldap"):
        until(3 * REFRESH, lambda: failed(portal, ASKING), "the directory's absence is told")
        assert works(come("alice"))
        said = portal.check_output(f"journalctl -u {ASKING} -n 5 --no-pager -o cat")
        assert "ldaps://ldap.lab.test" in said and "Traceback" not in said
    until(3 * REFRESH, lambda: not failed(portal, ASKING), "the directory is asked again")


def half_way() -> tuple[Visitor, str]:
    """Somebody whom the provider has just sent back to the portal, and where to."""
    visitor = Visitor()
    asked = urlsplit(visitor.follow(HOME).url)
    sent = visitor.ask(
        f"{asked.path}?{asked.query}", host=IDP, method="POST", body=urlencode({"sub": "alice"}),
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )  # fmt: skip
    back = urlsplit(sent.headers["Location"])
    return visitor, f"{back.path}?{back.query}"


def tells_nothing(answer: Answer) -> bool:
    """Nothing of what is behind, and nothing of the portal."""
    inside = ("oidc_", "curl", "/etc/", "Traceback", "127.0.0.1", "openidc", "lab-client", "Titan")
    return not any(word in answer.text for word in inside)


@pytest.mark.parametrize("restarted", [False, True], ids=["known", "unknown"])
def test_the_provider_may_be_away(portal: Host, provider: Host, restarted: bool) -> None:
    alice, (late, back) = come("alice"), half_way()
    with stopped(provider, "campus-idp"):
        if restarted:
            # What the web server knew of the provider is gone.
            podman(portal, "exec portal systemctl restart apache2")
        until(BACK, lambda: works(alice), "who is logged in goes on")
        new = Visitor()
        assert tells_nothing(late.ask(back))
        for visitor in (new, late):
            home = visitor.ask(HOME)
            assert home.status >= 300 and tells_nothing(home), home
            assert visitor.websocket(GATE)[0] == 401
    until(BACK, lambda: works(come("alice")), "logins work again after the provider's absence")


@contextmanager
def kept(portal: Host) -> Iterator[None]:
    """The certificate and key of before are there again, as they were, and served."""
    both = f"{CERTIFICATE} {KEY}"
    portal.check_output(f"install -d -m 0700 /root/kept && cp -p {both} /root/kept/")
    before = portal.check_output(f"stat -c '%n %a %U %G' {both}; cat {both}")
    try:
        yield
    finally:
        # Once nobody is at work on what was there last.
        until(TAKEN, lambda: portal.run(f"systemctl is-active {TAKING}").stdout == "inactive\n"
              or failed(portal, TAKING))  # fmt: skip
        portal.check_output(f"cd /root/kept && cp -p *.pem {FRONT}/")
        assert portal.check_output(f"stat -c '%n %a %U %G' {both}; cat {both}") == before
        until(TAKEN, lambda: Visitor().ask("/").status < 400, "the old certificate is back")
        # What had failed runs once more, and restarts the front at its end.
        until(TAKEN, lambda: not failed(portal, TAKING))
        until(TAKEN, lambda: portal.run(f"systemctl is-active {TAKING}").stdout == "inactive\n")
        until(TAKEN, lambda: Visitor().ask("/").status < 400)


def make(portal: Host, where: str) -> str:
    """A certificate of its own key, on the host; the certificate."""
    portal.check_output(
        f"umask 077; mkdir -p {where}; openssl req -x509 -newkey rsa:2048 -nodes -days 2 "
        f"-subj /CN=portal.lab.test -addext subjectAltName=DNS:portal.lab.test "
        f"-keyout {where}/key.pem -out {where}/certificate.pem"
    )
    return str(portal.file(f"{where}/certificate.pem").content_string)


@pytest.mark.parametrize("pause", [1, 9])
def test_a_renewed_certificate_is_served(portal: Host, tmp_path: Path, pause: int) -> None:
    """Whenever its key comes: while the front waits for it, or when it is just giving up."""
    alice = come("alice")
    authority = tmp_path / "renewed.pem"
    authority.write_text(make(portal, "/root/renewed"))
    # Who trusts the new one only is served once it is there.
    new = replace(alice, authority=authority)
    with kept(portal):
        portal.check_output(f"cat /root/renewed/certificate.pem >{CERTIFICATE}")
        time.sleep(pause)
        portal.check_output(f"cat /root/renewed/key.pem >{KEY}")
        until(TAKEN, lambda: works(new), "a renewed certificate is served, sessions go on")
        assert not failed(portal, TAKING)
    assert works(alice)


@pytest.mark.parametrize("what", ["another key's", "broken"])
def test_a_wrong_certificate_is_not_taken(portal: Host, what: str) -> None:
    alice = come("alice")
    make(portal, "/root/wrong")
    wrong = "/root/wrong/certificate.pem" if what == "another key's" else "/root/wrong/key.pem"
    with kept(portal):
        portal.check_output(f"head -n 12 {wrong} >{CERTIFICATE}" if what == "broken"
                            else f"cat {wrong} >{CERTIFICATE}")  # fmt: skip
        until(TAKEN, lambda: failed(portal, TAKING), "a wrong certificate is told")
        said = portal.check_output(f"journalctl -u {TAKING} -n 20 --no-pager -o cat")
        assert f"Apache goes on with the old certificate: {CERTIFICATE} is none, or" in said
        assert works(alice) and works(come("alice"))


#: Of the host's systemd and of the pod's.
MISHAPS = {
    "restart": "restart apache2",
    "kill": "kill --kill-whom=main --signal=KILL apache2",
    "kill all": "kill --kill-whom=all --signal=KILL apache2",
}
RUNS = "systemctl is-active apache2"


@pytest.mark.parametrize("mishap", MISHAPS)
def test_the_front_comes_back(portal: Host, mishap: str) -> None:
    alice = come("alice")
    portal.check_output(f"systemctl {MISHAPS[mishap]}")
    until(BACK, lambda: portal.run(RUNS).succeeded and works(alice), f"front, {mishap}")


@pytest.mark.parametrize("mishap", MISHAPS)
def test_the_web_server_of_the_pod_comes_back(portal: Host, mishap: str) -> None:
    """Killed with all that belongs to its unit, people's servers are dead too."""
    alice = come("alice")
    podman(portal, f"exec portal systemctl {MISHAPS[mishap]}")
    time.sleep(1)
    # Sessions are in the browser, so nobody logs in again.
    back = STALE if mishap == "kill all" else BACK
    until(back, lambda: works(alice), f"the pod's web server, {mishap}")
    # What still answers may be what the dead one has left.
    in_pod(portal, RUNS)


def test_a_persons_server_comes_back(portal: Host) -> None:
    """As one that the kernel killed for want of memory: it leaves its socket."""
    alice = come("alice")
    master = "/run/ondemand-nginx/alice/passenger.pid"
    in_pod(portal, f"sh -c 'pkill -KILL -F {master}; pkill -KILL -u {ALICE}'")
    assert alice.ask(HOME).status == 503
    until(STALE, lambda: works(alice), "a person's server, killed")


def test_the_pod_comes_back(portal: Host) -> None:
    alice = come("alice")
    podman(portal, "kill portal")
    until(BACK, lambda: works(alice), "the pod, killed")
    assert works(come("alice"))
