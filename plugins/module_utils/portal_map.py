# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Which account a claim is: Open OnDemand (OOD) asks it on every request.

OOD runs ``portal-map '<escaped claim>'`` as www-data in the pod and takes the first line of what
it prints for an account; the exit status and the log are for people. So the program prints the
account, or nothing at all, whatever happens. A refusal goes to syslog (facility authpriv).

The argument is no option, ever. Letters, digits and the blank (as ``+``) come as they are, all
else may come as ``%xx`` with lower-case hex digits; it is decoded once. What OOD's escape cannot
make is refused.

``people`` is written by the program ``portal-people``, in ASCII, and every line is one of these::

    portal-people 1 valid until 1764280000
    alice%40campus.test alice 123456

The first names the format and the second of the epoch from which nobody is mapped. Each other
line has a claim, escaped in the same way, the account, and its uid, which the pod's name service
has to confirm. A file with any other line maps nobody.

The role ``ondemand_portal`` installs this file in the pod, to be started as ``python3 -I -S``. It
imports only what starts fast (``re`` alone would double the time) and nothing of ours. Python 3.9
and later.
"""

import os
import pwd
import sys
import syslog
import time

PEOPLE = "/etc/ood/site/people"
HEADER = "portal-people 1 valid until "
#: Bytes that a claim may have, and the file.
LONGEST_CLAIM, LONGEST_FILE = 1024, 1 << 20
#: Characters of a log line that the claim may have.
_TOLD = 200
_HEX = frozenset("0123456789abcdef")
_DIGITS = frozenset("0123456789")
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz")
#: What no escape replaces by a number.
_PLAIN = _LETTERS | _DIGITS | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ ")
_NAME = _LETTERS | _DIGITS | frozenset("_-")
#: Valid as names, but root, or a number to Lua, C and others.
_NEVER = frozenset(["root", "inf", "infinity", "nan"])
_LEAST_UID, _NOBODY = 1000, 65534


class Refused(Exception):
    """Nobody is mapped; the text is the reason, for the log."""


def _literal(text):
    if not (text.isascii() and text.isprintable()) or " " in text or "'" in text:
        raise Refused("a character that is always escaped")
    return text.replace("+", " ").encode("ascii")


def decoded(escaped):
    """The claim in ``escaped``. Raises Refused."""
    if len(escaped) > 3 * LONGEST_CLAIM:
        raise Refused("too long")
    first, *rest = escaped.split("%")
    found = bytearray(_literal(first))
    for piece in rest:
        code = piece[:2]
        if len(code) != 2 or not _HEX.issuperset(code):
            raise Refused("a malformed escape")
        if chr(int(code, 16)) in _PLAIN:
            raise Refused("an escape of what is never escaped")
        found.append(int(code, 16))
        found += _literal(piece[2:])
    if not 0 < len(found) <= LONGEST_CLAIM:
        raise Refused("too long" if found else "empty")
    try:
        claim = found.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused("not UTF-8") from None
    if any(sign < " " or "\x7f" <= sign <= "\x9f" for sign in claim):
        raise Refused("a control character")
    return claim


def is_account(name):
    """Whether ``name`` may be an account of the portal by its look."""
    return (
        0 < len(name) <= 32
        and _NAME.issuperset(name)
        and name[0] not in _DIGITS
        and name[0] != "-"
        and name not in _NEVER
    )


def parsed(data, now):
    """[(claim, account, uid)] of the bytes of ``people``; ``now`` in seconds. Raises Refused."""
    if len(data) > LONGEST_FILE or not data.isascii():
        raise Refused("people is malformed")
    header, *lines, last = data.decode("ascii").split("\n") if b"\n" in data else ["", "-"]
    until = header[len(HEADER) :]
    if last or not header.startswith(HEADER) or not until.isdigit() or len(until) > 15:
        raise Refused("people is malformed")
    if now >= int(until):
        raise Refused("people is out of date")
    found = []
    for line in lines:
        fields = line.split(" ")
        if len(fields) != 3 or not fields[2].isdigit() or len(fields[2]) > 10:
            raise Refused("people is malformed")
        found.append((decoded(fields[0]), fields[1], int(fields[2])))
    return found


def account_of(claim, data, now):
    """The account of ``claim`` by the bytes of ``people``. Raises Refused."""
    found = [(account, uid) for other, account, uid in parsed(data, now) if other == claim]
    if len(found) != 1:
        raise Refused("in people more than once" if found else "not in people")
    account, uid = found[0]
    if not is_account(account):
        raise Refused("people names no valid account")
    try:
        entry = pwd.getpwnam(account)
    except KeyError:
        raise Refused("the pod has no account %s" % account) from None
    if (entry.pw_name, entry.pw_uid) != (account, uid):
        raise Refused("the pod has %s with the uid %d, not %d" % (account, entry.pw_uid, uid))
    if uid < _LEAST_UID or uid == _NOBODY:
        raise Refused("%s is a system account" % account)
    return account


def _log(claim, reason):
    try:
        syslog.openlog("portal-map", 0, syslog.LOG_AUTHPRIV)
        syslog.syslog(syslog.LOG_WARNING, "refused %s: %s" % (ascii(claim)[:_TOLD], reason))
    except BaseException:
        # Nobody is there to be told.
        return


def main(argv):
    claim = ""
    try:
        if len(argv) != 2:
            raise Refused("called with %d arguments" % (len(argv) - 1))
        claim = argv[1]
        claim = decoded(claim)
        with open(PEOPLE, "rb") as stream:
            data = stream.read(LONGEST_FILE + 1)
        account = account_of(claim, data, time.time())
        # Not by print: a failing flush at the end would be told on stderr.
        os.write(1, account.encode("ascii") + b"\n")
    except Refused as exc:
        _log(claim, str(exc))
        return 1
    except BaseException as exc:
        _log(claim, ascii(exc)[:_TOLD])
        return 1
    return 0


if __name__ == "__main__":
    os._exit(main(sys.argv))
