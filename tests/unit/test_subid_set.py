"""``subid_set`` over files in a directory, with accounts that exist in the test only."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.cloudlet.deploy.plugins.module_utils import (
    idmap_trial,
    podman_account,
    subids,
)
from ansible_collections.cloudlet.deploy.plugins.module_utils.host_state import Ledger
from ansible_collections.cloudlet.deploy.plugins.module_utils.idmaps import Refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.subid_host import FOUND, Host, wanted


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    host = Host(tmp_path)
    # What the kernel says has tests of its own, and takes a kernel that lets one ask.
    monkeypatch.setattr(idmap_trial, "check", lambda levels, name: host.trials.append(levels))
    return host


def test_ids_come_and_go_by_line(host: Host) -> None:
    before = host.everything()
    planned = host.set(True, users=["alice", "carol"])
    assert host.everything() == before
    made = host.set(users=["alice", "carol"])
    assert made == planned
    assert host.told(made) == [
        "+subuid oodsvc:2000000:65536", "+subuid oodsvc:323456:2",
        "+subgid oodsvc:2000000:65536", "+subgid oodsvc:250001:1", "+subgid oodsvc:323400:1",
    ]  # fmt: skip
    assert made["left_out"] == ["alice is in the group 101, a group of the system (render)"]
    assert made["ids"] == {
        "account": "oodsvc",
        "base": {"uid": [2000000, 65536], "gid": [2000000, 65536]},
        "uids": [[323456, 2]],
        "gids": [[250001, 1], [323400, 1]],
    }
    assert made["maps"]["uid"] == [[0, 989, 1], [1, 323456, 2], [3, 2000000, 65536]]
    assert (host.etc / "subuid").read_bytes().startswith(FOUND)
    after = host.everything()
    assert not host.set(users=["carol", "alice"])["changed"] and host.everything() == after

    assert host.told(host.set(True, users=["alice"])) == host.told(host.set(users=["alice"])) == [
        "-subuid oodsvc:323456:2", "+subuid oodsvc:323456:1",
    ]  # fmt: skip
    assert host.lines("subuid") == ["oodsvc:2000000:65536", "oodsvc:323456:1"]
    assert host(True).absent() == host().absent() != {"changed": False, "changes": []}
    assert {n: host.everything()[n] for n in before} == before
    assert Ledger(str(host.state)).entries == {}
    assert host().absent() == {"changed": False, "changes": []}


def test_lines_that_were_there_stay_and_count(host: Host) -> None:
    (host.etc / "subuid").write_bytes(FOUND + b"oodsvc:300000:65536\noodsvc:5000000:65536")
    (host.etc / "subgid").unlink()
    host.village.people.pop("alice")
    made = host.set(users=["carol"], base_count=1001)
    # carol's id is not in its approved range alone: the range also has ids that nobody has yet.
    assert host.told(made) == ["+subgid oodsvc:5065536:1001", "+subgid oodsvc:323400:1"]
    assert made["ids"]["base"] == {"uid": [5000000, 65536], "gid": [5065536, 1001]}
    host(component=None).absent()
    assert (host.etc / "subuid").read_bytes() == (
        FOUND + b"oodsvc:300000:65536\noodsvc:5000000:65536"
    )
    assert not (host.etc / "subgid").exists()


def test_a_file_without_a_last_newline_gets_it_back(host: Host) -> None:
    (host.etc / "subuid").write_bytes(FOUND[:-1])
    host.set()
    assert host.lines("subuid") == ["oodsvc:2000000:65536"]
    host().absent()
    assert (host.etc / "subuid").read_bytes() == FOUND[:-1]
    # Not if somebody has added a line since: its newline is somebody else's.
    host.set()
    with (host.etc / "subuid").open("ab") as stream:
        stream.write(b"dora:700000:65536\n")
    host().absent()
    assert (host.etc / "subuid").read_bytes() == FOUND + b"dora:700000:65536\n"


def test_another_account_takes_over_and_mode_and_owner_stay(host: Host) -> None:
    path = host.etc / "subuid"
    path.chmod(0o640)
    inode = path.stat().st_ino
    host.set(users=["alice"])
    changed = host.told(host.set(account="other", users=["alice"], uid=980))
    assert "-subuid oodsvc:323456:1" in changed and "+subuid other:323456:1" in changed
    assert "-subuid oodsvc:2000000:65536" in changed
    assert path.stat().st_mode & 0o777 == 0o640 and path.stat().st_ino != inode
    host().absent()
    assert path.read_bytes() == FOUND


def test_the_base_range_lies_beyond_everything_and_stays(host: Host) -> None:
    host.village.people["far"] = (3_000_000, [3_000_000])
    host.village.people["nfsnobody"] = (4294967294, [4294967294])
    with (host.etc / "subgid").open("ab") as stream:
        stream.write(b"admin:3000001:500\n")
    assert host.set()["ids"]["base"] == {"uid": [3000501, 65536], "gid": [3000501, 65536]}
    host.village.people["farther"] = (9_000_000, [9_000_000])
    assert not host.set()["changed"]
    with pytest.raises(Refused, match="begins at 3000501, wanted is 2000000") as caught:
        host.set(base_start=2_000_000)
    assert "podman_host_base_start to 3000501" in caught.value.next_step


@pytest.mark.parametrize(
    ("options", "words", "step"),
    [
        ({"users": ["eve"]}, "host1: the user eve .* does not exist", "getent passwd eve"),
        ({"users": ["root"]}, r"root \(uid 0\) is an account of the system", "ordinary"),
        ({"users": ["daemon"]}, "is an account of the system", "ordinary"),
        ({"users": ["nobody"]}, "is nobody", "ordinary"),
        ({"users": ["admin"]}, r"may become root \(group sudo\)", "ordinary"),
        ({"users": ["oodsvc"]}, "is the service account itself", "ordinary"),
        ({"uids": ["1000"]}, "admin .* may become root", "ordinary"),
        ({"uids": ["999-1500"]}, "has ids of the system", "inventory"),
        ({"uids": ["0"]}, "has ids of the system", "inventory"),
        ({"uids": ["60000-70000"]}, "or nobody's", "inventory"),
        ({"uids": ["9-5"]}, "is no id and no range", "quotes"),
        ({"uids": ["x"]}, "is no id and no range", "quotes"),
        ({"gids": ["4000"]}, "has 4000, the group docker", "inventory"),
        ({"gids": ["27"]}, "has ids of the system", "inventory"),
        ({"uids": ["165000"]}, r"subuid line 2 gives admin:100000:65536 to admin", "usermod"),
        ({"gids": ["231071-231080"]}, r"subgid line 5 gives bob:165536:65536 to bob", "approve"),
        ({"base_start": 200000}, "line 5 gives bob", "usermod"),
        ({"base_start": 323000}, "has the id 323456 of the account alice", "free range"),
        ({"base_start": 249000}, "has the id 250001 of the group proj", "free range"),
        ({"base_start": 5000}, "begins below 65536", "free range"),
        ({"base_start": 2**31 - 1000}, "no room", "gap"),
        ({"base_count": 1000}, "too small for a pod", "65536"),
        ({"uids": ["900000-900100"], "base_start": 900050}, "has the approved ids 900000", "free"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_changed(
    host: Host, options: dict[str, Any], words: str, step: str
) -> None:
    before = host.everything()
    for check in (True, False):
        with pytest.raises(Refused, match=words) as caught:
            host.set(check, **options)
        assert step in caught.value.next_step
    with pytest.raises(Refused, match=words):
        host().checked(wanted(**options))
    assert host.everything() == before


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("989:4000000:65536", "line 6 gives a range to oodsvc by its number"),
        ("oodsvc:0:1", "line 6 gives oodsvc what is not approved"),
        ("oodsvc:1000:1", r"not approved: 1000 \(the account admin\)"),
        ("oodsvc:323450:100", r"not approved: .*323457 \(the account carol\)"),
    ],
)
def test_found_lines_that_give_too_much_are_named(host: Host, line: str, words: str) -> None:
    (host.etc / "subuid").write_bytes(FOUND + f"{line}\n".encode())
    with pytest.raises(Refused, match=words):
        host.set(users=["alice"])


def test_a_primary_group_of_the_system_is_an_error(host: Host) -> None:
    host.village.people["dora"] = (5000, [100])
    with pytest.raises(Refused, match="primary group of the user dora is 100"):
        host.set(users=["dora"])


def test_all_faults_are_told_at_once(host: Host) -> None:
    with pytest.raises(Refused, match=r"eve .*; .*root .*; .*ids of the system"):
        host.set(users=["eve", "root"], uids=["1"])


def test_ids_of_a_directory_service_stop_it(host: Host) -> None:
    (host.etc / "nsswitch.conf").write_text("passwd: files sss\nsubid: sss # FreeIPA\n")
    with pytest.raises(Refused, match="takes subordinate ids from 'sss'"):
        host.set()
    (host.etc / "nsswitch.conf").write_text("passwd: files sss\nsubid: files sss\n")
    host.set()


def test_the_kernel_is_asked_about_both_maps_before_anything(host: Host) -> None:
    host().checked(wanted(users=["alice"]))
    ((podman, pod),) = host.trials
    assert podman["uid_map"] == [(0, 989, 1), (1, 323456, 1), (2, 2000000, 65536)]
    assert pod["uid_map"] == [(0, 2, 1000), (65534, 1002, 1), (323456, 1, 1)]
    assert pod["gid_map"] == [(0, 3, 1000), (65534, 1003, 1), (250001, 1, 1), (323400, 2, 1)]


def test_a_run_that_was_killed_is_finished(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    really = subids.write

    def write(path: str, *rest: Any) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(path)
        really(path, *rest)

    monkeypatch.setattr(subids, "write", write)
    with pytest.raises(KeyboardInterrupt):
        host.set(users=["alice"])
    monkeypatch.undo()
    monkeypatch.setattr(idmap_trial, "check", lambda levels, name: None)
    assert all(one.startswith("+subgid") for one in host.told(host.set(users=["alice"])))
    host().absent()
    assert (host.etc / "subuid").read_bytes() == FOUND == (host.etc / "subgid").read_bytes()


def test_storage_on_the_network_is_refused(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "1 0 8:1 / / rw - ext4 /dev/vda rw\n"
        "2 1 0:9 / /var/lib/oodsvc rw shared:3 - xfs /dev/vdb rw\n"
        "3 1 0:9 / /proj rw - fuse.sshfs login:/proj rw\n"
        "4 1 0:9 / /my\\040data rw - nfs4 server:/x rw\n"
        "5 2 0:9 / /over rw - ext4 /dev/vdc rw\n"
        "6 5 0:9 / /over rw - cifs //server/x rw\n"
    )
    for path in ("/var/lib/oodsvc", "/projects", "/srv"):
        podman_account.check_storage(path, "host1", str(mounts))
    for path, kind in (("/proj/a", "fuse.sshfs"), ("/my data", "nfs4"), ("/over/b/c", "cifs")):
        with pytest.raises(Refused, match=rf"host1: {path} is on /.* \({kind}\), .* local disk"):
            podman_account.check_storage(path, "host1", str(mounts))


# ---- the locks ------------------------------------------------------------------------------


def test_a_lock_of_the_living_is_waited_for_and_of_the_dead_is_not(tmp_path: Path) -> None:
    path = tmp_path / "subuid"
    lock = tmp_path / "subuid.lock"
    lock.write_bytes(b"%d\0" % os.getppid())
    began = time.monotonic()
    with pytest.raises(Refused, match=r"subuid\.lock is held"), subids.locked([str(path)], 0.3):
        pytest.fail("not locked")
    assert time.monotonic() - began >= 0.3 and lock.exists()
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"],
                          capture_output=True, check=True)  # fmt: skip
    lock.write_bytes(gone.stdout.strip() + b"\0")
    with subids.locked([str(path)], 2):
        assert lock.read_bytes() == b"%d\0" % os.getpid()
    assert not lock.exists() and sorted(p.name for p in tmp_path.iterdir()) == [".pwd.lock"]


def test_the_passwords_lock_is_taken_too(tmp_path: Path) -> None:
    code = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX);"
        "print('held', flush=True); time.sleep(60)"
    )
    argv = [sys.executable, "-c", code, str(tmp_path / ".pwd.lock")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline()
        with (
            pytest.raises(Refused, match=r"\.pwd\.lock is held"),
            subids.locked([str(tmp_path / "subuid")], 0.2),
        ):
            pytest.fail("not locked")
        other.kill()


# ---- any file -------------------------------------------------------------------------------

_TEXTS = st.lists(
    st.one_of(
        st.sampled_from(["", "# comment", "x", "a:b:c", "oodsvc:1:2:3", "oodsvc: 5:6", "\tq"]),
        st.builds("{}:{}:{}".format, st.sampled_from(["u", "v w", "ü"]),
                  st.integers(10**7, 10**8), st.integers(1, 9)),
    ),
    max_size=8,
)  # fmt: skip


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(_TEXTS, st.sampled_from(["\n", "\r\n"]), st.booleans(), st.sets(st.integers(0, 40)))
def test_any_file_is_given_back_byte_for_byte(
    host: Host, texts: Iterable[str], end: str, ended: bool, ids: set[int]
) -> None:
    content = end.join(texts).encode() + (end.encode() if ended else b"")
    (host.etc / "subuid").write_bytes(content)
    uids = [str(500_000 + number) for number in ids]
    host.set(uids=uids)
    data = (host.etc / "subuid").read_bytes()
    assert data.startswith(content)
    ours = [line for line in subids.lines_of(data) if line.owner == "oodsvc"]
    given = {number for line in ours for number in range(line.start, line.end)}
    (base,) = (line for line in ours if line.count == 65536)
    assert given - set(range(base.start, base.end)) == {500_000 + number for number in ids}
    assert len(ours) - 1 == len({number for number in ids if number - 1 not in ids}), "merged"
    assert not host.set(uids=uids)["changed"]
    host().absent()
    assert (host.etc / "subuid").read_bytes() == content
