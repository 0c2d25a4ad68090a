# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""What Samba keeps of a password. It opens the share as the password does, so it is as secret."""

from __future__ import annotations

import struct

_MASK = 0xFFFFFFFF
#: Of each round of MD4 (RFC 1320): what is added, the order of the words, the shifts.
_ROUNDS = (
    (0, tuple(range(16)), (3, 7, 11, 19)),
    (0x5A827999, (0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), (3, 5, 9, 13)),
    (0x6ED9EBA1, (0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15), (3, 9, 11, 15)),
)


def _mixed(number, b, c, d):
    if number == 0:
        return (b & c) | (~b & d)
    return (b & c) | (b & d) | (c & d) if number == 1 else b ^ c ^ d


def md4(data):
    """The MD4 digest of bytes (RFC 1320), which OpenSSL 3 has no more by default."""
    padded = data + b"\x80" + b"\0" * ((55 - len(data)) % 64) + struct.pack("<Q", len(data) * 8)
    state = [0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476]
    for at in range(0, len(padded), 64):
        words = struct.unpack("<16I", padded[at : at + 64])
        a, b, c, d = state
        for number, (constant, order, shifts) in enumerate(_ROUNDS):
            for step, index in enumerate(order):
                total = (a + _mixed(number, b, c, d) + words[index] + constant) & _MASK
                shift = shifts[step % 4]
                a, b, c, d = d, ((total << shift) | (total >> (32 - shift))) & _MASK, b, c
        state = [(old + new) & _MASK for old, new in zip(state, (a, b, c, d), strict=True)]
    return struct.pack("<4I", *state)


def nt_hash(password):
    """The password as Samba's ``smbpasswd`` files hold it: 32 hexadecimal digits."""
    return md4(str(password).encode("utf-16-le")).hex().upper()


class FilterModule:
    def filters(self):
        return {"data_mounts_nt_hash": nt_hash}
