"""CryoSPARC beside the portal: its way in, and movies from the camera through the cluster."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hosts import CUT, REFRESH, come, host, until
from testinfra.host import Host
from visitor import FILES, IDP, SITE, Visitor, address

CRYOSPARC = "cryosparc.portal.lab.test"
#: Inside of the gate, outside of it, and where the program itself answers.
PAGE, UNTIL, PORT = "/", "/var/lib/cloudlet-portal/site/gate-until", 61000
MANAGER = "/opt/cryosparc/cryosparc_master/bin/cryosparcm"
MOVIES = [f"GridSquare_{number}.tif" for number in range(3)]
#: The status of its page for each who has logged in; nobody's is a way to the provider.
MATRIX = {"unknown": 403, "mallory": 403, "carol": 403, "bob": 403, "alice": 200}
TRICKS = (
    "//",
    "/./",
    "/%2e/",
    "/oidc/../",
    "/oidc%2f../",
    "/oidc/x",
    "/api/x",
    "/ROOT",
    "/?x=/oidc",
)


def shown(visitor: Visitor, path: str = PAGE) -> bool:
    """Whether the program itself has answered."""
    return "CryoSPARC (lab stand-in)" in visitor.ask(path, host=CRYOSPARC).text


@pytest.mark.parametrize("sub", MATRIX)
def test_members_alone_see_its_page(sub: str) -> None:
    visitor = Visitor()
    answer = visitor.log_in(sub, host=CRYOSPARC, path=PAGE)
    assert answer.status == MATRIX[sub] and "Apache/" not in answer.text
    assert shown(visitor) == (sub == "alice")
    if sub != "alice":
        assert not any(shown(visitor, path) for path in TRICKS)


def test_who_has_not_logged_in_is_sent_to_the_provider() -> None:
    nobody = Visitor()
    assert nobody.follow(PAGE, host=CRYOSPARC).url.startswith(f"https://{IDP}/")
    assert not any(shown(Visitor(), path) for path in TRICKS)
    # Programs that take no HTML are told at once.
    assert (
        nobody.ask("/api/x", host=CRYOSPARC, headers={"Accept": "application/json"}).status == 401
    )


def test_a_session_of_the_portal_is_none_of_its(visitors: dict[str | None, Visitor]) -> None:
    """Each name has a session of its own; the portal's cookies open nothing here."""
    stolen = Visitor(cookies={CRYOSPARC: dict(visitors["alice"].cookies["portal.lab.test"])})
    assert not shown(stolen)


def test_there_is_no_other_way_to_it(portal: Host) -> None:
    """Neither by a path of the portal, nor by its port, nor without TLS."""
    assert not any(
        "CryoSPARC (lab stand-in)" in come("alice").ask(path).text
        for path in (f"/rnode/127.0.0.1/{PORT}/", f"/node/127.0.0.1/{PORT}/", "/cryosparc/")
    )
    there = address("portal.lab.test")
    for other in ("login.lab.test", "node1.lab.test", "camera.lab.test"):
        asked = host(other).run(f"timeout 5 bash -c '</dev/tcp/{there}/{PORT}'")
        assert asked.rc != 0 and "refused" in asked.stderr, (other, asked)
    ask = f"printf 'GET / HTTP/1.0\\r\\nHost: {CRYOSPARC}\\r\\n\\r\\n' >&3; cat <&3"
    plain = portal.check_output(f'bash -c "exec 3<>/dev/tcp/127.0.0.1/80; {ask}"')
    assert f"Location: https://{CRYOSPARC}/" in plain and "stand-in" not in plain


def test_answers_that_are_out_of_date_let_nobody_in(portal: Host) -> None:
    """As when what asks the directory does not run any more."""
    alice = Visitor()
    alice.log_in("alice", host=CRYOSPARC, path=PAGE)
    portal.check_output("systemctl stop cloudlet-portal-people.timer")
    kept = portal.check_output(f"cat {UNTIL}")
    try:
        portal.check_output(f"printf 20260101000000 >{UNTIL}")
        assert alice.ask(PAGE, host=CRYOSPARC).status == 403
        portal.check_output(f": >{UNTIL}")
        assert alice.ask(PAGE, host=CRYOSPARC).status == 403
    finally:
        portal.check_output(f"printf {kept} >{UNTIL}; systemctl start cloudlet-portal-people.timer")
    assert shown(alice)


def test_who_leaves_the_group_is_out(portal: Host) -> None:
    """With their session and what it has open; and in again when they are a member."""
    alice = Visitor()
    alice.log_in("alice", host=CRYOSPARC, path=PAGE)
    try:
        with alice.watching("/socket", host=CRYOSPARC) as line:
            assert (line.status, line.first) == (101, b"hello")
            portal.check_output("gpasswd --delete alice instrument")
            until(REFRESH + CUT, lambda: not shown(alice), "a member is out of CryoSPARC")
            assert line.ends_within(CUT)
    finally:
        portal.check_output("gpasswd --add alice instrument")
    until(REFRESH + CUT, lambda: shown(alice), "a member is in CryoSPARC again")


def as_account(portal: Host, command: str) -> str:
    return str(portal.check_output(f"su cryosparc -c 'cd / && {command}'"))


def next_job() -> int:
    """The number that Slurm gives to the next job."""
    settings = host("login.lab.test").check_output("scontrol show config")
    return int(re.findall(r"NEXT_JOB_ID\s*=\s*(\d+)", settings)[0])


def test_the_cameras_movies_come_out_of_the_cluster(portal: Host) -> None:
    """From the camera by SSHFS, through the lane into Slurm, to who looks in the portal."""
    raw, project = "/srv/cloudlet/camera", "/srv/projects/P1"
    host("camera.lab.test").check_output(
        f"cd /srv/camera && for one in {' '.join(MOVIES)}; do echo movie $one >$one; done"
    )
    as_account(portal, f"mkdir -p {project}")
    before = next_job()
    session = f"{MANAGER} standin-session"
    as_account(portal, f"{session} start --raw {raw} --project {project} --lane cluster --copy")
    try:
        made = [f"{one.removesuffix('.tif')}_patch_aligned.mrc" for one in MOVIES]
        listing = f"ls {project}/S1 2>/dev/null | grep mrc$ | xargs"
        until(90, lambda: portal.check_output(listing).split() == made, "three movies")
    finally:
        as_account(portal, f"{session} stop --raw {raw}")
    assert next_job() > before
    seen = come("alice").ask(f"{FILES}{project}/S1/{made[0]}")
    assert seen.status == 200 and seen.text.startswith("stand-in of an aligned movie"), seen


def test_status_knows_of_all_of_it() -> None:
    program = Path(sys.executable).parent / "cloudlet-deploy"
    done = subprocess.run(
        [program, "status", "-i", SITE, "--output", "json"], capture_output=True, text=True,
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    [seen] = json.loads(done.stdout)["hosts"]
    assert seen["host"] == "portal.lab.test" and not seen["drift"] and not seen["problems"]
    [titan] = seen["watches"]
    assert (titan["movies"], titan["waiting"]) == (len(MOVIES), 0), titan
