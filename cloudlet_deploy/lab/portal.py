"""The image of the portal's pod: Debian 12 with the stand-in of Open OnDemand.

It is made like a host's image (:mod:`.image`) and put, as an archive for ``podman load``, into the
host on which a role is to run it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from cloudlet_deploy.lab.files import Put

VERSION = "4.2.3"
#: The image's name in the archive, and where the archive lies on a host.
NAME = f"localhost/ondemand-standin:{VERSION}"
ARCHIVE = "/opt/ondemand-standin.tar"
PACKAGES = (
    "apache2",
    "ca-certificates",
    "dbus",
    "libapache2-mod-auth-openidc",
    "libnginx-mod-http-lua",
    "libnss-extrausers",
    "lua-posix",
    "lua-yaml",
    "nginx-light",
    "procps",
    "python3",
    "python3-pkg-resources",
    "python3-yaml",
    "sudo",
    "systemd",
    "systemd-sysv",
)
_MODULES = (
    "auth_openidc",
    "authz_groupfile",
    "headers",
    "lua",
    "proxy",
    "proxy_http",
    "proxy_wstunnel",
    "rewrite",
    "ssl",
)
#: Of no use in a pod, and some of them fail in it.
_MASKED = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "console-getty.service",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "nginx.service",
    "systemd-logind.service",
)
#: Run in the new root by sh -e, after packages and files are there. Debian's noVNC and websockify
#: want Node, NumPy and OpenStack's libraries, which neither needs for its work.
SCRIPT = f"""
export DEBIAN_FRONTEND=noninteractive
cd /tmp
apt-get download novnc websockify python3-websockify
for package in *.deb; do
  dpkg-deb --extract "$package" /
done
rm *.deb
a2enmod --quiet {" ".join(_MODULES)}
a2dissite --quiet 000-default
ln -s ../sites-available/ood-portal.conf /etc/apache2/sites-enabled/ood-portal.conf
sed -i -E 's/^(passwd|group|shadow):( *files).*/\\1:\\2 extrausers/' /etc/nsswitch.conf
systemctl mask {" ".join(_MASKED)}
# Where this machine gets its packages is nothing for an image that travels.
rm -rf /etc/apt/sources.list.d/* /var/lib/apt/lists/*
rm -f /var/cache/apt/*.bin /var/cache/apt/archives/*.deb
rm -f /etc/ssl/private/ssl-cert-snakeoil.key /etc/ssl/certs/ssl-cert-snakeoil.pem
: >/etc/machine-id
"""
_SOURCE = Path(__file__).resolve().parent / "standin" / "ondemand"
_STAGE = "/opt/ood/nginx_stage"
_FILES = {
    "README": ("/opt/ood/STAND-IN", 0o644),
    "apache2.service.conf": ("/etc/systemd/system/apache2.service.d/ood.conf", 0o644),
    "apps.lua": (f"{_STAGE}/lib/apps.lua", 0o644),
    "files.lua": (f"{_STAGE}/lib/files.lua", 0o644),
    "generator.py": ("/opt/ood/ood-portal-generator/sbin/update_ood_portal", 0o755),
    "nginx_stage.py": (f"{_STAGE}/lib/nginx_stage.py", 0o644),
    "nginx_stage.sh": (f"{_STAGE}/sbin/nginx_stage", 0o755),
    "page.lua": (f"{_STAGE}/lib/page.lua", 0o644),
    "profile": ("/etc/ood/profile", 0o644),
    "proxy.lua": ("/opt/ood/mod_ood_proxy/lib/proxy.lua", 0o644),
    "sudoers": ("/etc/sudoers.d/ood", 0o440),
    "tmpfiles.conf": ("/usr/lib/tmpfiles.d/ood.conf", 0o644),
}
_DIRECTORIES = (
    "/etc/ood/config",
    "/etc/ood/site",
    "/var/lib/extrausers",
    "/var/www/ood/apps/sys",
    "/var/www/ood/public",
)


def files() -> tuple[Put, ...]:
    """What lies in the image beside Debian's packages."""
    return (
        *(Put(path, None, 0o755) for path in _DIRECTORIES),
        Put("/opt/ood/VERSION", f"{VERSION}\n".encode(), 0o644),
        *(
            Put(target, (_SOURCE / name).read_bytes(), mode)
            for name, (target, mode) in _FILES.items()
        ),
    )


def inputs() -> dict[str, Any]:
    """What decides the image, for its recipe."""
    found = {
        put.path: [put.mode, hashlib.sha256(put.content or b"").hexdigest()] for put in files()
    }
    return {"packages": PACKAGES, "script": SCRIPT, "files": found}
