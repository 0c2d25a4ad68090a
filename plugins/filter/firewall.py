# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""The ports of a site's services and who may reach them."""

from __future__ import annotations

from ansible_collections.cloudlet.deploy.plugins.plugin_utils import firewall_rules


def firewall_names(ports, groups, hostvars, override):
    """The names of the site's hosts that only a resolver knows the addresses of."""
    hosts = firewall_rules.site_hosts(ports, groups)
    return firewall_rules.names_to_ask(hosts, hostvars, override)


def firewall_plan(managed, ports, groups, hostvars, host, **settings):
    """Faults, rules and what the host said, for the managed services of one host.

    ``settings`` are ``override``, ``networks`` and ``said``, as ``firewall_rules.plan`` has them.
    """
    hosts = firewall_rules.site_hosts(ports, groups)
    return firewall_rules.plan(managed, hosts, hostvars, host, **settings)


class FilterModule:
    def filters(self):
        return {
            "firewall_names": firewall_names,
            "firewall_plan": firewall_plan,
            "firewall_services": firewall_rules.services,
        }
