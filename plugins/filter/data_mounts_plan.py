# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""What mounts of cameras (CIFS) and project spaces (SSHFS) become on a host.

A mount of the inventory is a mapping as ``data_mounts_cifs`` and ``data_mounts_sshfs`` have it, and
nothing that ``data_mounts_faults`` refuses. Neither password nor key passes through here.
"""

from __future__ import annotations

import posixpath
import re
import string


def escaped(path):
    """``path`` as ``systemd-escape --path`` writes it."""
    parts = [part for part in str(path).split("/") if part not in ("", ".")]
    if not parts:
        return "-"
    allowed = (string.ascii_letters + string.digits + ":_.").encode()
    out = []
    for at, byte in enumerate("/".join(parts).encode("utf-8", "surrogateescape")):
        if byte == ord("/"):
            out.append("-")
        elif byte not in allowed or (byte == ord(".") and at == 0):
            out.append("\\x%02x" % byte)
        else:
            out.append(chr(byte))
    return "".join(out)


def unit_of(kind, where):
    """The unit that mounts at ``where``: a mount unit for CIFS, a service for SSHFS."""
    if kind == "cifs":
        return escaped(where) + ".mount"
    return "cloudlet-sshfs-%s.service" % escaped(where)


def argv_line(argv):
    """``argv`` as systemd's ``ExecStart=`` wants it: each part is one argument, as it is."""
    return " ".join(map(_quoted, argv))


def _quoted(part):
    text = str(part).replace("%", "%%").replace("$", "$$")
    if re.fullmatch(r"[A-Za-z0-9_./:@%$=,+\[\]-]+", text):
        return text
    return '"%s"' % text.replace("\\", "\\\\").replace('"', '\\"')


def mount_plan(cifs, sshfs, directory, context="", wait=30):
    """What each mount becomes on the host, in the order of the inventory.

    ``directory`` is where its secret files lie. ``context`` is the label of those that name none,
    empty where the host has no SELinux: then none is labeled. Each is ``{name, kind, unit, where,
    parents, what, host, port, account, label, secret}`` and, of CIFS, ``options``, of SSHFS
    ``command`` and ``known_hosts``. ``parents`` are the directories above ``where``, ``secret`` is
    the file with credentials or key.
    """
    return [_cifs(one, directory, context) for one in cifs] + [
        _sshfs(one, directory, context, wait) for one in sshfs
    ]


def _cifs(one, directory, context):
    secret = "%s/%s.credentials" % (directory, one["name"])
    port = int(one.get("port") or 445)
    options = [
        "ro", "vers=3.1.1", "credentials=%s" % secret, "uid=%d" % int(one.get("uid") or 0),
        "gid=%d" % int(one.get("gid") or 0), "forceuid", "forcegid", "file_mode=0440",
        "dir_mode=0550", "nosuid", "nodev", "noexec", "soft",
    ]  # fmt: skip
    given = [str(option) for option in one.get("options") or []]
    names = {option.split("=")[0] for option in given}
    usual = {"cache": "strict", "rsize": "4194304", "echo_interval": "10"}
    options += ["%s=%s" % pair for pair in usual.items() if pair[0] not in names]
    options += ["port=%d" % port] if port != 445 else []
    if one.get("multichannel"):
        options += ["multichannel"] + ([] if "max_channels" in names else ["max_channels=4"])
    options += ["seal"] if one.get("seal") else []
    label = _label(one, context)
    options += [*given, *(["context=%s" % label] if label else []), "_netdev"]
    return {
        **_common(one, "cifs", str(one["share"]), label),
        "host": str(one["share"]).strip("/").partition("/")[0].strip("[]"),
        "port": port,
        "account": one["username"],
        "options": ",".join(options),
        "secret": secret,
    }


def _sshfs(one, directory, context, wait):
    host, port = str(one["host"]), int(one.get("port") or 22)
    secret = "%s/%s.key" % (directory, one["name"])
    known_hosts = "%s/%s.known_hosts" % (directory, one["name"])
    source = "%s@%s:%s" % (one["user"], "[%s]" % host if ":" in host else host, one["path"])
    given = [str(option) for option in one.get("options") or []]
    names = {option.split("=")[0].lower() for option in given}
    # It must have given up before the unit is given up.
    patience = min(15, max(1, int(wait) // 2))
    options = [
        "reconnect", "ServerAliveInterval=15", "ServerAliveCountMax=3",
        "ConnectTimeout=%d" % patience, "IdentityFile=%s" % secret, "IdentitiesOnly=yes",
        "UserKnownHostsFile=%s" % known_hosts, "GlobalKnownHostsFile=/dev/null",
        "UpdateHostKeys=no", "StrictHostKeyChecking=yes", "BatchMode=yes",
        "uid=%d" % int(one.get("uid") or 0), "gid=%d" % int(one.get("gid") or 0),
        "umask=%s" % (one.get("umask") or "0027"), "idmap=user", "allow_other",
        "default_permissions", "nosuid", "nodev",
    ]  # fmt: skip
    usual = {"max_conns": "4", "compression": "no", "dir_cache": "yes"}
    options += ["%s=%s" % pair for pair in usual.items() if pair[0] not in names]
    label = _label(one, context)
    options += given + (["context=%s" % label] if label else [])
    argv = ["/usr/bin/sshfs", "-f", "-p", port, source, one["where"], "-o", ",".join(options)]
    return {
        **_common(one, "sshfs", source, label),
        "host": host,
        "port": port,
        "account": one["user"],
        "command": argv_line(argv),
        "secret": secret,
        "known_hosts": known_hosts,
    }


def _common(one, kind, what, label):
    where = posixpath.normpath(str(one["where"]))
    parts = where.strip("/").split("/")
    parents = ["/" + "/".join(parts[:depth]) for depth in range(1, len(parts))]
    return {
        "name": one["name"],
        "kind": kind,
        "unit": unit_of(kind, where),
        "where": where,
        "parents": parents,
        "what": what,
        "label": label,
    }


def _label(one, context):
    """The label of all of the mount, or empty; so is ``context`` on a host without SELinux."""
    own = one.get("context")
    return context if own is None or not context else own


class FilterModule:
    def filters(self):
        return {"data_mounts_plan": mount_plan}
