"""A program behind the gate of the inventory ``lab-portal``, and who reaches it."""

from __future__ import annotations

import importlib

from tests.lab.conftest import TestLab

PORTAL, NAME, PORT = "portal.lab.test", "cryosparc.portal.lab.test", 61000
_SERVE = (
    "mkdir -p /run/page && echo 'the program' >/run/page/index.html"
    " && systemd-run --quiet --unit=page --property=User=nobody"
    f" python3 -m http.server --bind 127.0.0.1 {PORT} --directory /run/page"
    f" && bash -c 'until (: </dev/tcp/127.0.0.1/{PORT}); do sleep 0.2; done' 2>/dev/null"
)


def seen_by(lab: TestLab, *people: str) -> list[tuple[int, bool]]:
    """The status that each is answered with who logs in there, and whether the program is shown.

    What a visitor does is the Molecule scenario's, which must be importable.
    """
    visitor = importlib.import_module("visitor")
    lab.run(PORTAL, _SERVE)
    try:
        answers = [visitor.Visitor().log_in(who, host=NAME, path="/") for who in people]
    finally:
        lab.run(PORTAL, "systemctl stop page; rm -r /run/page")
    return [(answer.status, "the program" in answer.text) for answer in answers]
