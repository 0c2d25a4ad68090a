# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Until when certificates and revocation lists are valid, and whose they are.

Hosts have neither ``cryptography`` nor always ``openssl``, and Python's own ``ssl`` does not read
revocation lists. Only the few fields that stand at the beginning are read; nothing is verified.
Runs on Python 3.9 and later.
"""

from __future__ import annotations

import base64
import calendar
import re
import time
from typing import NamedTuple, Optional

_SEQUENCE, _INTEGER, _CONTEXT_0 = 0x30, 0x02, 0xA0
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
#: What is read of a list: its dates stand first, the revoked certificates after them.
_HEAD = 64 * 1024
_NAMES = {
    b"\x55\x04\x03": "CN",
    b"\x55\x04\x05": "serialNumber",
    b"\x55\x04\x06": "C",
    b"\x55\x04\x07": "L",
    b"\x55\x04\x08": "ST",
    b"\x55\x04\x0a": "O",
    b"\x55\x04\x0b": "OU",
    b"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x01": "UID",
    b"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x19": "DC",
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x01": "emailAddress",
}
_PEM = re.compile(rb"-----BEGIN (X509 CRL|(?:TRUSTED |X509 )?CERTIFICATE)-----([^-]*)")


class NotReadable(ValueError):
    """The bytes are no certificate, or no revocation list."""


class Validity(NamedTuple):
    """Name in slash form and seconds since 1970; ``end`` is None for a list without one."""

    name: str
    begin: int
    end: Optional[int]


class _Reader:
    def __init__(self, data):
        self.data = data
        self.at = 0

    @property
    def more(self):
        return self.at < len(self.data)

    def peek(self):
        return self.data[self.at] if self.more else None

    def take(self, tag=None):
        """(tag, content) of the next element; content may be cut off where the data is."""
        try:
            found, length = self.data[self.at], self.data[self.at + 1]
            start = self.at + 2
            if length & 0x80:
                size = length & 0x7F
                if not 1 <= size <= 4:
                    raise NotReadable("its lengths are not those of DER")
                length = int.from_bytes(self.data[start : start + size], "big")
                start += size
        except IndexError:
            raise NotReadable("it ends too early") from None
        if tag is not None and found != tag:
            raise NotReadable("it has tag %#x in place of %#x" % (found, tag))
        self.at = start + length
        return found, self.data[start : start + length]

    def inside(self, tag=_SEQUENCE):
        return _Reader(self.take(tag)[1])


def certificate(data):
    """The ``Validity`` of the first certificate in PEM or DER ``data``, by its subject."""
    tbs = _Reader(_der(data, b"CERTIFICATE")).inside().inside()
    if tbs.peek() == _CONTEXT_0:
        tbs.take()
    tbs.take(_INTEGER)
    tbs.take(_SEQUENCE)
    tbs.take(_SEQUENCE)
    dates = tbs.inside()
    begin, end = _time(dates), _time(dates)
    return Validity(_name(tbs), begin, end)


def revocation_list(data):
    """The ``Validity`` of the revocation list in PEM or DER ``data``, by its issuer."""
    tbs = _Reader(_der(data, b"CRL")).inside().inside()
    if tbs.peek() == _INTEGER:
        tbs.take()
    tbs.take(_SEQUENCE)
    name = _name(tbs)
    begin = _time(tbs)
    end = _time(tbs) if tbs.peek() in (_UTC_TIME, _GENERALIZED_TIME) else None
    return Validity(name, begin, end)


def head_of(path):
    """The beginning of the file, long enough for these fields."""
    with open(path, "rb") as stream:
        return stream.read(_HEAD)


def _der(data, kind):
    found = next((m for m in _PEM.finditer(data) if m.group(1).endswith(kind)), None)
    if found is None:
        if data[:1] != bytes([_SEQUENCE]):
            raise NotReadable("it is neither PEM nor DER")
        return data
    text = re.sub(rb"[^A-Za-z0-9+/]", b"", found.group(2))
    return base64.b64decode(text[: len(text) // 4 * 4] + _rest(text))


def _rest(text):
    """The last group, filled up; a single character is what a cut left."""
    left = text[len(text) // 4 * 4 :]
    return left + b"=" * (4 - len(left)) if len(left) > 1 else b""


def _time(reader):
    tag, content = reader.take()
    text = content.decode("ascii", "replace")
    if tag == _UTC_TIME:
        # RFC 5280: 50 to 99 are of the last century.
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise NotReadable("it has no date where one belongs")
    try:
        return calendar.timegm(time.strptime(text, "%Y%m%d%H%M%SZ"))
    except ValueError:
        raise NotReadable("its date %r is not one" % text) from None


def _name(reader):
    parts, rdns = [], reader.inside()
    while rdns.more:
        rdn = rdns.inside(0x31)
        while rdn.more:
            pair = rdn.inside()
            oid = pair.take(0x06)[1]
            tag, value = pair.take()
            text = value.decode("utf-16-be" if tag == 0x1E else "utf-8", "replace")
            parts.append("/%s=%s" % (_NAMES.get(oid, "?"), text))
    return "".join(parts)
