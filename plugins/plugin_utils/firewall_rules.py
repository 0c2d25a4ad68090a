# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""Which ports of a host are closed to whom, as rules that a template only has to write down.

Imports nothing of the collection: ``cloudlet-deploy validate`` loads this file by its path.
"""

from __future__ import annotations

import ipaddress

_EVERYBODY = ("0.0.0.0/0", "::/0")


def network_problem(text):
    """What is wrong with an address or a network, as what follows it in a sentence; or None."""
    text = str(text)
    try:
        whole = None if "%" in text else ipaddress.ip_network(text, strict=False)
    except ValueError:
        whole = None
    if whole is None:
        return "must be an address or a network, such as 192.0.2.0/24 or 2001:db8::/32"
    address = text.partition("/")[0]
    if ipaddress.ip_address(address) != whole.network_address:
        return "must be %s for the whole network, or %s for one address" % (whole, address)
    return None


def services(ports, group_names, named, extra):
    """What of this host is managed: ``{what, first, last, networks, site}`` each.

    ``ports`` are ``{group, state, variable, ports, who}``; ``ports`` of one is a number or
    ``FIRST,LAST``. ``who`` is C(site), the site's own hosts; C(nobody) but the host itself; or
    a key of ``named``, whose networks may: without any its ports are not managed. The site's
    own hosts may too where ``site`` is true, as to what is for C(clients).
    ``extra`` are ``{port, last, networks}``, with the site's own hosts.
    """
    found = []
    for entry in ports:
        text, who = str(entry["ports"]).strip(), entry["who"]
        if entry["group"] not in group_names or entry["state"] == "absent" or not text:
            continue
        if who in named and not named[who]:
            continue
        first, _comma, last = text.partition(",")
        networks = named.get(who) or []
        found.append(_service(entry["variable"], first, last or first, networks, _with_site(entry)))
    for index, entry in enumerate(extra):
        what = "firewall_extra_ports[%d]" % index
        last = entry.get("last") or entry["port"]
        found.append(_service(what, entry["port"], last, entry.get("networks") or [], True))
    return found


def _with_site(entry):
    return entry["who"] in ("clients", "site")


def _service(what, first, last, networks, site):
    return {
        "what": what,
        "first": int(first),
        "last": int(last),
        "networks": list(networks),
        "site": site,
    }


def site_hosts(ports, groups):
    """The hosts of the groups that serve each other by ``ports``, each once.

    A portal's host is none: what people run on it is no part of the storage.
    """
    named = dict.fromkeys(entry["group"] for entry in ports if _with_site(entry))
    return sorted({host for group in named for host in groups.get(group, ())})


def names_to_ask(hosts, hostvars, override):
    """The names of ``hosts`` whose addresses only a resolver knows."""
    names = []
    for host in hosts:
        variables = hostvars[host]  # costs Ansible a millisecond or two each time
        if not variables.get(override):
            names += [name for name in _names(host, variables) if _address(name) is None]
    return list(dict.fromkeys(names))


def _names(host, variables):
    return [str(variables.get("ansible_host") or host), host]


def _address(text):
    """The address that ``text`` is, or None; without the zone that only one host knows."""
    try:
        return ipaddress.ip_address(str(text).strip("[]").partition("%")[0])
    except ValueError:
        return None


def site_addresses(hosts, hostvars, override, told):
    """``{host: [addresses]}``, and the hosts of which none is known.

    ``told`` are ``(name, address)`` as the managed host resolves them. An address that is in
    the inventory is enough; a name that no resolver knows is then just a name. Loopback is what
    Debian's F(/etc/hosts) says of a host's own name, and says nothing to the others.
    """
    known, unknown = {}, []
    for host in hosts:
        variables = hostvars[host]
        found = [str(network) for network in variables.get(override) or ()]
        if not found:
            names = _names(host, variables)
            texts = [*names, *(address for name, address in told if name in names)]
            addresses = {address for address in map(_address, texts) if address is not None}
            found = [
                str(address)
                for address in sorted(addresses, key=lambda one: (one.version, one))
                if not (address.is_loopback or address.is_link_local or address.is_unspecified)
            ]
        if found:
            known[host] = found
        else:
            unknown.append(host)
    return known, unknown


def rules(managed, site):
    """``{ports, accepts}`` for the templates; ``site`` are addresses and networks.

    ``ports`` are all that are managed, ``accepts`` who may: ``{version, networks, ports}``,
    ``networks`` empty for everybody. Both are merged, sorted and free of overlaps, since nft
    takes no set with any, and the same settings must always give the same text.
    """
    by_networks = {}
    for one in managed:
        networks = tuple(sorted(set(map(str, one["networks"]))))
        by_networks.setdefault(networks, []).append((one["first"], one["last"]))
    accepts = []
    own = [(one["first"], one["last"]) for one in managed if one["site"]]
    if own:
        accepts += _accepts(site, own)
    for networks, spans in sorted(by_networks.items()):
        accepts += _accepts(networks, spans)
    return {
        "ports": _merged([(one["first"], one["last"]) for one in managed]),
        "accepts": accepts,
    }


def _accepts(networks, spans):
    parsed = [ipaddress.ip_network(str(network)) for network in networks]
    for version in (4, 6):
        own = ipaddress.collapse_addresses(one for one in parsed if one.version == version)
        texts = [_short(network) for network in own]
        if texts:
            yield {
                "version": version,
                "networks": [] if texts[0] in _EVERYBODY else texts,
                "ports": _merged(spans),
            }


def _short(network):
    whole = network.prefixlen == network.max_prefixlen
    return str(network.network_address) if whole else str(network)


def _merged(spans):
    """``FIRST-LAST`` or ``PORT`` each, in order, none touching the next."""
    merged = []
    for first, last in sorted(spans):
        if merged and first <= merged[-1][1] + 1:
            merged[-1][1] = max(merged[-1][1], last)
        else:
            merged.append([first, last])
    return ["%d" % first if first == last else "%d-%d" % (first, last) for first, last in merged]


def lockouts(managed, ssh_ports):
    """Sentences for the services that hold one of ``ssh_ports``: to close it may lock us out."""
    for one in managed:
        for port in ssh_ports:
            if one["first"] <= port <= one["last"]:
                held = "%d" % port if one["first"] == one["last"] else "%(first)d,%(last)d" % one
                yield (
                    "%s (%s) holds port %d, on which this host is reached by ssh: the firewall "
                    "could lock you out. Choose other ports, or let sshd listen on another."
                    % (one["what"], held, port)
                )


def plan(managed, hosts, hostvars, host, *, override, networks, said):
    """All that the role wants to know: ``{faults, rules, hosts, firewalld, lost}``.

    ``said`` are the lines that the host answered: ``ssh PORT``, ``address NAME ADDRESS``,
    ``firewalld active``, ``unit active``, ``table loaded``. There are no rules where there
    are faults.
    """
    lines = [line.split() for line in said]
    told = [(words[1], words[2]) for words in lines if words[:1] == ["address"] and words[2:]]
    ssh = sorted({int(words[1]) for words in lines if words[:1] == ["ssh"] and words[1:]})
    if not ssh:
        ssh = [int(hostvars[host].get("ansible_port") or 22)]
    known, unknown = site_addresses(hosts, hostvars, override, told)
    site = [*(one for addresses in known.values() for one in addresses), *networks]
    faults = [*lockouts(managed, ssh), *_malformed(managed, site)]
    faults += [
        "%s has no address that other hosts reach: its ansible_host is none, and on %s its name "
        "does not resolve. Set %s for it to the addresses that it speaks from."
        % (name, host, override)
        for name in unknown
    ]
    return {
        "faults": faults,
        "hosts": known,
        "rules": {} if faults else rules(managed, site),
        "firewalld": ["firewalld", "active"] in lines,
        "lost": ["unit", "active"] in lines and ["table", "loaded"] not in lines,
    }


def _malformed(managed, site):
    every = dict.fromkeys([*site, *(text for one in managed for text in one["networks"])])
    for text in every:
        problem = network_problem(text)
        if problem:
            yield "%s %s." % (text, problem)
