"""Private keys for ssh that mounts and lanes name: looked at before a host is asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloudlet_deploy import site
from cloudlet_deploy.site import Vault
from cloudlet_deploy.site.faults import Fault
from cloudlet_deploy.site.model import Site
from cloudlet_deploy.site.validation import unchecked, validate
from tests.unit.cryosparc_lanes import REMOTE
from tests.unit.site_draft import PASSWORD, RIGHT
from tests.unit.test_data_mounts_filters import SSHFS

HOSTS = "cloudlet: {children: {cryosparc: }}\ncryosparc: {hosts: {cs.example.org: }}\n"
LISTS = {"data_mounts_sshfs": SSHFS, "cryosparc_lane_clusters": REMOTE}
Load = Callable[..., Site]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.touch(mode=0o600)
    path.write_bytes(_pem())
    return path


def _pem(phrase: str = "") -> bytes:
    lock = form.BestAvailableEncryption(phrase.encode()) if phrase else form.NoEncryption()
    return Ed25519PrivateKey.generate().private_bytes(
        form.Encoding.PEM, form.PrivateFormat.OpenSSH, lock
    )


@pytest.fixture(params=LISTS)
def load(tmp_path: Path, request: pytest.FixtureRequest) -> Load:
    def once(key_file: Path | str, vault: Vault | None = None) -> Site:
        home = tmp_path / "site"
        home.mkdir()
        entry = LISTS[request.param] | {"key_file": str(key_file)}
        (home / "hosts.yml").write_text(HOSTS)
        (home / "group_vars").mkdir()
        (home / "group_vars/all.yml").write_text(f"{request.param}: [{json.dumps(entry)}]\n")
        return site.load(home, vault=vault or Vault())

    return once


def _told(loaded: Site) -> list[Fault]:
    return [one for one in validate(loaded) if one.variable.endswith("[0].key_file")]


def test_a_good_key(load: Load, key: Path) -> None:
    assert _told(load(key)) == []


def test_a_key_that_is_not_there(load: Load, key: Path) -> None:
    key.unlink()
    loaded = load(key)
    (one,) = _told(loaded)
    assert (one.message, one.line, one.severity.value) == (f"{key} does not exist", 1, "error")
    # What is deployed does not want it again.
    assert not [one for one in validate(loaded, files=False) if "exist" in one.message]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"ssh-ed25519 AAAA me\n", "is a key that is no private key"),
        (_pem("geheim"), "is a key with a passphrase, which no service can type"),
    ],
)
def test_a_key_that_opens_nothing(load: Load, key: Path, text: bytes, said: str) -> None:
    key.write_bytes(text)
    (one,) = _told(load(key))
    assert one.message == f"{key} {said}"


def test_a_key_that_others_may_read(load: Load, key: Path) -> None:
    key.chmod(0o644)
    (one,) = _told(load(key))
    assert "may be read by everybody (mode 0644)" in one.message


def test_a_key_in_a_vault(load: Load, key: Path) -> None:
    secret = ("default", VaultSecret(PASSWORD.encode()))
    key.write_bytes(VaultLib([secret]).encrypt(_pem("geheim").decode(), secret[1]))
    key.chmod(0o644)  # as it is encrypted
    loaded = load(key)
    assert _told(loaded) == []
    (told,) = (one for one in unchecked(loaded) if one.variable.endswith("[0].key_file"))
    assert "no vault password was given" in told.detail


def test_a_key_in_a_vault_that_is_opened(load: Load, key: Path) -> None:
    secret = ("default", VaultSecret(PASSWORD.encode()))
    key.write_bytes(VaultLib([secret]).encrypt(_pem("geheim").decode(), secret[1]))
    (one,) = _told(load(key, RIGHT))
    assert "a passphrase" in one.message


def test_a_vault_that_is_anothers(load: Load, key: Path) -> None:
    other = ("default", VaultSecret(b"another"))
    key.write_bytes(VaultLib([other]).encrypt(_pem().decode(), other[1]))
    (one,) = _told(load(key, RIGHT))
    assert one.next_step.startswith("Give the right one")


@pytest.mark.parametrize("name", ["/CHANGE-ME/key", "{{ lookup('ansible.builtin.env', 'K') }}"])
def test_a_name_that_is_not_known_yet(load: Load, name: str) -> None:
    assert {one.severity.value for one in _told(load(name))} <= {"warning"}
