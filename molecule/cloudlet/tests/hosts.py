"""The hosts of the scenario as root sees them, and how long things take there."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import testinfra
from testinfra.host import Host
from visitor import HOME, RFB, SITE, Visitor

#: As accounts and groups are on the host.
ALICE, BOB, SCIENCE = 123456, 123457, 123400
GATE = "/rnode/127.0.0.1/6081/websockify"
#: Seconds between two looks at the directory, as the inventory has it, and some to cut sessions,
#: which an emulated machine needs more of.
REFRESH, CUT = 10, float(os.environ.get("PORTAL_CUT_SECONDS", "15"))


def host(name: str) -> Host:
    """A host of the lab, with root's rights."""
    return testinfra.get_host(f"ansible://{name}?ansible_inventory={SITE}", sudo=True)


def come(sub: str | None) -> Visitor:
    """A visitor who has logged in, or has tried to; nobody's name is an anonymous one."""
    visitor = Visitor()
    if sub:
        visitor.log_in(sub)
    return visitor


def until(seconds: float, what: Callable[[], bool], said: str = "") -> float:
    """``what`` becomes true within the time; the seconds it took, which ``pytest -rP`` shows.

    A refused connection is not yet true.
    """
    began = time.monotonic()
    while not _is(what):
        assert time.monotonic() < began + seconds, f"{said} took longer than {seconds} s"
        time.sleep(0.3)
    took = time.monotonic() - began
    print(f"{said}: {took:.1f} s")
    return took


def _is(what: Callable[[], bool]) -> bool:
    try:
        return what()
    except OSError:
        return False


def works(visitor: Visitor) -> bool:
    """Whether the portal and the instrument are open to the visitor, whatever they asked before."""
    return visitor.ask(HOME).status == 200 and visitor.websocket(GATE) == (101, RFB)


def podman(portal: Host, command: str) -> str:
    """What a command of the account's Podman prints."""
    return str(
        portal.check_output(
            # Under SELinux it is at the level of the pod, whose words come by its pipe.
            "cd /; level=$([ ! -e /sys/fs/selinux/enforce ] || echo runcon -l s0); "
            "HOME=/var/lib/oodsvc XDG_RUNTIME_DIR=/run/user/$(id -u oodsvc) "
            f"setpriv --reuid oodsvc --regid oodsvc --init-groups $level env podman {command}"
        )
    )


def in_pod(portal: Host, command: str) -> str:
    """What a command in the pod prints, as its root."""
    return podman(portal, f"exec portal {command}")
