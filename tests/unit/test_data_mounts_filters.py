"""What becomes of mounts of cameras and project spaces, and which of them are refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.cloudlet.deploy.plugins.filter import data_mounts_refusals as refusals
from ansible_collections.cloudlet.deploy.plugins.filter.data_mounts_plan import (
    argv_line,
    escaped,
    mount_plan,
)
from hypothesis import given, settings
from hypothesis import strategies as st

DIRECTORY = "/etc/cloudlet-deploy/data_mounts"
LABEL = "system_u:object_r:container_file_t:s0"
KEY = "AAAAC3NzaC1lZDI1NTE5AAAAINJl8KNXGFk9LSPpm0RdRhyDmKMjLCgkuUnlewAc1AFt"
CIFS = {
    "name": "k3",
    "share": "//camera.example.org/movies",
    "where": "/srv/cameras/k3",
    "username": "reader",
    "password": "geheim",
}
SSHFS = {
    "name": "projects",
    "host": "login.example.org",
    "user": "em",
    "path": "/gpfs/em",
    "where": "/srv/projects",
    "key_file": "/keys/em",
    "known_hosts": [f"login.example.org ssh-ed25519 {KEY}"],
}


def _plan(cifs: list[Any], sshfs: list[Any], **more: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = mount_plan(cifs, sshfs, DIRECTORY, **more)
    return found


def _faults(cifs: list[Any], sshfs: list[Any]) -> str:
    return "\n".join(refusals.mount_faults(cifs, sshfs))


def _options(one: dict[str, Any]) -> list[str]:
    text: str = one["options"] if one["kind"] == "cifs" else one["command"].split(" -o ")[1]
    return text.split(",")


# ---- names of units ------------------------------------------------------------------------

_PART = st.binary(min_size=1, max_size=12).filter(lambda b: b"/" not in b and b"\0" not in b)


@pytest.mark.skipif(not shutil.which("systemd-escape"), reason="systemd-escape is not installed")
@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(_PART, max_size=5), min_size=1, max_size=20))
def test_units_are_named_as_systemd_names_them(paths: list[list[bytes]]) -> None:
    wanted = [b"/" + b"/".join(part for part in path if part != b"..") for path in paths]
    argv: list[str | bytes] = ["systemd-escape", "--path", "--", *wanted]
    done = subprocess.run(argv, capture_output=True, check=False)
    if done.returncode:  # a path that it refuses is none that we would give it
        return
    found = [escaped(path.decode("utf-8", "surrogateescape")) for path in wanted]
    assert done.stdout.decode().rstrip("\n").split(" ") == found


def test_the_root_and_dots_of_a_path() -> None:
    assert escaped("/") == "-"
    assert escaped("/.a/.b/c-d//e/") == r"\x2ea-.b-c\x2dd-e"


def test_a_command_line_holds_each_argument_as_it_is() -> None:
    assert argv_line(["/bin/a", "b=c,d", 22]) == "/bin/a b=c,d 22"
    assert argv_line(["a b", 'c"d', "e\\f", "50%", "$HOME", ""]) == (
        r'"a b" "c\"d" "e\\f" 50%% $$HOME ""'
    )


# ---- what a mount becomes ------------------------------------------------------------------


def test_a_share_is_mounted_read_only_and_lets_nobody_hang() -> None:
    (one,) = _plan([CIFS], [], context=LABEL)
    assert one["unit"] == "srv-cameras-k3.mount"
    assert (one["host"], one["port"], one["parents"]) == (
        "camera.example.org", 445, ["/srv", "/srv/cameras"],
    )  # fmt: skip
    assert one["options"] == (
        f"ro,vers=3.1.1,credentials={DIRECTORY}/k3.credentials,uid=0,gid=0,forceuid,forcegid,"
        "file_mode=0440,dir_mode=0550,nosuid,nodev,noexec,soft,cache=strict,rsize=4194304,"
        f"echo_interval=10,context={LABEL},_netdev"
    )


def test_a_share_with_all_that_can_be_said_of_it() -> None:
    more = {
        "uid": 70001, "gid": 70002, "port": 4450, "multichannel": True, "seal": True,
        "options": ["rsize=65536", "max_channels=8"], "context": "a:b:c:s0",
    }  # fmt: skip
    (one,) = _plan([{**CIFS, **more}], [], context=LABEL)
    options = _options(one)
    assert {"uid=70001", "gid=70002", "port=4450", "seal", "context=a:b:c:s0"} <= set(options)
    assert [o for o in options if "channel" in o] == ["multichannel", "max_channels=8"]
    assert [o for o in options if "rsize" in o] == ["rsize=65536"]


def test_a_project_space_is_opened_by_its_key_and_known_by_its_keys() -> None:
    (one,) = _plan([], [SSHFS], context=LABEL)
    assert one["unit"] == "cloudlet-sshfs-srv-projects.service"
    start = "/usr/bin/sshfs -f -p 22 em@login.example.org:/gpfs/em /srv/projects -o "
    assert one["command"].startswith(start)
    assert {
        "reconnect", "ServerAliveInterval=15", "ServerAliveCountMax=3", "ConnectTimeout=15",
        f"IdentityFile={DIRECTORY}/projects.key", "IdentitiesOnly=yes",
        f"UserKnownHostsFile={DIRECTORY}/projects.known_hosts",
        "GlobalKnownHostsFile=/dev/null", "StrictHostKeyChecking=yes", "BatchMode=yes",
        "UpdateHostKeys=no", "umask=0027", "nosuid", "nodev", f"context={LABEL}",
    } <= set(_options(one))  # fmt: skip


def test_ssh_gives_up_before_its_unit_does() -> None:
    for wait, patience in ((5, 2), (20, 10), (600, 15)):
        (one,) = _plan([], [SSHFS], wait=wait)
        assert f"ConnectTimeout={patience}" in _options(one)


def test_an_address_of_ipv6_stands_in_brackets() -> None:
    (one,) = _plan([], [{**SSHFS, "host": "2001:db8::1", "port": 2222, "path": "/a b"}])
    assert '-p 2222 "em@[2001:db8::1]:/a b" /srv/projects' in one["command"]
    (one,) = _plan([{**CIFS, "share": "//[2001:db8::1]/m"}], [])
    assert one["host"] == "2001:db8::1"


@pytest.mark.parametrize("own", [None, "", "a:b:c:s0"])
def test_a_host_without_selinux_gets_no_label(own: str | None) -> None:
    for one in _plan([{**CIFS, "context": own}], [{**SSHFS, "context": own}], context=""):
        assert not [o for o in _options(one) if "context" in o]


def test_a_mount_may_go_without_a_label() -> None:
    (one,) = _plan([{**CIFS, "context": ""}], [], context=LABEL)
    assert "context" not in one["options"]


# ---- what is refused -----------------------------------------------------------------------


def test_what_can_work_is_not_refused() -> None:
    other = {**CIFS, "name": "k3-b", "where": "/srv/cameras/k3b", "share": "//192.0.2.1/A b/c d"}
    hashed = b"0123456789abcdefghij"
    digest = hmac.new(hashed, b"[login.example.org]:2222", hashlib.sha1).digest()
    pattern = "|1|" + "|".join(base64.b64encode(part).decode() for part in (hashed, digest))
    spaces = [
        SSHFS,
        {
            **SSHFS, "name": "b", "where": "/srv/b", "port": 2222,
            "known_hosts": [f"{pattern} ssh-ed25519 {KEY}"], "options": ["ProxyJump=gate", "ro"],
        },
        {
            **SSHFS, "name": "c", "where": "/srv/c",
            "known_hosts": [f"@cert-authority *.example.org ssh-ed25519 {KEY}"],
        },
    ]  # fmt: skip
    assert _faults([CIFS, {**other, "options": ["actimeo=30", "sec=ntlmssp"]}], spaces) == ""


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("rw", "camera data is never written"),
        ("RW", "camera data is never written"),
        ("exec", "may run"),
        ("suid", "may run"),
        ("defaults", "may run"),
        ("hard", "wait for ever"),
        ("guest", "without its account"),
        ("sec=none", "without its account"),
        ("password=geheim", "a file of root's"),
        ("pass=geheim", "a file of root's"),
        ("credentials=/tmp/x", "a file of root's"),
        ("vers=1.0", "only SMB 3.1.1"),
        ("context=a:b:c", "labels are set by context"),
        ("noauto", "a unit of systemd"),
        ("x-systemd.automount", "a unit of systemd"),
        ("noforceuid", "the role sets it"),
        ("ro,rw", "write each option by itself"),
        ("domain=a b", "a file of root's"),
        ("nolease nobrl", "write each option by itself"),
    ],
)
def test_options_that_undo_the_safety_of_a_share(option: str, said: str) -> None:
    found = _faults([{**CIFS, "options": ["actimeo=1", option]}], [])
    assert found.startswith("data_mounts_cifs has in k3 the option ")
    assert said in found and found.count("\n") == 0
    assert "geheim" not in found


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("StrictHostKeyChecking=no", "known by known_hosts alone"),
        ("stricthostkeychecking=accept-new", "known by known_hosts alone"),
        ("UserKnownHostsFile=/dev/null", "known by known_hosts alone"),
        ("IdentityFile=/root/.ssh/id_rsa", "the key alone"),
        ("PasswordAuthentication=yes", "the key alone"),
        ("ServerAliveInterval=0", "wait for ever"),
        ("ConnectTimeout=0", "wait for ever"),
        ("ssh_command=/tmp/x", "another way than ssh's"),
        ("suid", "may give rights here"),
        ("allow_root", "the role sets it"),
        ("delay_connect", "a wrong key"),
        ("ProxyCommand=nc %h %p", "write each option by itself"),
    ],
)
def test_options_that_undo_the_safety_of_a_project_space(option: str, said: str) -> None:
    found = _faults([], [{**SSHFS, "options": [option]}])
    assert found.startswith("data_mounts_sshfs has in projects the option ")
    assert said in found and found.count("\n") == 0


@pytest.mark.parametrize(
    "where",
    [
        "relative", "/", "/etc", "/etc/x", "/usr/share/x", "/srv", "/mnt", "/home", "/root/x",
        "/run/x", "/var/log", "/tmp/x", "/srv/../etc/x", "/srv/./a", "/srv/a b", "/srv/a:b",
        "/srv/a,b", "/srv/$a", "/srv/%a", '/srv/"a', "/srv/a\\b", "//etc/x", "/srv/a\n",
    ],
)  # fmt: skip
def test_places_that_no_mount_may_have(where: str) -> None:
    assert "data_mounts_cifs has in k3 where" in _faults([{**CIFS, "where": where}], [])


@pytest.mark.parametrize("where", ["/srv/a", "/mnt/b", "/data", "/var/lib/em/x", "/home/em/k3"])
def test_places_for_a_mount(where: str) -> None:
    assert _faults([{**CIFS, "where": where}], []) == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"share": r"\\camera\movies"}, "write //HOST/SHARE"),
        ({"share": "//camera"}, "write //HOST/SHARE"),
        ({"share": "/camera/movies"}, "write //HOST/SHARE"),
        ({"name": "../x"}, "the name ../x"),
        ({"name": ""}, "the name"),
        ({"username": ""}, "no username"),
        ({"password": ""}, "no password: give it in a vault"),
        ({"password": "geheim\nuid=0"}, "a control character in password"),
        ({"username": "a\rb"}, "a control character in username"),
        ({"password": "ä" * 257}, "more than 512 bytes"),
        ({"context": "container_file_t"}, "the context container_file_t"),
        ({"context": "a:b:c:s0:c1,c2"}, "without a comma"),
    ],
)
def test_shares_that_cannot_be_mounted(change: dict[str, str], said: str) -> None:
    found = _faults([{**CIFS, **change}], [])
    assert said in found and "geheim" not in found


_LOCKED = base64.b64encode(b"openssh-key-v1\0\0\0\0\x0aaes256-ctr" + bytes(40)).decode()
_OPEN = base64.b64encode(b"openssh-key-v1\0\0\0\0\x04none" + bytes(40)).decode()


def _pem(body: str, kind: str = "OPENSSH ") -> str:
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{body}\n-----END {kind}PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"host": "-oProxyCommand=x"}, "the host -oProxyCommand=x"),
        ({"host": "a b"}, "the host a b"),
        ({"user": "-x"}, "the user -x"),
        ({"path": "data"}, "write an absolute path"),
        ({"umask": "9"}, "the umask 9"),
        ({"key_file": ""}, "no key: give key_file"),
        ({"key": _pem(_OPEN)}, "both a file and a text of the key"),
        ({"key_file": "", "key": "abc"}, "a key that is no private key"),
        ({"key_file": "", "key": _pem(_LOCKED)}, "a key with a passphrase"),
        ({"known_hosts": []}, "no known_hosts: write the lines of 'ssh-keyscan -p 22 login.exam"),
        ({"known_hosts": ["login.example.org ssh-ed25519 not*base64"]}, "the known_hosts line"),
        ({"known_hosts": [f"other.example.org ssh-ed25519 {KEY}"]}, "line for login.example.org"),
        ({"known_hosts": [f"!login.example.org,* ssh-ed25519 {KEY}"]}, "line for login.example."),
        ({"known_hosts": [f"@revoked * ssh-ed25519 {KEY}"]}, "no known_hosts line for"),
        ({"known_hosts": [f"|1|YQ==|YQ== ssh-ed25519 {KEY}"]}, "no known_hosts line for"),
        ({"port": 2222}, "line for [login.example.org]:2222"),
    ],
)
def test_project_spaces_that_cannot_be_mounted(change: dict[str, Any], said: str) -> None:
    assert said in _faults([], [{**SSHFS, **change}])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"where": "/srv/cameras/k3/"}, "k3 and projects at /srv/cameras/k3: one would hide"),
        ({"where": "/srv/cameras/k3/sub"}, "projects at /srv/cameras/k3/sub: one lies below"),
        ({"where": "/srv/cameras"}, "projects at /srv/cameras: one lies below"),
        ({"where": "/srv/cameras/k3-b"}, ""),
        ({"name": "k3"}, "the name k3 twice"),
    ],
)
def test_mounts_that_are_in_each_others_way(change: dict[str, Any], said: str) -> None:
    found = _faults([CIFS], [{**SSHFS, **change}])
    assert said in found and bool(said) is bool(found)


def test_what_is_no_mount_at_all_is_said_so() -> None:
    with pytest.raises(AnsibleFilterError, match="is no mount"):
        refusals.mount_faults(["k3"], [])


# ---- keys ----------------------------------------------------------------------------------


def test_a_key_file_is_looked_at() -> None:
    def said(text: str) -> str:
        return "".join(refusals.key_faults(text, "projects", "/keys/em"))

    assert "cannot be read" in said("")
    assert "no private key" in said(f"ssh-ed25519 {KEY}")
    for locked in (
        _pem(_LOCKED),
        _pem("QUJD", "ENCRYPTED "),
        _pem("Proc-Type: 4,ENCRYPTED\nQUJD", "RSA "),
    ):
        assert "a passphrase" in said(locked)
        assert _LOCKED not in said(locked)
    assert said(_pem(_OPEN)) == said(_pem("QUJD", "RSA ")) == said(_pem("QUJD", "")) == ""


@pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="ssh-keygen is not installed")
@pytest.mark.parametrize("form", ["RFC4716", "PEM", "PKCS8"])
def test_keys_that_ssh_keygen_makes(tmp_path: Path, form: str) -> None:
    for phrase in ("", "geheim"):
        path = tmp_path / f"key{phrase}"
        argv = ["ssh-keygen", "-q", "-t", "ecdsa", "-m", form, "-N", phrase, "-f", str(path)]
        subprocess.run(argv, check=True, capture_output=True)
        found = refusals.key_faults(path.read_text(), "projects", str(path))
        assert bool(found) is bool(phrase), form
