"""``idmaps``: maps in are maps out, whatever is delegated."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import idmaps
from ansible_collections.cloudlet.deploy.plugins.module_utils.idmaps import Extent, Refused
from hypothesis import given
from hypothesis import strategies as st

OWN, BASE = 989, 2_000_000
Ranges = list[tuple[int, int]]

_RANGE = st.tuples(st.integers(1000, 4_000_000), st.integers(1, 50))


def _apart(ranges: Ranges, forbidden: Ranges) -> Ranges:
    """Those that meet neither what is forbidden nor each other."""
    found: Ranges = []
    for start, count in ranges:
        taken = [*forbidden, *found]
        if not any(start < first + n and first < start + count for first, n in taken):
            found.append((start, count))
    return found


@st.composite
def _delegations(draw: st.DrawFn) -> tuple[Ranges, Ranges, int, int]:
    """(approved, further ranges of the account, base, count)."""
    base, count = draw(st.sampled_from([70_000, BASE, 3_999_000])), draw(st.integers(1001, 65536))
    # 65534 is the pod's own nobody, and the account's own id is nobody else's.
    forbidden = [(base, count), (65534, 1)]
    found = _apart(draw(st.lists(_RANGE, max_size=12)), forbidden)
    split = draw(st.integers(0, len(found)))
    return found[:split], found[split:], base, count


def _through(extents: list[Extent], inside: int) -> int | None:
    """What the id ``inside`` is outside, as the kernel would look it up."""
    hits = [
        e.outside + inside - e.inside for e in extents if e.inside <= inside < e.inside + e.count
    ]
    assert len(hits) <= 1
    return hits[0] if hits else None


def _kernel_takes(extents: list[Extent]) -> bool:
    """No id twice, on neither side."""
    for side in ("inside", "outside"):
        ends = sorted((getattr(e, side), getattr(e, side) + e.count) for e in extents)
        if any(end > start for (_, end), (start, _) in pairwise(ends)):
            return False
    return True


@given(_delegations())
def test_what_goes_in_comes_out(delegation: tuple[Ranges, Ranges, int, int]) -> None:
    approved, further, base, count = delegation
    namespace = idmaps.podman_map(OWN, [(base, count), *approved, *further])
    assert _kernel_takes(namespace)
    pod = idmaps.pod_map(base, approved, namespace)
    assert _kernel_takes(pod)
    for start, length in approved:
        for number in {start, start + length // 2, start + length - 1}:
            middle = _through(pod, number)
            assert middle is not None and _through(namespace, middle) == number
    for number in (0, 1, 999):
        middle = _through(pod, number)
        assert middle and _through(namespace, middle) == base + number
    nobody = _through(pod, 65534)
    assert nobody and _through(namespace, nobody) == base + 1000
    assert all(extent.outside != 0 for extent in pod), "the service account is in no pod"
    inside = sum(extent.count for extent in pod)
    assert inside == 1001 + sum(n for _, n in idmaps.merged(approved)), "and nothing else is"
    # Lines that continue each other are one.
    pairs = pairwise(pod)
    assert not any(
        (a.inside + a.count, a.outside + a.count) == (b.inside, b.outside) for a, b in pairs
    )
    # What stands in the text is what is meant.
    assert idmaps.parsed(idmaps.written(pod)) == pod


@given(_delegations())
def test_both_ways_to_say_it_mean_the_same(delegation: tuple[Ranges, Ranges, int, int]) -> None:
    approved, further, base, count = delegation
    namespace = idmaps.podman_map(OWN, [(base, count), *approved, *further])
    pod = idmaps.pod_map(base, approved, namespace)
    old = [Extent(*map(int, text.split(":"))) for text in idmaps.old_arguments(pod)]
    assert old == pod
    for text in idmaps.host_arguments(base, approved):
        inside, host, length = text.lstrip("+").replace("@", "").split(":")
        assert text.startswith("+") == (inside == host)
        for step in {0, int(length) - 1}:
            middle = _through(pod, int(inside) + step)
            assert middle is not None and _through(namespace, middle) == int(host) + step


@given(st.lists(_RANGE, max_size=12))
def test_merged_ranges_have_the_same_ids_and_never_touch(ranges: Ranges) -> None:
    found = idmaps.merged(ranges)
    ids = {number for start, count in ranges for number in range(start, start + count)}
    assert {number for start, count in found for number in range(start, start + count)} == ids
    assert all(a[0] + a[1] < b[0] for a, b in pairwise(found))


def test_as_measured() -> None:
    """The portal's map, as it was found with Podman 4.3 by hand."""
    namespace = idmaps.podman_map(OWN, [(200_000, 65536), (54321, 1), (123456, 1), (123460, 2)])
    pod = idmaps.pod_map(200_000, [(54321, 1), (123456, 1), (123460, 2)], namespace)
    assert idmaps.old_arguments(pod) == [
        "0:5:1000", "54321:1:1", "65534:1005:1", "123456:2:1", "123460:3:2",
    ]  # fmt: skip
    assert idmaps.host_arguments(2_000_000, [(123456, 1)]) == [
        "0:@2000000:1000", "65534:@2001000:1", "+123456:@123456:1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("approved", "words"),
    [
        ([(999, 1)], "has 0 to 999"),
        ([(65530, 10)], "and 65534 for itself"),
        ([(BASE + 5, 1)], "lie in the base range"),
        ([(5000, 1)], "no id 5000"),
    ],
)
def test_what_has_no_place_in_a_pod_is_refused(approved: Ranges, words: str) -> None:
    namespace = idmaps.podman_map(OWN, [(BASE, 65536), (999, 1)])
    with pytest.raises(Refused, match=words):
        idmaps.pod_map(BASE, approved, namespace)


def test_a_range_may_be_in_several_lines_of_the_namespace() -> None:
    """In any order: what a namespace has is looked up, not computed."""
    namespace = [Extent(0, OWN, 1), Extent(1, BASE, 65536), Extent(65537, 5001, 1)]
    with pytest.raises(Refused, match="no id 5002"):
        idmaps.pod_map(BASE, [(5001, 2)], namespace)
    namespace.append(Extent(65538, 5000, 1))
    assert idmaps.pod_map(BASE, [(5000, 2)], namespace)[1:3] == [
        Extent(5000, 65538, 1),
        Extent(5001, 65537, 1),
    ]


def test_the_service_account_is_in_no_pod() -> None:
    namespace = idmaps.podman_map(5000, [(BASE, 65536)])
    with pytest.raises(Refused, match="service account itself would be the id 5000"):
        idmaps.pod_map(BASE, [(5000, 1)], namespace)


# ---- the program, alone on a host -----------------------------------------------------------


class Installed:
    """The program in a directory without anything else of ours, and a Podman that answers."""

    def __init__(self, base: Path) -> None:
        self.base = base
        (base / "pod-id-map").write_text(Path(idmaps.__file__).read_text())
        self.document = {
            "account": "oodsvc",
            "base": {"uid": [BASE, 65536], "gid": [BASE, 65536]},
            "uids": [[123456, 2]],
            "gids": [[123400, 1]],
        }
        self.maps = {"uid": [(BASE, 65536), (123456, 2)], "gid": [(BASE, 65536), (123400, 1)]}

    def run(self, *options: str, version: str = "5.4.2") -> Any:
        (self.base / "ids.json").write_text(json.dumps(self.document))
        told = "".join(
            f"/proc/self/{kind}_map: {'  '.join(map(str, extent))}\n"
            for kind, ranges in self.maps.items()
            for extent in idmaps.podman_map(OWN, ranges)
        )
        (self.base / "maps").write_text(told)
        podman = self.base / "podman"
        podman.write_text(
            "#!/bin/sh\n[ $1 = --version ] && exec echo podman version "
            f'{version}\n[ "$1 $2" = "unshare grep" ] && exec cat {self.base}/maps\nexit 1\n'
        )
        podman.chmod(0o755)
        argv = [sys.executable, "-I", str(self.base / "pod-id-map"), *options]
        argv += ["--ids", str(self.base / "ids.json")]
        env = {"PATH": f"{self.base}:/usr/bin:/bin"}
        return subprocess.run(argv, env=env, capture_output=True, text=True, check=False)


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    return Installed(tmp_path)


def test_the_program_prints_options_and_finds_the_version(installed: Installed) -> None:
    old = [
        "--uidmap=0:3:1000", "--uidmap=65534:1003:1", "--uidmap=123456:1:2",
        "--gidmap=0:2:1000", "--gidmap=65534:1002:1", "--gidmap=123400:1:1",
    ]  # fmt: skip
    new = [
        "--uidmap=0:@2000000:1000", "--uidmap=65534:@2001000:1", "--uidmap=+123456:@123456:2",
        "--gidmap=0:@2000000:1000", "--gidmap=65534:@2001000:1", "--gidmap=+123400:@123400:1",
    ]  # fmt: skip
    for options, version, expected in (
        (["--old-syntax"], "5.4.2", old),
        (["--host-ids"], "5.4.2", new),
        ([], "4.7.0", new),
        ([], "4.3.1", old),
        ([], "4.10.0-rc1", new),
    ):
        done = installed.run(*options, version=version)
        assert done.stdout.splitlines() == expected, (options, version, done.stderr)
        assert done.returncode == 0 and done.stderr == ""


@pytest.mark.parametrize("way", ["--old-syntax", "--host-ids"])
def test_the_program_refuses_a_namespace_of_former_ids(installed: Installed, way: str) -> None:
    installed.maps["gid"] = [(BASE, 65536)]
    done = installed.run(way)
    assert done.returncode == 1 and done.stdout == ""
    assert "no id 123400" in done.stderr and "podman system migrate" in done.stderr


def test_the_program_says_what_is_wrong_with_its_host(installed: Installed) -> None:
    installed.document = {}
    done = installed.run("--host-ids")
    assert done.returncode == 1 and "ids.json" in done.stderr and "Apply again" in done.stderr
    (installed.base / "podman").unlink()


def test_undelegated_ids_are_named(tmp_path: Path) -> None:
    document = Installed(tmp_path).document
    files = {"uid": str(tmp_path / "subuid"), "gid": str(tmp_path / "subgid")}
    (tmp_path / "subuid").write_text(
        "oodsvc:2000000:65536\n# x\noodsvc:123456:1\noodsvc:123457:1\n"
    )
    (tmp_path / "subgid").write_text("oodsvc:2000000:65536\nother:123400:1\n")
    assert idmaps.undelegated(document, files) == [f"{files['gid']}: oodsvc:123400:1"]
