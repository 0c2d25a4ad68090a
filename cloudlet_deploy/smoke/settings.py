"""What the site says about its scaling test (the role ``smoke``), and whom to load."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cloudlet_deploy.errors import InvalidSiteError, UsageError
from cloudlet_deploy.site import schema
from cloudlet_deploy.site.faults import is_known
from cloudlet_deploy.site.model import Host, Site
from cloudlet_deploy.smoke.profile import Grid, Profile
from cloudlet_deploy.smoke.types import Endpoint, Thresholds

ROLE = "smoke"
#: The group of hosts that the load comes from.
GENERATORS = "load_generators"
#: Entries of the small directory, as in the paper.
SMALL = 10


def of_site(site: Site) -> Mapping[str, Any]:
    """Each setting by its name without the role's prefix; what the site leaves out by default.

    Raises InvalidSiteError for one that hosts contradict each other in, or that is encrypted.
    """
    found: dict[str, Any] = {}
    for name, option in schema.role_specs()[ROLE].options.items():
        values = [host.values[name] for host in site.hosts.values() if name in host.values]
        if any(not is_known(value.value) for value in values):
            raise InvalidSiteError(
                f"{values[0].origin}: {name} cannot be known here: it is encrypted or needs a run.",
                next_step="Give the vault's password, or write the value itself.",
            )
        if any(value.value != values[0].value for value in values):
            others = next(v for v in values if v.value != values[0].value)
            raise InvalidSiteError(
                f"{name} is {values[0].value!r} ({values[0].origin}) and {others.value!r} "
                f"({others.origin}), and the test is one of the whole site.",
                next_step="Set it once, in group_vars/all.",
            )
        found[name.removeprefix(f"{ROLE}_")] = values[0].value if values else option.default
    return found


def quick(settings: Mapping[str, Any], *, gridftp: bool) -> Profile:
    """The profile of a few minutes that the site, or the default, wants."""
    clients, entries = tuple(settings["clients"]), tuple(settings["entries"])
    fewest = min(clients)
    srm = (Grid(clients, (SMALL,)), *([Grid((fewest,), entries)] if entries else []))
    return Profile(
        name="quick",
        srm=srm,
        gridftp=(Grid((fewest,), (SMALL,)),) if gridftp else (),
        window=float(settings["seconds"]),
        warm_up=float(settings["warm_up_seconds"]),
        first_warm_up=5.0 * settings["warm_up_seconds"],
        think=float(settings["think_seconds"]),
        keep_alive=bool(settings["keep_alive"]),
        overload=int(settings["overload_clients"]),
        patience=float(settings["patience_seconds"]),
        timeout=float(settings["timeout_seconds"]),
    )


def thresholds(settings: Mapping[str, Any]) -> Thresholds:
    """What the site demands; 0 demands nothing, but for the share of errors."""
    return Thresholds(
        least_rate=settings["least_rate"] or None,
        worst_p95=settings["worst_p95_seconds"] or None,
        error_share=settings["error_share"],
        recovery=settings["recovery_seconds"] or None,
        least_clients=settings["least_clients"] or None,
    )


def path(site: Site, settings: Mapping[str, Any]) -> str:
    """The directory of the storage in which test directories are made."""
    if settings["path"]:
        return str(settings["path"])
    for host in (*site.in_group("gridftp"), *site.in_group("bestman")):
        root, made = host.effective("storage_path"), host.effective("storage_directories")
        if root and made and isinstance(made.value, list) and made.value and is_known(made.value):
            return f"{root.value}/{made.value[0]['path']}"
    raise InvalidSiteError(
        f"{site.path}: smoke_path is not set, and the site makes no directory in its storage.",
        next_step="Set smoke_path to a directory of the storage in which the user who tests may "
        "write.",
    )


def endpoints(site: Site, group: str, *, local: bool) -> tuple[Endpoint, ...]:
    """The targeted doors (``bestman``) or transfer servers (``gridftp``).

    ``local`` says that this machine connects to them, which may know them by ``ansible_host``
    only; load hosts know them by name.
    """
    return tuple(
        _endpoint(site.hosts[name], group, local=local)
        for name in site.targets
        if group in site.hosts[name].groups
    )


def _endpoint(host: Host, group: str, *, local: bool) -> Endpoint:
    name = str(_value(host, f"{group}_hostname") or host.name)
    port = _value(host, f"{group}_port")
    if not isinstance(port, int):
        raise InvalidSiteError(f"{host.name}: {group}_port cannot be known without a run.")
    address = name
    if local and not _resolves(name):
        address = str(_value(host, "ansible_host") or name)
    return Endpoint(name, port, address)


def _value(host: Host, name: str) -> object:
    found = host.effective(name)
    return found.value if found is not None and is_known(found.value) else None


def _resolves(name: str) -> bool:
    try:
        socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return False
    return True


def credential(
    settings: Mapping[str, Any], proxy: Path | None, certificate: Path | None, key: Path | None
) -> tuple[Path, Path]:
    """Certificate and key of the user who tests: as given, of the site, or where grid tools look.

    Raises UsageError if there is none.
    """
    if certificate is not None:
        return certificate, key or certificate
    if proxy is not None:
        return proxy, proxy
    if settings["certificate"]:
        found = Path(settings["certificate"])
        return found, Path(settings["key"] or found)
    home = Path("~/.globus").expanduser()
    places = (
        (os.environ.get("X509_USER_PROXY", ""), ""),
        (f"/tmp/x509up_u{os.getuid()}", ""),
        (os.environ.get("X509_USER_CERT", ""), os.environ.get("X509_USER_KEY", "")),
        (str(home / "usercert.pem"), str(home / "userkey.pem")),
    )
    for first, second in places:
        if first and Path(first).is_file():
            return Path(first), Path(second or first)
    raise UsageError(
        "There is no grid certificate to test with.",
        next_step="Make a proxy (grid-proxy-init, voms-proxy-init), or name one with --proxy, or a "
        "certificate with --cert and --key, or set smoke_certificate in the site.",
    )


def ca_dir(settings: Mapping[str, Any]) -> Path:
    """The CA directory on this machine."""
    given = settings["ca_dir"] or os.environ.get("X509_CERT_DIR")
    return Path(given or "/etc/grid-security/certificates")
