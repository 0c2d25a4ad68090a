"""CryoSPARC's master: its place in the groups, its ten ports, and its users."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from cloudlet_deploy.site.faults import Fault, Severity, Subject, at, fault, shown
from cloudlet_deploy.site.model import Host, Value

_GROUP, _PORT, _USERS = "cryosparc", "cryosparc_port", "cryosparc_users"
#: From the base port on, as in the role's module_utils.
_PORTS = 10
#: The kernel's own choice of ports for outgoing connections (net.ipv4.ip_local_port_range).
_EPHEMERAL = range(32768, 61000)


def outside_of_cloudlet(subject: Subject) -> Iterator[Fault]:
    """Masters on hosts that nothing else of a cloudlet, such as its mounts, is set up on."""
    for host in _masters(subject):
        if "cloudlet" not in host.groups:
            yield fault(
                f"{host.name} is in the group cryosparc, but not in cloudlet",
                "Put it into the group cloudlet too.",
                host.origin,
                host=host,
            )


def ports(subject: Subject) -> Iterator[Fault]:
    """Base ports among which connections to elsewhere begin."""
    for host in _masters(subject):
        value = host.effective(_PORT)
        if value is None or isinstance(value.value, bool) or not isinstance(value.value, int):
            continue
        ours = range(value.value, value.value + _PORTS)
        if ours[0] in _EPHEMERAL or ours[-1] in _EPHEMERAL:
            yield _fault(
                host,
                value,
                f"is {value.value}: connections of this host to others may take its ports",
                "Choose ten ports outside of 32768 to 60999, such as 61000 and after.",
                Severity.WARNING,
            )


def users(subject: Subject) -> Iterator[Fault]:
    """Users that CryoSPARC could not tell apart. The role refuses them too."""
    for host in _masters(subject):
        value = host.effective(_USERS)
        if value is None or not isinstance(value.value, list):
            continue
        seen: set[tuple[str, str]] = set()
        for index, user in enumerate(value.value):
            for key in ("email", "username"):
                found = user.get(key) if isinstance(user, Mapping) else None
                if not isinstance(found, str):
                    continue
                if (key, found.lower()) in seen:
                    place = (index, key)
                    yield fault(
                        f"is {found}, as another user's is",
                        "Name each user once.",
                        at(host, value, place),
                        host=host,
                        variable=shown(_USERS, place),
                    )
                seen.add((key, found.lower()))


def _masters(subject: Subject) -> Iterator[Host]:
    return (host for host in subject.targets if _GROUP in host.groups)


def _fault(
    host: Host, value: Value, message: str, step: str, severity: Severity = Severity.ERROR
) -> Fault:
    where = at(host, value)
    return fault(message, step, where, host=host, variable=_PORT, severity=severity)
