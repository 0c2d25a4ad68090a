# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""What packages a host has and where it would get others; reads only, no lists are renewed.

Runs on Python 3.9 and later.
"""

from __future__ import annotations

import glob
import re
import socket
import time
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443, "ftp": 21, "tor+http": 9050}
#: Sources that are asked for an answer at most, and seconds that each may take.
_ASKED, _PATIENCE = 5, 3.0
_ENABLED_OFF = re.compile(r"^\s*(enabled\s*=\s*(0|no|false)|enabled:\s*no)\s*$", re.I | re.M)


def sources(run):
    """``Debian`` or ``RedHat``, whichever this host is."""
    return Debian(run) if run(["dpkg", "--version"]).rc == 0 else RedHat(run)


def _texts(*patterns):
    for path in (path for pattern in patterns for path in sorted(glob.glob(pattern))):
        try:
            with open(path, encoding="utf-8", errors="replace") as stream:
                yield stream.read()
        except OSError:
            continue


class _Sources:
    """What both families share."""

    advice = ""
    #: What tells NAME VERSION STATE of each package that is named after it.
    _tells = ()

    def __init__(self, run):
        self._run = run

    def versions(self, names):
        """{name: version} of those that are installed."""
        rows = [line.split() for line in self._run([*self._tells, *names]).out.splitlines()]
        return {row[0]: row[1] for row in rows if len(row) == 3 and row[2] == "installed"}

    def installed(self, names):
        """Those of ``names`` that are installed."""
        return set(self.versions(names))

    def addresses(self):
        """URLs of the sources, or of the proxy before them."""
        raise NotImplementedError

    def reach(self, connect=socket.create_connection):
        """(hosts that were tried, whether one of them answered). None tried: all are local."""
        tried = []
        deadline = time.monotonic() + _ASKED * _PATIENCE
        for url in dict.fromkeys(self.addresses()):
            parts = urlsplit(url)
            port = parts.port or _PORTS.get(parts.scheme)
            if not parts.hostname or port is None or len(tried) >= _ASKED:
                continue
            tried.append("%s:%d" % (parts.hostname, port))
            try:
                connect((parts.hostname, port), timeout=_PATIENCE).close()
                return tried, True
            except OSError:
                if time.monotonic() > deadline:
                    break
        return tried, False


class Debian(_Sources):
    """dpkg and apt."""

    advice = "add the repository that has it to /etc/apt/sources.list.d."

    _tells = ("dpkg-query", "-W", "-f", "${Package} ${Version} ${db:Status-Status}\n", "--")

    def available(self, names):
        """Those of ``names`` that the lists on the host know."""
        out = self._run(["apt-cache", "policy", *names]).out
        found = re.findall(r"^(\S+):\n(?:  .*\n)*?  Candidate: (\S+)$", out, re.M)
        return {name for name, candidate in found if candidate != "(none)"}

    def addresses(self):
        out = self._run(["apt-config", "dump", "Acquire::http::Proxy", "Acquire::https::Proxy"]).out
        proxies = re.findall(r'^Acquire::https?::Proxy "([^"]+)"', out, re.M)
        if any(proxy != "DIRECT" for proxy in proxies):
            return [proxy for proxy in proxies if proxy != "DIRECT"]
        found = []
        for text in _texts("/etc/apt/sources.list", "/etc/apt/sources.list.d/*.list"):
            found += re.findall(r"^deb\s+(?:\[[^]]*\]\s+)?(\S+)", text, re.M)
        for text in _texts("/etc/apt/sources.list.d/*.sources"):
            for stanza in text.split("\n\n"):
                if not _ENABLED_OFF.search(stanza):
                    found += " ".join(re.findall(r"^URIs:\s*(.+)$", stanza, re.M)).split()
        return found


class RedHat(_Sources):
    """rpm and dnf."""

    advice = "enable the repository that has it (EPEL, CRB): dnf config-manager --set-enabled."

    _tells = ("rpm", "-q", "--qf", "%{NAME} %{VERSION}-%{RELEASE} installed\n")

    def available(self, names):
        """dnf would renew its lists to tell; so all are taken to be there."""
        return set(names)

    def addresses(self):
        for text in _texts("/etc/dnf/dnf.conf"):
            proxy = re.search(r"^\s*proxy\s*=\s*(\S+)", text, re.M)
            if proxy:
                return [proxy.group(1)]
        found = []
        for text in _texts("/etc/yum.repos.d/*.repo"):
            for section in re.split(r"^(?=\[)", text, flags=re.M):
                if not _ENABLED_OFF.search(section):
                    found += re.findall(
                        r"^(?:baseurl|mirrorlist|metalink)\s*=\s*(\S+)", section, re.M
                    )
        return found
