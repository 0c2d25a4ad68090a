"""As many people's ids as the kernel takes, with real pods of both Podmans; one more is refused.

The kernel says how many, the number stands nowhere.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import pytest

from tests.lab.conftest import TestLab, needs_devices, set_values

pytestmark = [pytest.mark.lab, needs_devices]
DEFINITION = "lab-rootless"
OLD, NEW = "bookworm.lab.test", "trixie.lab.test"
ACCOUNT = "oodsvc"
_FILES = "cat /etc/subuid /etc/subgid; getent passwd; ls /var/lib/cloudlet-deploy/sets 2>&1; true"
#: What an image is made of: one program, so that no registry is needed.
_ROOT = "mkdir -p /srv/root/bin && cp /bin/busybox /srv/root/bin/"


class Refusal(NamedTuple):
    lines: int
    taken: int


def configure(lab: TestLab, number: int) -> None:
    """So many ids of people, none of which follows another: each costs a line."""
    ids = [300001 + 2 * step for step in range(number)]
    set_values(
        lab.site / "group_vars" / "cloudlet.yml",
        podman_host_approved_users=[],
        podman_host_delegated_uids=ids,
        podman_host_delegated_gids=ids[:1],
    )


def refused(lab: TestLab, host: str) -> Refusal | None:
    """What the host's kernel objects to in an apply, if it does; nothing has changed then."""
    before = lab.run(host, _FILES).stdout
    done = lab.cli("apply", "--yes", "--no-preflight", "--limit", host)
    if done.returncode == 0:
        return None
    said = " ".join(done.stderr.split())
    found = re.search(r"does not take the map of user ids .*: (\d+) lines.* takes (\d+) of", said)
    assert found, said
    assert lab.run(host, _FILES).stdout == before
    return Refusal(int(found[1]), int(found[2]))


def in_pod(lab: TestLab, host: str, command: str, user: int) -> str:
    """What a command says in a pod that has all ids."""
    home, uid = f"/var/lib/{ACCOUNT}", lab.run(host, f"id -u {ACCOUNT}").stdout.strip()
    become = f"runuser -u {ACCOUNT} -- env -C / HOME={home} XDG_RUNTIME_DIR=/run/user/{uid}"
    pod = f"--rm --network=none --user={user} localhost/one /bin/busybox {command}"
    return lab.run(
        host,
        f"tar -C /srv/root -c . | {become} podman import --quiet - localhost/one >/dev/null && "
        f"maps=$({become} /usr/local/libexec/cloudlet-deploy/pod-id-map) && "
        f"{become} podman run $maps {pod}",
    ).stdout


@pytest.mark.parametrize("host", [OLD, NEW])
def test_the_largest_map_works_and_one_more_is_refused(lab: TestLab, host: str) -> None:
    lab.run(host, _ROOT)
    configure(lab, 1000)
    found = refused(lab, host)
    assert found is not None
    # Podman's map and a pod's are about as long: the other one may take less.
    fits = 1000 - (found.lines - found.taken)
    configure(lab, fits)
    while refused(lab, host):
        fits -= 1
        configure(lab, fits)
    last = 300001 + 2 * (fits - 1)
    assert in_pod(lab, host, "id -u", last) == f"{last}\n"
    assert len(in_pod(lab, host, "cat /proc/self/uid_map", last).splitlines()) >= fits > 100
    configure(lab, fits + 1)
    assert refused(lab, host) is not None
    assert in_pod(lab, host, "id -u", last) == f"{last}\n"
