# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""What the name node says of itself and of its data nodes, by its JMX page,
and what a daemon of HDFS runs with, by its configuration page.

Runs on Python 3.9 and later.
"""

from __future__ import annotations

import json
import os
import urllib.request
from typing import NamedTuple
from xml.etree import ElementTree

from ansible_collections.cloudlet.deploy.plugins.module_utils.srm_probe import Answer, ProbeError

_INFO = "Hadoop:service=NameNode,name=NameNodeInfo"
_STATE = "Hadoop:service=NameNode,name=FSNamesystemState"
_SYSTEM = "Hadoop:service=NameNode,name=FSNamesystem"


class Cluster(NamedTuple):
    """One look at the name node. ``nodes`` is what it says of each data node, by host name;
    ``silent`` are the whole seconds since it heard of it."""

    cluster_id: str
    version: str
    safe_mode: str
    missing: int
    under_replicated: int
    nodes: dict

    def live(self):
        """Names of the data nodes that report."""
        return sorted(name for name, node in self.nodes.items() if node["live"])

    def unsafe(self, expected):
        """Why no data node may be stopped now, in words; "" if one may."""
        told = []
        if self.safe_mode:
            told.append("it is in safe mode")
        away = sorted(set(expected) - set(self.live()))
        if away:
            told.append("%d of %d data nodes are not live (%s)"
                        % (len(away), len(expected), ", ".join(away)))  # fmt: skip
        if self.missing:
            told.append("%d blocks are missing" % self.missing)
        if self.under_replicated:
            told.append("%d blocks have too few copies" % self.under_replicated)
        return ", ".join(told)


def _opener():
    # Never through a proxy: these are the site's own hosts.
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _bean(opener, base, name, seconds):
    with opener.open("%s/jmx?qry=%s" % (base, name), timeout=seconds) as answer:
        beans = json.load(answer)["beans"]
    return beans[0]


def look(host, port, seconds=10):
    """A ``Cluster``. Raises ProbeError."""
    opener = _opener()
    base = "http://%s:%d" % (host, port)
    try:
        info = _bean(opener, base, _INFO, seconds)
        state = _bean(opener, base, _STATE, seconds)
        system = _bean(opener, base, _SYSTEM, seconds)
        return read(info, state, system)
    except (OSError, ValueError, LookupError) as exc:
        reason = getattr(exc, "reason", None) or exc
        raise ProbeError(
            "%s does not answer: %s" % (base, reason),
            "Look at its journal: journalctl -u hdfs-namenode.service on %s." % host,
            starting=True,
            refused=isinstance(reason, ConnectionRefusedError),
        ) from exc


def read(info, state, system):
    """A ``Cluster`` of three beans."""
    nodes = {}
    leaving = json.loads(info["DecomNodes"])
    for live, key in ((True, "LiveNodes"), (False, "DeadNodes")):
        for name, node in json.loads(info[key]).items():
            decommissioned = node.get("decommissioned") is True
            nodes[name.partition(":")[0]] = {
                "live": live,
                "state": node.get("adminState")
                or ("Decommissioned" if decommissioned else "In Service"),
                "left": leaving.get(name, {}).get("underReplicatedBlocks"),
                "silent": node.get("lastContact"),
            }
    return Cluster(
        info["ClusterId"],
        info["SoftwareVersion"],
        info["Safemode"],
        int(system.get("MissingBlocks", info["NumberOfMissingBlocks"])),
        int(state["UnderReplicatedBlocks"]),
        nodes,
    )


def setting(port, key, seconds):
    """What the daemon with this web port on this host was started with, as text.

    Raises ProbeError, also where it has no such key.
    """
    asked = urllib.request.Request(
        "http://127.0.0.1:%d/conf?name=%s" % (port, key), headers={"Accept": "application/json"}
    )
    try:
        with _opener().open(asked, timeout=seconds) as answer:
            return str(json.load(answer)["property"]["value"])
    except (OSError, ValueError, LookupError, TypeError) as exc:
        reason = getattr(exc, "reason", None) or exc
        raise ProbeError(
            "the configuration page on port %d does not tell %s: %s" % (port, key, reason),
            "Look at the journal of the unit.",
            starting=True,
            refused=isinstance(reason, ConnectionRefusedError),
        ) from exc


def number(port, bean, attribute, seconds):
    """A number that the daemon with this web port on this host tells now: the sum over all beans
    that fit the name. Raises ProbeError."""
    base = "http://127.0.0.1:%d" % port
    try:
        with _opener().open("%s/jmx?qry=%s" % (base, bean), timeout=seconds) as answer:
            return sum(int(one[attribute]) for one in json.load(answer)["beans"])
    except (OSError, ValueError, LookupError, TypeError) as exc:
        raise ProbeError("%s does not tell %s: %s" % (base, attribute, exc), "") from exc


def addresses(directory):
    """(name node, port of its web pages, name of this data node) by the configuration there.

    ``directory`` is the role's, on this host. Raises ProbeError.
    """
    path = os.path.join(directory, "hdfs-site.xml")
    try:
        values = {
            one.findtext("name"): one.findtext("value") for one in ElementTree.parse(path).getroot()
        }
        host, _, port = values["dfs.namenode.http-address"].rpartition(":")
        return host, int(port), values["dfs.datanode.hostname"]
    except (OSError, ValueError, KeyError, ElementTree.ParseError) as exc:
        raise ProbeError(
            "%s does not name the name node and this data node: %s" % (path, exc),
            "Apply the component hdfs to this host.",
        ) from exc


def ask_namenode(host, port, seconds):
    """One request to the name node, for status. Returns an Answer; raises ProbeError."""
    seen = look(host, port, seconds)
    if seen.safe_mode:
        raise ProbeError(
            "it is in safe mode: %s" % " ".join(seen.safe_mode.split()),
            "It leaves it by itself once the data nodes have reported: are they up?",
            starting=True,
        )
    if seen.missing:
        raise ProbeError(
            "%d blocks are missing" % seen.missing,
            "Start the data nodes that hold them: %s are live."
            % (", ".join(seen.live()) or "none"),
        )
    return Answer("live", "", seen.version)


def ask_datanode(host, port, seconds, node):
    """What the name node says of the data node ``node``. Returns an Answer; raises ProbeError."""
    seen = look(host, port, seconds)
    found = seen.nodes.get(node)
    if found is None or not found["live"]:
        raise ProbeError(
            "the name node %s %s"
            % (host, "takes it for dead" if found else "knows no data node %s" % node),
            "Look at its journal: journalctl -u hdfs-datanode.service on %s." % node,
            starting=True,
        )
    return Answer("live", describe(found), seen.version)


def describe(node):
    """The state of a data node, with what is left to do while it is decommissioned."""
    if node["state"] == "Decommission In Progress":
        left = node["left"]
        return "Decommission in progress" + ("" if left is None else ": %d blocks left" % left)
    return node["state"]
