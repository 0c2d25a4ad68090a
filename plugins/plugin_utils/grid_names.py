# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Certificate names as the grid writes them, and what a gridmap may hold.

Imports nothing of the collection: ``cloudlet-deploy validate`` loads this file by its path.
"""

from __future__ import annotations

import re

_ATTRIBUTE = re.compile(r"^[A-Za-z][A-Za-z0-9.-]*=.+$|^\d+(\.\d+)+=.+$")
_RFC4514 = re.compile(r"^\s*[A-Za-z]+=[^,/]+(,\s*[A-Za-z]+=[^,/]+)*\s*$")


def dn_problem(dn):
    """What is wrong with a certificate name, as what follows it in a sentence; or None."""
    dn = str(dn)
    if _RFC4514.match(dn):
        parts = [part.strip() for part in dn.split(",")]
        return "is not in slash form; write it as /%s" % "/".join(reversed(parts))
    if not dn.startswith("/"):
        return "is not in slash form, such as /O=Grid/CN=Alice"
    if dn != dn.strip():
        return "begins or ends with a space; write it in slash form without"
    if '"' in dn or any(ord(character) < 32 for character in dn):
        return "holds a quote or a line break, which no name in slash form can"
    # A part without "=" belongs to the value before it: /CN=host/door.example.org
    first, *others = dn[1:].split("/")
    if not _ATTRIBUTE.match(first) or any(
        not part or ("=" in part and not _ATTRIBUTE.match(part)) for part in others
    ):
        return "is not in slash form: each part is NAME=VALUE, such as /O=Grid/CN=Alice"
    return None


def account_problem(account):
    """What is wrong with the account of a gridmap entry, as what follows it; or None."""
    account = str(account)
    if not account:
        return "is empty"
    if re.search(r"[\s\"/:]", account):
        return "is not the name of an account"
    return None


def gridmap_problems(entries):
    """``(index, key, problem, next_step)`` for each reason why no gridmap can be made.

    ``entries`` are ``{dn, account}``. The same line twice is no such reason.
    """
    found = []
    seen = {}
    for index, entry in enumerate(entries):
        dn, account = str(entry["dn"]), str(entry["account"])
        problem = dn_problem(dn)
        if problem:
            found.append((index, "dn", "the DN %s %s" % (dn, problem), "Correct it."))
        problem = account_problem(account)
        if problem:
            found.append(
                (index, "account", "the account of %s %s" % (dn, problem), "Name one account.")
            )
        if seen.setdefault(dn, account) != account:
            found.append(
                (
                    index,
                    "dn",
                    "%s is mapped to %s and to %s" % (dn, seen[dn], account),
                    "Keep one of them.",
                )
            )
    return found
