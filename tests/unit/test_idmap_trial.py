"""``idmap_trial`` against the kernel that the tests run on, whose limits stand in no test."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import idmap_trial, idmaps
from ansible_collections.cloudlet.deploy.plugins.module_utils.idmap_trial import Fault
from ansible_collections.cloudlet.deploy.plugins.module_utils.idmaps import Extent, Refused

OWN, BASE = 989, 2_000_000
Level = dict[str, list[Extent]]


def _levels(number: int, first: int = 123456) -> list[Level]:
    """Maps for ``number`` users whose ids do not follow each other."""
    ids = [(first + 2 * step, 1) for step in range(number)]
    namespace = idmaps.podman_map(OWN, [(BASE, 65536), *ids])
    pod = idmaps.pod_map(BASE, ids, namespace)
    return [{"uid_map": one, "gid_map": one} for one in (namespace, pod)]


def _works() -> bool:
    """By another program than ours, so that a fault of ours is none of the machine's."""
    one = ["unshare", "--user", "--map-root-user"]
    nested = subprocess.run([*one, *one, "true"], capture_output=True, check=False)
    return os.geteuid() == 0 and nested.returncode == 0


needs_namespaces = pytest.mark.skipif(
    not _works(), reason="needs root and nested user namespaces, which this machine does not allow"
)


@needs_namespaces
@pytest.mark.parametrize("first", [1000, 123456, 1_234_567_890])
def test_the_largest_that_fits_passes_and_one_more_is_refused(first: int) -> None:
    good, bad = 1, 2000
    while bad - good > 1:
        middle = (good + bad) // 2
        fits = idmap_trial.attempt(_levels(middle, first)) is None
        good, bad = (middle, bad) if fits else (good, middle)
    assert 100 < good < 1000, "no kernel is known that takes another number"
    idmap_trial.check(_levels(good, first), "host1")
    levels = _levels(good + 1, first)
    with pytest.raises(Refused) as caught:
        idmap_trial.check(levels, "host1")
    text = str(caught.value)
    # At the limit Podman's namespace and a pod's are about as large: either may be refused.
    sizes = {(len(one["uid_map"]), len(idmaps.written(one["uid_map"]))) for one in levels}
    assert any(f"{lines} lines, {size} bytes" in text for lines, size in sizes), text
    assert text.startswith("host1: the kernel does not take the map of user ids of ")
    assert "share a line" in caught.value.next_step
    # As many ids in one range are one line.
    ids = [(first, good + 1)]
    namespace = idmaps.podman_map(OWN, [(BASE, 65536), *ids])
    pod = idmaps.pod_map(BASE, ids, namespace)
    idmap_trial.check([{"uid_map": one, "gid_map": one} for one in (namespace, pod)], "host1")


@needs_namespaces
def test_the_pods_map_is_tried_inside_podmans() -> None:
    podman, pod = _levels(3)
    # In the host's namespace this would be allowed.
    outside = [Extent(0, BASE, 1000)]
    assert idmap_trial.attempt([{"uid_map": outside, "gid_map": outside}]) is None
    fault = idmap_trial.attempt([podman, {"uid_map": outside, "gid_map": pod["gid_map"]}])
    assert fault == Fault(1, "uid_map", errno.EPERM)
    twice = [*pod["gid_map"], Extent(500, 5000, 1)]
    fault = idmap_trial.attempt([podman, {**pod, "gid_map": twice}])
    assert fault == Fault(1, "gid_map", errno.EINVAL)
    with pytest.raises(Refused, match=r"group ids of a pod: 6 lines, .* it takes 5 of these"):
        idmap_trial.check([podman, {**pod, "gid_map": twice}], "host1")


@needs_namespaces
def test_nothing_is_left_behind() -> None:
    def children() -> str:
        return Path("/proc/self/task", str(os.getpid()), "children").read_text()

    def files() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    before = (children(), files())
    for number in (1, 2000):
        idmap_trial.attempt(_levels(number))
    assert (children(), files()) == before


@pytest.mark.parametrize(
    ("fault", "words", "step"),
    [
        (Fault(0, "unshare", errno.ENOSPC), "user namespaces cannot be made (unshare", "max_user"),
        (Fault(1, "unshare", errno.EPERM), "cannot be made in another one", "a container"),
        (Fault(1, "gid_map", errno.EPERM), "write the group ids of a pod", "CAP_SETGID"),
    ],
)
def test_what_a_host_cannot_do_is_said_by_name(
    monkeypatch: pytest.MonkeyPatch, fault: Fault, words: str, step: str
) -> None:
    monkeypatch.setattr(idmap_trial, "attempt", lambda levels: fault)
    with pytest.raises(Refused) as caught:
        idmap_trial.check(_levels(1), "host1")
    assert words in str(caught.value) and str(caught.value).startswith("host1: ")
    assert step in caught.value.next_step


def test_a_host_without_these_ids_is_told_which_it_has(tmp_path: Path) -> None:
    for name in ("uid_map", "gid_map"):
        (tmp_path / name).write_text("         0          1      65536\n")
    check: Any = idmap_trial._check_own_ids
    with pytest.raises(Refused, match=r"user ids 123456 to 123456 do not exist .* has 0 to 65535"):
        check(_levels(1)[0], "host1", str(tmp_path))
