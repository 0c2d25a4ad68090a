"""What Samba keeps of a password."""

from __future__ import annotations

import pytest
from ansible_collections.cloudlet.deploy.plugins.filter.data_mounts_nt_hash import md4, nt_hash


@pytest.mark.parametrize(
    ("text", "digest"),
    [  # RFC 1320, A.5
        ("", "31d6cfe0d16ae931b73c59d7e0c089c0"),
        ("a", "bde52cb31de33e46245e05fbdbd6fb24"),
        ("abc", "a448017aaf21d8525fc10ae87aa6729d"),
        ("message digest", "d9130a8164549fe818874806e1c7014b"),
        ("abcdefghijklmnopqrstuvwxyz", "d79e1c308aa5bbcdeea8ed63df412da9"),
        ("1234567890" * 8, "e33b4ddc9c38f2199c3e7b164fcc0536"),
    ],
)
def test_md4(text: str, digest: str) -> None:
    assert md4(text.encode()).hex() == digest


def test_the_hash_of_a_password() -> None:
    assert nt_hash("password") == "8846F7EAEE8FB117AD06BDD830B7586C"
    # Two bytes a letter, and four for what lies beyond.
    assert nt_hash("ä€😀") == md4(b"\xe4\x00\xac\x20\x3d\xd8\x00\xde").hex().upper()
