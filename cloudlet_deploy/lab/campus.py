"""The campus around a cloudlet's portal: one image that plays three hosts by their names.

``idp.*``         an OIDC provider, https://NAME: oidc-provider-mock of PyPI (:mod:`.campus_idp`)
``ldap.*``        slapd with the people of dc=campus,dc=test: by ldaps, and for those who bind only
``microscope.*``  TigerVNC on port 5901, open as on an instrument's private network, and a
                  terminal that keeps every key typed in ``/srv/microscope/typed``

A host shows the certificate that the lab's CA made for its name (``/etc/campus``).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from cloudlet_deploy.errors import RunFailedError
from cloudlet_deploy.lab.podman import last_words

#: Where the image keeps all of this, and what a host gets of the lab's certificates.
HOME, CERTIFICATES = "/opt/campus", "/etc/campus"
DIRECTORY_BASE = "dc=campus,dc=test"
PORTAL_BIND_DN = f"cn=portal,ou=services,{DIRECTORY_BASE}"
#: Of the account that the portal looks people up with; no secret.
PORTAL_BIND_PASSWORD = "lab-portal"
#: What the provider knows the portal by; no secret.
CLIENT_ID, CLIENT_SECRET = "portal", "lab-client"
REDIRECT_URIS = (
    "https://portal.lab.test/oidc",
    "https://cryosparc.portal.lab.test/oidc",
)
#: Typed keys land here, as they are typed.
TYPED = "/srv/microscope/typed"
IDENTITY_PROVIDER = "https://idp.campus.test/shibboleth"
#: In the directory at first. Carol has no account on the cloudlet.
PEOPLE = ("alice", "bob", "carol")


def _claims(name: str, provider: str = IDENTITY_PROVIDER) -> dict[str, str]:
    """What CILogon says of a person."""
    address = f"{name}@campus.test"
    return {"eppn": address, "email": address, "idp": provider, "idp_name": provider.split("/")[2]}


#: Claims by ``sub``. Mallory's provider says that she is Alice; nobody has an entry for unknown.
CLAIMS = {
    **{name: _claims(name) for name in PEOPLE},
    "mallory": _claims("alice", "https://evil.example/shibboleth"),
    "unknown": _claims("nobody"),
}
PACKAGES = ("ldap-utils", "slapd", "tigervnc-standalone-server", "xterm")
#: All that the provider needs, pinned, so that a recipe says what an image holds.
REQUIRES = (
    "annotated-types==0.8.0",
    "anyio==4.16.0",
    "authlib==1.9.10",
    "blinker==1.9.0",
    "certifi==2026.10.19.post1",
    "cffi==2.1.1",
    "click==8.5.1",
    "cryptography==50.0.2",
    "flask==3.1.3",
    "h11==0.16.0",
    "htpy==26.5.1",
    "httpcore==1.0.9",
    "httpx==0.28.1",
    "idna==3.20",
    "itsdangerous==2.2.0",
    "jinja2==3.1.6",
    "joserfc==1.8.0",
    "markupsafe==3.0.4",
    "oidc-provider-mock==0.3.4",
    "pycparser==3.12",
    "pydantic==2.14.4",
    "pydantic-core==2.50.5",
    "typing-extensions==4.16.0",
    "typing-inspection==0.4.5",
    "uvicorn==0.54.0",
    "werkzeug==3.1.9",
)
#: The Python of the image, which need not be the one that runs the lab.
_PYTHON = "3.11"

_SLAPD_CONF = f"""\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
# Of eduPerson only what federations key people on; slapd comes without it.
attributetype ( 1.3.6.1.4.1.5923.1.1.1.6 NAME 'eduPersonPrincipalName'
  EQUALITY caseIgnoreMatch SUBSTR caseIgnoreSubstringsMatch
  SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
objectclass ( 1.3.6.1.4.1.5923.1.1.2 NAME 'eduPerson' AUXILIARY MAY eduPersonPrincipalName )
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile /run/slapd/slapd.pid
TLSCertificateFile {CERTIFICATES}/hostcert.pem
TLSCertificateKeyFile /run/campus/hostkey.pem
disallow bind_anon
require authc
# Root of this host, through the socket, is the directory's admin.
authz-regexp gidNumber=0[+]uidNumber=0,cn=peercred,cn=external,cn=auth cn=admin,{DIRECTORY_BASE}
database mdb
suffix {DIRECTORY_BASE}
rootdn cn=admin,{DIRECTORY_BASE}
directory /var/lib/ldap
maxsize 16777216
index objectClass,uid,mail,eduPersonPrincipalName eq
access to attrs=userPassword by anonymous auth by * none
access to dn.subtree=ou=people,{DIRECTORY_BASE} by dn.exact={PORTAL_BIND_DN} read by * none
access to * by * none
"""
_DIRECTORY = f"""\
dn: {DIRECTORY_BASE}
objectClass: organization
objectClass: dcObject
o: Campus

dn: ou=people,{DIRECTORY_BASE}
objectClass: organizationalUnit

dn: ou=services,{DIRECTORY_BASE}
objectClass: organizationalUnit

dn: {PORTAL_BIND_DN}
objectClass: organizationalRole
objectClass: simpleSecurityObject
userPassword: {PORTAL_BIND_PASSWORD}
"""
_PEOPLE_SCRIPT = f"""\
#!/bin/sh -e
# campus-people add|remove|print NAME: a person of the directory, as root on its host.
entry="uid=${{2:?NAME is missing}},ou=people,{DIRECTORY_BASE}"
person() {{
  printf '%s\\n' "dn: $entry" 'objectClass: inetOrgPerson' 'objectClass: eduPerson' \\
    "cn: $1" "sn: $1" "mail: $1@campus.test" "eduPersonPrincipalName: $1@campus.test"
}}
case $1 in
print) person "$2" ;;
add) person "$2" | ldapadd -Q -Y EXTERNAL -H ldapi:/// ;;
remove) ldapdelete -Q -Y EXTERNAL -H ldapi:/// "$entry" ;;
*) sed -n 2p "$0" >&2 && exit 64 ;;
esac
"""


def _unit(what: str, host: str, settings: str) -> str:
    return (
        f"[Unit]\nDescription={what}\nConditionHost={host}.*\n{settings}"
        "Type=exec\nRestart=always\nRestartSec=1\n[Install]\nWantedBy=multi-user.target\n"
    )


def _served(port: int) -> str:
    """So that a host which has booted also answers."""
    trial = f"until : </dev/tcp/127.0.0.1/{port}; do sleep 0.1; done 2>/dev/null"
    return f"ExecStartPost=bash -c '{trial}'\n"


def _with_tls(account: str, port: int) -> str:
    """For a server that reads the host's key, which is root's, under an account of its own."""
    key = f"{CERTIFICATES}/hostkey.pem /run/campus/hostkey.pem"
    return (
        f"User={account}\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n"
        f"ExecStartPre=+install -m 0400 -o {account} {key}\n{_served(port)}"
    )


_KEYBOARD = f"stty -icanon -isig min 1; exec cat >{TYPED}"
UNITS = {
    "campus-idp.service": _unit(
        "OIDC provider of the campus",
        "idp",
        f"[Service]\n{_with_tls('campus', 443)}RuntimeDirectory=campus\nStateDirectory=campus\n"
        f"Environment=PYTHONPATH={HOME}/lib PYTHONWARNINGS=ignore\n"
        f"ExecStart=/usr/bin/python3 {HOME}/campus_idp.py {HOME}/idp.json /var/lib/campus\n",
    ),
    "campus-ldap.service": _unit(
        "Directory of the campus",
        "ldap",
        f"[Service]\n{_with_tls('openldap', 636)}RuntimeDirectory=campus slapd\n"
        f"ExecStart=/usr/sbin/slapd -d 0 -h 'ldaps:/// ldapi:///' -f {HOME}/slapd.conf\n",
    ),
    "campus-microscope.service": _unit(
        "Screen of the microscope",
        "microscope",
        f"[Service]\nUser=operator\n{_served(5901)}"
        "ExecStart=/usr/bin/Xtigervnc :1 -rfbport 5901 -SecurityTypes None -AlwaysShared "
        # To it all people have the portal's address: one's broken connections lock out all.
        "-BlacklistThreshold 1000000 -geometry 800x600 -depth 24\n",
    ),
    "campus-keyboard.service": _unit(
        "What sits at the microscope",
        "microscope",
        "BindsTo=campus-microscope.service\nAfter=campus-microscope.service\n"
        "[Service]\nUser=operator\nEnvironment=DISPLAY=:1\n"
        f"ExecStart=/usr/bin/xterm -geometry 130x45+0+0 -e sh -c '{_KEYBOARD}'\n",
    ),
}
FILES = {
    **UNITS,
    "campus-people": _PEOPLE_SCRIPT,
    "directory.ldif": _DIRECTORY,
    "slapd.conf": _SLAPD_CONF,
    "idp.json": json.dumps(
        {
            "client": {
                "id": CLIENT_ID,
                "secret": CLIENT_SECRET,
                "redirect_uris": REDIRECT_URIS,
            },
            "people": CLAIMS,
        },
        indent=1,
    ),
}
#: Run in a container of ``base`` by sh -e, when HOME is there already.
SCRIPT = f"""
export DEBIAN_FRONTEND=noninteractive
echo 'slapd slapd/no_configuration boolean true' | debconf-set-selections
apt-get install --yes {" ".join(PACKAGES)}
rm -f /var/cache/apt/archives/*.deb
systemctl mask slapd.service
useradd --system --shell /usr/sbin/nologin campus
# Debian has a group of that name already.
useradd --create-home --gid operator --password '*' operator
install -d -o operator {Path(TYPED).parent}
chmod 0755 {HOME}/campus-people
ln -s {HOME}/campus-people /usr/local/sbin/campus-people
add() {{ setpriv --reuid openldap --regid openldap --clear-groups slapadd -f {HOME}/slapd.conf; }}
add <{HOME}/directory.ldif
for name in {" ".join(PEOPLE)}; do campus-people print "$name" | add; done
cp {HOME}/*.service /etc/systemd/system/
systemctl enable {" ".join(UNITS)}
"""


def program() -> Path:
    """The provider's program."""
    return Path(__file__).with_name("campus_idp.py")


def inputs() -> dict[str, Any]:
    """What decides the image, for its recipe."""
    return {
        "script": SCRIPT,
        "requires": REQUIRES,
        "files": FILES,
        "program": program().read_text(),
    }


def make_home(home: Path) -> None:
    """Fill ``home`` with what the image needs in ``HOME``. Raises RunFailedError."""
    home.mkdir()
    for name, text in FILES.items():
        (home / name).write_text(text)
    (home / program().name).write_text(program().read_text())
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
               "--no-deps", "--no-compile", "--only-binary=:all:", f"--python-version={_PYTHON}",
               f"--target={home / 'lib'}", *REQUIRES]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RunFailedError(
            f"pip cannot fetch the OIDC provider: {last_words(done.stdout + done.stderr)}",
            next_step="See that this machine reaches PyPI, then try again.",
        )
