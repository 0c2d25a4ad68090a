"""The portal: who comes in, by which claim, and which instruments they reach.

What the roles refuse themselves, such as no identity provider, is not here.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from cloudlet_deploy.site.checks.values import PLACEHOLDER
from cloudlet_deploy.site.faults import Fault, Severity, Subject, at, fault, short, shown
from cloudlet_deploy.site.model import Host, Place, Source, Value

_ROLE = "ondemand_portal"
_SERVERNAME, _SCOPE = "ondemand_portal_servername", "ondemand_portal_oidc_scope"
_CLAIM, _PROVIDER_CLAIM = "ondemand_portal_claim", "ondemand_portal_provider_claim"
_METADATA, _PROVIDERS = "ondemand_portal_oidc_metadata_url", "ondemand_portal_identity_providers"
_INSTRUMENTS, _SITES = "ondemand_portal_instruments", "ondemand_portal_sites"
_APPROVED, _HOSTS_APPROVED = "ondemand_portal_approved_users", "podman_host_approved_users"

#: The scope that a claim comes with (OpenID Connect Core 1.0, section 5.4).
_SCOPES = {"email": "email", "preferred_username": "profile"}
#: The same of CILogon, beside those.
_CILOGON = "cilogon.org"
_CILOGON_SCOPES = dict.fromkeys(("eppn", "idp", "idp_name"), "org.cilogon.userinfo")
#: Providers where people choose their e-mail address, and that send no eppn, by domain.
_ANYBODYS = {
    "google.com": "Google",
    "github.com": "GitHub",
    "live.com": "Microsoft",
    "microsoft.com": "Microsoft",
    "microsoftonline.com": "Microsoft",
}
#: Groups that distributions have from the start, and those that give root's powers.
SYSTEM_GROUPS = frozenset(
    {"adm", "admin", "apache", "audio", "avahi", "backup", "bin", "cdrom", "chrony", "crontab",
     "daemon", "dbus", "dialout", "dip", "disk", "docker", "floppy", "ftp", "games", "incus-admin",
     "input", "irc", "kmem", "kvm", "libvirt", "list", "lock", "lp", "lxd", "mail", "man",
     "messagebus", "netdev", "news", "nobody", "nogroup", "operator", "plugdev", "podman",
     "polkitd", "proxy", "render", "root", "sasl", "sgx", "shadow", "src", "ssh", "ssh_keys",
     "sshd", "ssl-cert", "staff", "sudo", "sys", "systemd-journal", "systemd-network", "tape",
     "tty", "users", "utempter", "utmp", "uucp", "video", "voice", "wheel", "www-data"}
)  # fmt: skip
_NAME_A_GROUP = "Name a group of the people who may use it, and of no others."
#: A part of `podman_host_delegated_uids`: a number, or a range of them.
_IDS = re.compile(r"(\d{1,10})(?:-(\d{1,10}))?")


def outside_of_cloudlet(subject: Subject) -> Iterator[Fault]:
    """Portals on hosts where no account is made to run them."""
    for portal in _portals(subject):
        if "cloudlet" not in portal.host.groups:
            yield fault(
                f"{portal.host.name} is in the group portal, but not in cloudlet,"
                " which makes the account that runs the portal",
                "Put it into the group cloudlet too.",
                portal.host.origin,
                host=portal.host,
            )


def front(subject: Subject) -> Iterator[Fault]:
    """A way into the portal that leads elsewhere."""
    for portal in _portals(subject):
        for end in ("servername", "port"):
            ours, theirs = f"portal_front_{end}", f"{_ROLE}_{end}"
            here, there = portal.text(ours), portal.text(theirs)
            if here and there and here.lower() != there.lower():
                yield portal.fault(
                    ours,
                    f"is {here}, but {theirs} is {there}",
                    f"Remove {ours}, which is then the same.",
                )


def scopes(subject: Subject) -> Iterator[Fault]:
    """Scopes with which the provider does not send the claims that are asked for."""
    for portal in _portals(subject):
        written = portal.text(_SCOPE)
        if written is None:
            continue
        asked = written.split()
        if "openid" not in asked:
            yield portal.fault(
                _SCOPE,
                "does not have openid, without which no provider says who somebody is",
                f"Write {' '.join(['openid', *asked])}.",
            )
        provider = _host_of(portal.text(_METADATA) or "")
        known = {**_SCOPES, **(_CILOGON_SCOPES if _is_of(provider, {_CILOGON}) else {})}
        wanted: dict[str, list[str]] = {}
        for claim in filter(None, map(portal.text, (_CLAIM, _PROVIDER_CLAIM))):
            if known.get(claim, "openid") not in {*asked, "openid"}:
                wanted.setdefault(known[claim], []).append(claim)
        for scope, claims in wanted.items():
            yield portal.fault(
                _SCOPE,
                f"does not ask for {scope}, with which {provider or 'the provider'} sends"
                f" {' and '.join(claims)}: nobody gets in without",
                f"Add {scope}.",
                severity=Severity.WARNING,
            )


def claims(subject: Subject) -> Iterator[Fault]:
    """Claims that tell people of some providers apart badly, or not at all."""
    for portal in _portals(subject):
        claim = portal.text(_CLAIM)
        names = ", ".join(portal.anybodys())
        if claim == "email" and names:
            yield portal.fault(
                _CLAIM,
                f"is email, which people of {names} can change: one could come as another",
                "Make it sub, or eppn where all providers send it.",
                severity=Severity.WARNING,
            )
        elif claim == "eppn" and names:
            yield portal.fault(
                _CLAIM,
                f"is eppn, which {names} does not send: nobody gets in from there",
                f"Make it sub, or take {names} out.",
                severity=Severity.WARNING,
            )


def directory(subject: Subject) -> Iterator[Fault]:
    """A directory that would be asked without TLS, or anonymously."""
    for portal in _portals(subject):
        uri = portal.text("ondemand_portal_ldap_uri")
        if uri is not None and not all(map(_is_ldap, uri.split() or [""])):
            yield portal.fault(
                "ondemand_portal_ldap_uri",
                "must be ldaps://HOST, or ldap://HOST for StartTLS",
                "Write it so; neither sends anything without TLS.",
                value=short(uri),
            )
        for name in ("ondemand_portal_ldap_bind_dn", "ondemand_portal_ldap_bind_password"):
            if portal.text(name) is not None and not (portal.text(name) or "").strip():
                yield portal.fault(
                    name,
                    "is empty: the directory would be asked anonymously",
                    "Have the directory give the portal an account of its own.",
                )


def instruments(subject: Subject) -> Iterator[Fault]:
    """Instruments that everybody reaches, that stand twice, or that are the portal itself."""
    for portal in _portals(subject):
        first: dict[str, int] = {}
        for index, entry in portal.entries(_INSTRUMENTS):
            name, group, address = (_text(entry.get(key)) for key in ("name", "group", "address"))
            if name is not None and first.setdefault(name, index) != index:
                line = portal.line(_INSTRUMENTS, first[name])
                yield portal.fault(
                    _INSTRUMENTS,
                    f"the instrument in line {line} has the name {name} too",
                    "Change one.",
                    (index, "name"),
                )
            if group is not None and (problem := _of_group(group, portal.text(f"{_ROLE}_account"))):
                yield portal.fault(_INSTRUMENTS, problem, _NAME_A_GROUP, (index, "group"))
            if address is not None and (problem := portal.own(address)):
                yield portal.fault(
                    _INSTRUMENTS,
                    f"is {address}, {problem}",
                    "Write the instrument's own address.",
                    (index, "address"),
                )


def sites(subject: Subject) -> Iterator[Fault]:
    """Programs behind the gate that everybody reaches, or whose name is another's."""
    for portal in _portals(subject):
        taken = {(portal.text(_SERVERNAME) or "").lower(): "the portal"}
        for index, entry in portal.entries(_SITES):
            group, name = (_text(entry.get(key)) for key in ("group", "servername"))
            if group is not None and (problem := _of_group(group, portal.text(f"{_ROLE}_account"))):
                yield portal.fault(_SITES, problem, _NAME_A_GROUP, (index, "group"))
            if name is None:
                continue
            if whose := taken.get(name.lower()):
                yield portal.fault(
                    _SITES,
                    f"is {name}, the name of {whose}: a program behind the gate needs its own",
                    "Give it a name of its own, which leads to the same host.",
                    (index, "servername"),
                )
            taken.setdefault(name.lower(), f"the site in line {portal.line(_SITES, index)}")


def nobody(subject: Subject) -> Iterator[Fault]:
    """Portals that let nobody in."""
    for portal in _portals(subject):
        name, value = _APPROVED, portal.host.effective(_APPROVED)
        if value is not None and value.source is Source.DEFAULT:
            name, value = _HOSTS_APPROVED, portal.host.effective(_HOSTS_APPROVED) or value
        if value is not None and value.value == []:
            yield portal.fault(
                name,
                "approves nobody: nobody can come into the portal",
                f"Name the accounts of those who may come in {name}.",
                severity=Severity.WARNING,
            )


def overlapping_ids(subject: Subject) -> Iterator[Fault]:
    """Ids that are to be both people's and the pods' own."""
    for host in subject.targets:
        here = _Settings(host)
        base = here.base() if _has(subject, host, "podman_host") else None
        for name in ("podman_host_delegated_uids", "podman_host_delegated_gids") if base else ():
            value = host.effective(name)
            for index, item in enumerate(_items(value)):
                ids = _IDS.fullmatch(str(item))
                if not ids or not base:
                    continue
                low, high = int(ids[1]), int(ids[2] or ids[1])
                if low < base.stop and base.start <= high:
                    yield here.fault(
                        name,
                        f"{item} meets the base range, {base.start} to {base.stop - 1}, whose"
                        " ids are the pods' own",
                        "Choose another podman_host_base_start, or take it out.",
                        (index,),
                    )


def redirect_uris(subject: Subject, host: Host) -> Iterator[tuple[Value, Place, str]]:
    """What the provider must know the portal of ``host`` by, and the values that say so."""
    here = _Settings(host)
    value, sites = host.effective(_SERVERNAME), host.effective(_SITES)
    if not _has(subject, host, _ROLE):
        return
    if value is not None and (name := here.text(_SERVERNAME)):
        yield value, (), f"https://{name}/oidc"
    for index, entry in here.entries(_SITES):
        if sites is not None and (name := _text(entry.get("servername"))):
            yield sites, (index, "servername"), f"https://{name}/oidc"


@dataclass(frozen=True)
class _Settings:
    """The settings of one host."""

    host: Host

    def text(self, name: str) -> str | None:
        """A setting as text; None if it is not known offline, or not filled in yet."""
        value = self.host.effective(name)
        return _text(value.value) if value is not None else None

    def base(self) -> range | None:
        """The base range of ids; None if the host chooses it."""
        start, count = map(self.text, ("podman_host_base_start", "podman_host_base_count"))
        if not (start and count and start.isdigit() and count.isdigit() and int(start)):
            return None
        return range(int(start), int(start) + int(count))

    def entries(self, name: str) -> Iterator[tuple[int, Mapping[str, object]]]:
        """The items of a list that are mappings, each with its index."""
        for index, entry in enumerate(_items(self.host.effective(name))):
            if isinstance(entry, Mapping):
                yield index, entry

    def line(self, name: str, index: int) -> str:
        """Where an item of a list stands, for the other one's message."""
        value = self.host.effective(name)
        return str(at(self.host, value, (index,)).line or "") if value is not None else ""

    def own(self, address: str) -> str:
        """Why ``address`` is none of an instrument; empty if it may be."""
        found = _address(address)
        if found is None:
            return ""
        if found.is_loopback or found.is_unspecified:
            return "which is the portal itself"
        mine = _address(self.text("ansible_host") or "") or _address(self.text(_SERVERNAME) or "")
        return "which is the address of the portal's host" if found == mine else ""

    def anybodys(self) -> list[str]:
        """The providers in which people choose their e-mail address."""
        providers = [_text(item) or "" for item in _items(self.host.effective(_PROVIDERS))]
        hosts = [_host_of(one) for one in (self.text(_METADATA) or "", *providers)]
        found = (_ANYBODYS[domain] for h in hosts for domain in _ANYBODYS if _is_of(h, {domain}))
        return list(dict.fromkeys(found))

    def fault(
        self,
        name: str,
        message: str,
        next_step: str,
        place: Place = (),
        *,
        severity: Severity = Severity.ERROR,
        value: str | None = None,
    ) -> Fault:
        found = self.host.effective(name)
        return fault(
            message,
            next_step,
            at(self.host, found, place) if found is not None else self.host.origin,
            host=self.host,
            variable=shown(name, place),
            value=None if found is not None and found.secret else value,
            severity=severity,
        )


def _portals(subject: Subject) -> Iterator[_Settings]:
    return (_Settings(host) for host in subject.targets if _has(subject, host, _ROLE))


def _has(subject: Subject, host: Host, role: str) -> bool:
    """Whether ``host`` gets ``role``, and does not get rid of it."""
    return any(option.role == role for option in subject.wanted(host))


def _of_group(group: str, account: str | None) -> str:
    """Why ``group`` is none of a gate; empty if it may be."""
    if not group.strip():
        return "is empty: only members of a group may pass"
    return f"is {group}, a group of the system" if group in {*SYSTEM_GROUPS, account} else ""


def _text(value: object) -> str | None:
    known = isinstance(value, str | int) and not isinstance(value, bool)
    return str(value) if known and PLACEHOLDER not in str(value) else None


def _items(value: Value | None) -> list[object]:
    return value.value if value is not None and isinstance(value.value, list) else []


def _is_ldap(uri: str) -> bool:
    try:
        parts = urlsplit(uri)
        return parts.scheme in ("ldaps", "ldap") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _host_of(url: str) -> str:
    """The host of a URL, or of what a provider calls itself without being one."""
    try:
        return urlsplit(url).hostname or url.lower()
    except ValueError:
        return ""


def _is_of(host: str, domains: Collection[str]) -> bool:
    return any(host == domain or host.endswith(f".{domain}") for domain in domains)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address, as IPv4 where IPv6 only wraps one; None if it is none."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
