# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Mounts of cameras (CIFS) and project spaces (SSHFS) that cannot work, or not safely.

A mount of the inventory is a mapping as ``data_mounts_cifs`` and ``data_mounts_sshfs`` have it. No
message holds a password or any part of a key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import posixpath
import re

from ansible.errors import AnsibleFilterError

#: What unit files, ``-o`` and ``podman -v`` take as it is: nothing that one of them would split.
_WHERE = re.compile(r"/[A-Za-z0-9/_.+@=-]*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_ACCOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*\$?")
_SHARE = re.compile(r"//(?P<host>[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:]+\])/[^/\\\x00-\x1f]+(/[^\\\x00-\x1f]*)?")  # fmt: skip  # noqa: E501
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*|[0-9A-Fa-f:]*:[0-9A-Fa-f:]*")
_CONTEXT = re.compile(r"\w+:\w+:\w+(:[A-Za-z0-9.:-]+)?")
#: An option for ``-o``, with or without a value, that needs no quotes anywhere.
_OPTION = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(=[A-Za-z0-9_./:@+=-]*)?")
#: Directories that hold the system, and homes: what is mounted on one of them hides it.
_SYSTEM = (
    "bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "lost+found", "proc",
    "root", "run", "sbin", "sys", "tmp", "usr", "var",
)  # fmt: skip
#: System directories below which a mount may lie nevertheless.
_ROOM = ("/var/lib/", "/var/data/", "/home/")

_READ_ONLY = "camera data is never written here"
_NO_PROGRAMS = "nothing on a camera's share may run or be a device here"
_IN_FILE = "credentials belong into username, password and domain, which go to a file of root's"
_OF_CONTEXT = "labels are set by context"
_OF_UNIT = "the mount is a unit of systemd, and no line of fstab"
_OURS = "the role sets it"
#: Options of a CIFS mount that would undo what makes it safe, and why.
REFUSED_CIFS = {
    **dict.fromkeys(("rw", "remount", "bind", "move"), _READ_ONLY),
    **dict.fromkeys(("exec", "suid", "dev", "defaults", "owner", "group", "users"), _NO_PROGRAMS),
    "hard": "a program would wait for ever for a server that is away",
    **dict.fromkeys(("guest", "multiuser"), "nobody reads a share without its account"),
    **dict.fromkeys(
        (
            "user", "username", "pass", "password", "password2", "dom", "domain", "workgroup",
            "credentials", "cred",
        ),
        _IN_FILE,
    ),
    "vers": "only SMB 3.1.1 keeps others from changing what is read",
    **dict.fromkeys(("context", "fscontext", "defcontext", "rootcontext"), _OF_CONTEXT),
    **dict.fromkeys(("auto", "noauto", "nofail", "_netdev", "comment"), _OF_UNIT),
    **dict.fromkeys(
        (
            "ro", "soft", "uid", "gid", "forceuid", "noforceuid", "forcegid", "noforcegid",
            "file_mode", "dir_mode", "fmode", "dmode", "port", "multichannel", "nomultichannel",
            "seal", "ip", "addr", "nosuid", "nodev", "noexec",
        ),
        _OURS,
    ),
}  # fmt: skip
_HANGS = "without it a program would wait for ever where the network was cut"
_PINNED = "the server is known by known_hosts alone"
#: Likewise of an SSHFS mount; in small letters, as ssh does not tell them from others.
REFUSED_SSHFS = {
    **dict.fromkeys(
        (
            "stricthostkeychecking", "userknownhostsfile", "globalknownhostsfile",
            "nohostauthenticationforlocalhost", "checkhostip", "hostkeyalias", "updatehostkeys",
            "verifyhostkeydns",
        ),
        _PINNED,
    ),
    **dict.fromkeys(
        ("identityfile", "identitiesonly", "passwordauthentication", "password_stdin"),
        "the key alone opens the way",
    ),
    "batchmode": "nobody is there to be asked",
    **dict.fromkeys(
        ("serveraliveinterval", "serveralivecountmax", "connecttimeout", "reconnect"), _HANGS
    ),
    "delay_connect": "a wrong key would be found out only by who needs the data",
    **dict.fromkeys(("ssh_command", "sftp_server", "directport", "passive", "slave", "debug",
                     "sshfs_debug", "foreground"), "it is another way than ssh's"),
    **dict.fromkeys(("suid", "dev", "defaults"), "nothing on another host may give rights here"),
    **dict.fromkeys(("context", "fscontext", "defcontext", "rootcontext"), _OF_CONTEXT),
    **dict.fromkeys(("auto", "noauto", "nofail", "_netdev", "user", "users"), _OF_UNIT),
    **dict.fromkeys(
        (
            "uid", "gid", "umask", "idmap", "allow_other", "allow_root", "default_permissions",
            "port", "nosuid", "nodev",
        ),
        _OURS,
    ),
}  # fmt: skip


def mount_faults(cifs, sshfs):
    """What is wrong with the mounts, as sentences that begin with the variable's name."""
    cifs, sshfs = list(cifs or []), list(sshfs or [])
    for one in [*cifs, *sshfs]:
        if not hasattr(one, "get"):
            raise AnsibleFilterError("%s is no mount: write a mapping with name and where." % one)
    return [
        "%s has %s: %s." % (variable, problem, remedy)
        for variable, _, problem, remedy in faults_of(cifs, sshfs)
    ]


def faults_of(cifs, sshfs):
    """The same as data: each (variable, index in it, problem, remedy)."""
    for variable, mounts, of_kind in (
        ("data_mounts_cifs", cifs, _cifs_faults),
        ("data_mounts_sshfs", sshfs, _sshfs_faults),
    ):
        for index, one in enumerate(mounts):
            label = str(one.get("name", "?"))
            for problem, remedy in [*_common_faults(one), *of_kind(one)]:
                yield variable, index, "in %s %s" % (label, problem), remedy
    yield from _clashes(cifs, sshfs)


def _common_faults(one):
    name, where = str(one.get("name", "")), str(one.get("where", ""))
    if not _NAME.fullmatch(name):
        yield "the name %s" % name, "write letters, digits, dots, dashes and underscores"
    parts = where.split("/")
    if not _WHERE.fullmatch(where) or "." in parts or ".." in parts:
        yield (
            "where %s" % where,
            "write an absolute path of letters, digits and _.+@=-, without . and .. in it",
        )
    elif _is_system(posixpath.normpath(where)):
        yield (
            "where %s" % where,
            "a mount there would hide the system's own files; take a place below /srv or /mnt",
        )
    context = one.get("context")
    if context and not _CONTEXT.fullmatch(str(context)):
        yield "the context %s" % context, "write user:role:type:level, without a comma"


def _is_system(where):
    parts = where.strip("/").split("/")
    if parts == [""] or (len(parts) == 1 and parts[0] in (*_SYSTEM, "srv", "mnt", "opt", "media")):
        return True
    return parts[0] in _SYSTEM and not any(where.startswith(room) for room in _ROOM)


def _option_faults(one, refused):
    for option in map(str, one.get("options") or []):
        name = option.split("=")[0].strip()
        reason = refused.get(name.lower())
        if option.lower() in ("sec=none", "sec=ntlm", "sec=lanman"):
            reason = "nobody reads a share without its account"
        if name.lower().startswith("x-"):
            reason = _OF_UNIT
        if reason:
            # The value may be a password.
            yield "the option %s" % name, "leave it out, as %s" % reason
        elif not _OPTION.fullmatch(option):
            yield (
                "the option %s" % name.split(",")[0],
                "write each option by itself, NAME or NAME=VALUE, without comma, space and quote",
            )


def _cifs_faults(one):
    share = str(one.get("share", ""))
    if not _SHARE.fullmatch(share):
        yield "the share %s" % share, "write //HOST/SHARE, with slashes"
    for key in ("username", "password", "domain"):
        text = str(one.get(key) or "")
        if re.search(r"[\x00-\x1f\x7f]", text):
            # Its value is nobody's to see.
            yield "a control character in %s" % key, "write it on one line"
    if not str(one.get("username") or ""):
        yield "no username", "name the account that may read the share"
    if not str(one.get("password") or ""):
        yield "no password", "give it in a vault"
    # mount.cifs itself reads no more.
    elif len(str(one["password"]).encode()) > 512:
        yield "a password of more than 512 bytes", "mount.cifs reads no longer one"
    yield from _option_faults(one, REFUSED_CIFS)


def _sshfs_faults(one):
    host = str(one.get("host", ""))
    if not _HOST.fullmatch(host):
        yield "the host %s" % host, "write a host name or an address"
    user = str(one.get("user", ""))
    if not _ACCOUNT.fullmatch(user):
        yield "the user %s" % user, "write the name of the account on the server"
    path = str(one.get("path", ""))
    if not path.startswith("/") or re.search(r"[\x00-\x1f\x7f]", path):
        yield "the path %s" % path, "write an absolute path of the server"
    if not re.fullmatch(r"0?[0-7]{3}", str(one.get("umask") or "0027")):
        yield "the umask %s" % one["umask"], 'write octal digits in quotes, such as "0027"'
    if bool(one.get("key")) == bool(one.get("key_file")):
        yield (
            "%s key" % ("both a file and a text of the" if one.get("key") else "no"),
            "give key_file, a file on this machine, or key, a vaulted text",
        )
    if one.get("key"):
        yield from ((problem, remedy) for problem, remedy in key_problems(str(one["key"])))
    yield from _known_hosts_faults(one, host)
    yield from _option_faults(one, REFUSED_SSHFS)


def _known_hosts_faults(one, host):
    lines = [str(line).strip() for line in one.get("known_hosts") or []]
    port = int(one.get("port") or 22)
    name = host if port == 22 else "[%s]:%d" % (host, port)
    scan = "ssh-keyscan -p %d %s" % (port, host)
    if not lines:
        yield (
            "no known_hosts",
            "write the lines of '%s', and compare them with what the server's admin says" % scan,
        )
        return
    good = [line for line in lines if _names_of(line) is not None]
    for line in lines:
        if line not in good:
            yield (
                "the known_hosts line %s..." % line[:20],
                "write HOST KEYTYPE KEY, as '%s' tells it" % scan,
            )
    if good and not any(_is_about(_names_of(line), name) for line in good):
        yield (
            "no known_hosts line for %s" % name,
            "ssh would refuse the server; write the lines that '%s' tells" % scan,
        )


def _names_of(line):
    """The patterns of names that a line is for; None where it is no line of known_hosts."""
    words = line.split()
    if words[:1] in (["@cert-authority"], ["@revoked"]):
        # A key that is refused makes nobody known.
        words = words[1:] if words[0] == "@cert-authority" else ["!", *words[2:]]
    if len(words) < 3:
        return None
    try:
        base64.b64decode(words[2], validate=True)
    except (binascii.Error, ValueError):
        return None
    return words[0].split(",")


def _is_about(patterns, name):
    found = False
    for pattern in patterns:
        if pattern.startswith("|1|"):
            found = found or _hashed(pattern, name)
            continue
        negated = pattern.startswith("!")
        # Only * and ? are special, unlike in fnmatch: addresses stand in brackets.
        text = re.escape(pattern.lstrip("!")).replace(r"\*", ".*").replace(r"\?", ".")
        if re.fullmatch(text, name, re.IGNORECASE):
            if negated:
                return False
            found = True
    return found


def _hashed(pattern, name):
    try:
        salt, digest = (base64.b64decode(part) for part in pattern.split("|")[2:4])
    except (binascii.Error, ValueError):
        return False
    return hmac.compare_digest(hmac.new(salt, name.lower().encode(), hashlib.sha1).digest(), digest)


def _clashes(cifs, sshfs):
    mounts = [("data_mounts_cifs", *each) for each in enumerate(cifs)]
    mounts += [("data_mounts_sshfs", *each) for each in enumerate(sshfs)]
    for at, (variable, index, one) in enumerate(mounts):
        for _, _, other in mounts[:at]:
            for problem, remedy in _clash(one, other):
                yield variable, index, problem, remedy


def _clash(one, other):
    if one.get("name") == other.get("name"):
        yield "the name %s twice" % one["name"], "name each mount once"
    here, there = (posixpath.normpath(str(m.get("where"))) for m in (one, other))
    if here == there:
        yield (
            "%s and %s at %s" % (other.get("name"), one.get("name"), here),
            "one would hide the other, give each its own place",
        )
    elif (here + "/").startswith(there + "/") or (there + "/").startswith(here + "/"):
        yield (
            "%s at %s and %s at %s" % (other.get("name"), there, one.get("name"), here),
            "one lies below the other, put them side by side",
        )


# ---- keys ------------------------------------------------------------------------------------


def key_faults(text, name, path):
    """What keeps the private key in ``text``, read from ``path``, from serving a mount."""
    if not text:
        return [
            "data_mounts_sshfs has in %s the key_file %s, which cannot be read: put the key there, "
            "or correct the path." % (name, path)
        ]
    return [
        "data_mounts_sshfs has in %s %s (%s): %s." % (name, problem, path, remedy)
        for problem, remedy in key_problems(text)
    ]


def key_problems(text):
    """What is wrong with the private key in ``text``: each (problem, remedy)."""
    begin = re.search(r"-----BEGIN ([A-Z0-9 ]*)PRIVATE KEY-----", str(text))
    if not begin:
        yield "a key that is no private key", "give the text that begins with -----BEGIN"
    elif _is_locked(str(text), begin[1]):
        yield (
            "a key with a passphrase, which no service can type",
            "remove it (ssh-keygen -p -f FILE) and use ansible-vault instead",
        )


def _is_locked(text, kind):
    if kind == "OPENSSH ":
        body = "".join(text.split("-----")[2].split())
        try:
            data = base64.b64decode(body)
        except (binascii.Error, ValueError):
            return False
        # The name of the cipher follows the magic, as a string of SSH.
        return data.startswith(b"openssh-key-v1\0") and data[15:23] != b"\0\0\0\4none"
    return kind == "ENCRYPTED " or "Proc-Type: 4,ENCRYPTED" in text


class FilterModule:
    def filters(self):
        return {"data_mounts_faults": mount_faults, "data_mounts_key_faults": key_faults}
