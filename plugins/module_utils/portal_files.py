# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""What stands in the files that ``portal-people`` writes for the pod, and what they let people do.

The role ``ondemand_portal`` installs this file on hosts beside that program. Python 3.9 and later.
"""

import contextlib
import grp
import re
import time

try:
    # A program finds its other parts beside itself.
    from portal_who import delegated
except ImportError:
    from ansible_collections.cloudlet.deploy.plugins.module_utils.portal_who import delegated

#: What the first line of ``people`` begins with; ``portal-map`` tells the format.
HEADER = "portal-people 1 valid until "
NAMES = ("people", "gate-groups", "gate-until", "passwd", "group", "shadow")
_LITERAL = re.compile(rb"[A-Za-z0-9._-]")
#: Apache reads lines of a group file up to 8192 bytes; a group may have several.
_LONGEST_LINE = 4096


def escaped(claim):
    """``claim`` as ``portal-map`` decodes it: letters, digits, ``+`` for a blank, ``%xx``."""
    return "".join(
        chr(byte) if _LITERAL.match(bytes([byte])) else "+" if byte == 32 else "%%%02x" % byte
        for byte in claim.encode("utf-8")
    )


def people_text(people):
    """The lines of ``people`` after the first."""
    return "".join("%s %s %d\n" % (escaped(claim), person.account, person.uid)
                   for person in people for claim in person.claims)  # fmt: skip


def gates_text(people, instruments):
    """(text, [what was left out]) of a group file: each instrument has a line, an empty one too."""
    lines, notes = [], []
    for name, instrument in sorted(instruments.items()):
        try:
            gid = grp.getgrnam(instrument.group).gr_gid
        except KeyError:
            notes.append("%s: the host has no group %s" % (name, instrument.group))
            gid = None
        line = name + ":"
        for claim in sorted(one for person in people if gid in person.gids
                            for one in person.claims):  # fmt: skip
            if re.search(r'["\\]', claim):
                notes.append("%s: the gate cannot have the claim %s" % (name, ascii(claim)))
                continue
            word = ' "%s"' % claim
            if len((line + word).encode("utf-8")) > _LONGEST_LINE:
                lines.append(line)
                line = name + ":"
            line += word
        lines.append(line)
    return "".join(line + "\n" for line in lines), notes


def gate_until_text(until):
    """The second from which gates of the host's Apache are shut: as its ``%{TIME}``, no line end.

    A gate in the pod needs none, since ``portal-map`` is asked before it.
    """
    return time.strftime("%Y%m%d%H%M%S", time.localtime(until))


def _group_name(gid):
    with contextlib.suppress(KeyError):
        name = grp.getgrgid(gid).gr_name
        if not re.search("[:,\n]", name):
            return name
    return "gid%d" % gid


def group_text(people, config):
    """The primary and supplementary groups of ``people``, of those that are delegated."""
    gids = {gid for person in people for gid in person.gids if delegated(gid, config)}
    return "".join(
        "%s:x:%d:%s\n" % (_group_name(gid), gid, ",".join(
            person.account for person in people if gid in person.gids and gid != person.gid))
        for gid in sorted(gids))  # fmt: skip


def passwd_text(people, config):
    """The entries of ``people``, with the shell of the configuration."""
    return "".join(
        "%s:x:%d:%d::%s:%s\n" % (one.account, one.uid, one.gid, one.home, config.shell)
        for one in people
    )


def shadow_text(people):
    """Entries without a password, so that none fits."""
    return "".join("%s:*:1::::::\n" % person.account for person in people)


def valid_until(people):
    """The second of the epoch from which the text of ``people`` is out of date."""
    found = re.match(re.escape(HEADER) + r"(\d{1,15})\n", people)
    return int(found[1]) if found else 0


def rights(texts):
    """What files let people do, as a set of (kind, who, what); takes what it can of odd ones."""
    found = set()
    for fields in (line.split(" ") for line in texts["people"].split("\n")[1:]):
        if len(fields) == 3:
            found |= {("account", fields[1], "claim " + fields[0]),
                      ("account", fields[1], "uid " + fields[2])}  # fmt: skip
    for fields in (line.split(":") for line in texts["passwd"].split("\n")):
        if len(fields) == 7:
            found.add(("account", fields[0], "gid " + fields[3]))
    for fields in (line.split(":") for line in texts["group"].split("\n")):
        if len(fields) == 4:
            found |= {("account", one, "group " + fields[2]) for one in fields[3].split(",") if one}
    for name, _, rest in (line.partition(":") for line in texts["gate-groups"].split("\n")):
        found |= {("gate", name, claim) for claim in re.findall('"([^"]*)"', rest)}
    return found


def lost(before, after):
    """(accounts, gates) that have fewer rights now."""
    gone = before - after
    return ({who for kind, who, _ in gone if kind == "account"},
            any(kind == "gate" for kind, _, _ in gone))  # fmt: skip
