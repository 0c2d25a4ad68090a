"""The stand-in of Open OnDemand as a pod's image: its contract, by real Apache, sudo and nginx.

Authentication is Basic, since that needs no provider; all behind it is the same.
"""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any

import pytest

from cloudlet_deploy.errors import RunFailedError

from .portal_pod import (
    ALICE,
    BOB,
    GID,
    HOSTILE,
    INSTRUMENT,
    NOBODY,
    PORTAL,
    ROOT,
    STAGE,
    UID,
    Pod,
    headers,
    running,
)

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not (shutil.which("podman") and shutil.which("mmdebstrap")),
    reason="needs root, Podman and mmdebstrap",
)
GENERATOR = "/opt/ood/ood-portal-generator/sbin/update_ood_portal"
SERVERS = "/etc/ood/config/nginx_stage.yml"
VHOST = "/etc/apache2/sites-available/ood-portal.conf"
DASHBOARD = "/pun/sys/dashboard/"
GROUPS = ["AuthGroupFile /etc/ood/site/groups", "AuthzSendForbiddenOnFailure On"]
MEMBERS = [*GROUPS, "Require group instrument"]
GATE = [
    '<If "%{REQUEST_URI} =~ m#^/+(secure-)?r?node(/|$)#i">',
    "Require all denied",
    "</If>",
    r'<If "%{REQUEST_URI} =~ m#^/r?node/127\.0\.0\.1/6080(/|$)#">',
    *MEMBERS,
    "</If>",
]
HARDENED = rf"""Defaults:www-data env_keep += "OOD_*"
www-data ALL=(root) NOPASSWD: {STAGE} ^pun -u [^ ]+ -a [^ ]+$, \
  {STAGE} ^app -u [^ ]+ -r [^ ]+ -i [^ ]+$, {STAGE} ^nginx -u [^ ]+ -s stop$
"""


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    with running(tmp_path_factory.mktemp("portal")) as pod:
        yield pod


def test_all_units_run_and_it_says_what_it_is(pod: Pod) -> None:
    # Apache failed at first: there were no settings yet.
    assert pod.sh("systemctl is-system-running").strip() == "running"
    assert pod.sh("journalctl --quiet --unit apache2 | grep -c ood_portal.yml") != "0\n"
    assert pod.sh("cat /opt/ood/VERSION") == "4.2.3\n"
    assert "no Open OnDemand" in pod.sh("cat /opt/ood/STAND-IN")
    assert "stand-in" in pod.ask(DASHBOARD).body


@pytest.mark.parametrize(("claim", "told"), [(ALICE, "alice%40home.test"), *HOSTILE.items()])
def test_the_map_is_asked_with_the_escaped_claim(pod: Pod, claim: str, told: str) -> None:
    pod.sh("rm -f /tmp/claims")
    pod.ask(DASHBOARD, claim)
    assert pod.sh("cat /tmp/claims; stat -c %U /tmp/claims").splitlines() == [told, "www-data"]


def test_the_server_of_a_user_is_the_user(pod: Pod) -> None:
    # The second line of the map's answer names root, and does not count.
    assert pod.ask(DASHBOARD).status == 200
    shown = pod.sh("ps -e -o uid=,gid=,supgid=,args= | grep '[n]ginx:' | grep -v ' bob'")
    processes = [line.split(maxsplit=3) for line in shown.splitlines()]
    master, worker = sorted(processes, key=lambda process: int(process[0]))
    assert master[:2] == ["0", "0"] and "puns/alice.conf" in master[3]
    assert worker[:3] == [str(UID), str(GID), f"{GID},{INSTRUMENT}"]
    path = "/run/ondemand-nginx/alice"
    assert pod.sh(f"stat -c '%a %U' {path}") == "700 www-data\n"
    assert pod.sh(f"test -S {path}/passenger.sock; ls /var/log/ondemand-nginx/alice") == (
        "access.log\nerror.log\n"
    )


def test_a_file_is_its_writers_and_nobody_elses(pod: Pod) -> None:
    where = f"{DASHBOARD}files/fs/home/alice/"
    assert pod.ask(f"{where}a%20b%3F.txt", method="PUT", body="mine").status == 201
    found = (pod.directory / "home/alice/a b?.txt").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (UID, GID, 0o600)
    assert 'href="a%20b%3F.txt">a b?.txt<' in pod.ask(where).body
    assert pod.ask(f"{where}a%20b%3F.txt").body == "mine"
    assert pod.ask(where, BOB).status == 403
    assert pod.ask(f"{where}b", BOB, method="PUT", body="x").status in (403, 500)
    assert pod.ask(f"{DASHBOARD}files/fs/etc/x", method="PUT", body="x").status in (403, 500)
    assert pod.failing("ls /etc/x /home/alice/b").count("No such file") == 2


def test_links_are_shown_to_those_who_may_read_them(pod: Pod) -> None:
    link = "name: Scope <1>\nurl: /rnode/127.0.0.1/6080/\ndescription: a microscope\n"
    apps = "/var/www/ood/apps/sys"
    pod.sh(f"install -d -m 0750 -g {INSTRUMENT} {apps}/scope; install -d -m 0700 {apps}/other")
    pod.put(f"{apps}/scope/manifest.yml", link)
    pod.put(f"{apps}/other/manifest.yml", link)
    shown = '<a class="app" href="/rnode/127.0.0.1/6080/" target="_blank">Scope &lt;1&gt;</a>'
    assert pod.ask(DASHBOARD).body.count(shown) == 1
    assert 'class="app"' not in pod.ask(DASHBOARD, BOB).body
    assert "noVNC" in pod.ask(f"{DASHBOARD}noVNC-1.3.0/vnc.html").body


@pytest.mark.parametrize("path", [DASHBOARD, "/node/127.0.0.1/6080/", "/rnode/127.0.0.1/6080/"])
def test_who_is_not_mapped_gets_404(pod: Pod, path: str) -> None:
    answer = pod.ask(path, NOBODY)
    assert (answer.status, answer.body[:9]) == (404, "Error -- ")
    assert pod.ask(path, None).status == 401


def test_a_refused_account_is_tried_five_times(pod: Pod) -> None:
    pod.sh("rm -f /tmp/tries")
    began = time.monotonic()
    answer = pod.ask(DASHBOARD, ROOT)
    assert (answer.status, answer.body) == (404, "Error -- user uid is less than 1000\n")
    assert time.monotonic() - began > 4
    tries = pod.sh("cat /tmp/tries").splitlines()
    assert len(tries) == 5 and tries[0].startswith("pun -u root -a http://portal.lab.test/nginx/")


def test_an_unknown_app_leads_to_init_and_to_an_error(pod: Pod) -> None:
    answer = pod.ask("/pun/sys/none?a=b")
    assert answer.status == 302
    where = answer.headers["Location"].removeprefix(f"http://{PORTAL}")
    assert where == "/nginx/init?redir=%2fpun%2fsys%2fnone%3fa%3db"
    told = pod.ask(where)
    assert (told.status, told.body) == (404, "Error -- app /sys/none does not exist\n")


def test_node_keeps_the_path_and_rnode_does_not(pod: Pod) -> None:
    whole = pod.ask("/node/127.0.0.1/6080/a%20b?c=%2F").body.splitlines()
    assert whole[0] == "GET /node/127.0.0.1/6080/a%20b?c=%2F HTTP/1.1"
    # A mapped account is not looked for: root passes.
    part = pod.ask("/rnode/127.0.0.1/6081/a%20b?c=%2F", ROOT).body.splitlines()
    assert part[0] == "GET /a%20b?c=%2F HTTP/1.1"
    assert not [line for line in part if line.startswith("Authorization")]
    assert pod.ask("/rnode/127.0.0.2/6080/").status == 404


def test_a_websocket_carries_bytes_both_ways(pod: Pod) -> None:
    lines = ["GET /rnode/127.0.0.1/6080/websockify HTTP/1.1", "Upgrade: websocket"]
    lines += ["Connection: Upgrade", *(": ".join(pair) for pair in headers(ALICE).items())]
    with socket.create_connection((pod.address, 80), timeout=20) as client:
        client.sendall("\r\n".join([*lines, "", ""]).encode())
        stream = client.makefile("rb")
        assert stream.readline().startswith(b"HTTP/1.1 101 ")
        while stream.readline().strip():
            pass
        assert stream.readline() == b"RFB 003.008\n"
        client.sendall(b"abcde")
        assert stream.read(5) == b"edcba"


def test_the_gate_holds_in_if_and_not_in_a_location(pod: Pod) -> None:
    route = "/rnode/127.0.0.1/6080/"
    try:
        pod.configure(
            custom_vhost_directives=['<LocationMatch "^/rnode">', *MEMBERS, "</LocationMatch>"]
        )
        assert pod.ask(route, BOB).status == 200
        pod.configure(custom_vhost_directives=GATE)
        for path in (route, "/%72node/127.0.0.1/6080/", "//rnode/127.0.0.1/6080/", f"{route}%2e/"):
            answers = [pod.ask(path, user).status for user in (None, BOB, ALICE)]
            assert answers == [401, 403, 200], path
        for path in ("/rnode/127.0.0.1/6081/", "/RNODE/127.0.0.1/6080/", "/rnode/localhost/6080/"):
            assert pod.ask(path).status == 403, path
        assert pod.ask("/rnode/127.0.0.1%2f6080/").status == 404
    finally:
        pod.configure()


def test_sudo_is_wide_as_packaged_and_works_when_narrow(pod: Pod) -> None:
    pod.put("/tmp/other.yml", "min_uid: 200000\n")
    sudo = f"runuser -u www-data -- env NGINX_STAGE_CONFIG_FILE=/tmp/other.yml sudo -n {STAGE}"
    start = f"{sudo} pun -u alice -a /x"
    assert "less than 200000" in pod.failing(start)
    pod.put("/etc/sudoers.d/ood", HARDENED, "440")
    assert pod.sh(f"{start} 2>&1") == ""
    for refused in ("nginx_clean", "pun -u alice", "pun -u alice -a x y", "nginx -u alice -s quit"):
        assert "password is required" in pod.failing(f"{sudo} {refused}"), refused
    assert pod.sh(f"{sudo} nginx -u alice -s stop 2>&1") == ""
    assert pod.ask(DASHBOARD).status == 200


def test_a_stale_socket_is_503_until_it_is_cleaned(pod: Pod) -> None:
    assert pod.ask(DASHBOARD).status == 200
    pod.sh("kill -KILL $(cat /run/ondemand-nginx/alice/passenger.pid); pkill -KILL -u alice")
    assert pod.ask(DASHBOARD).status == 503
    assert pod.sh(f"{STAGE} nginx_clean 2>&1; ls /run/ondemand-nginx/alice") == ""
    assert pod.ask(DASHBOARD).status == 200
    # A server outlives Apache, and an idle one is stopped.
    worker = pod.sh("pgrep -u alice")
    pod.configure()
    assert pod.sh("pgrep -u alice") == worker
    assert pod.sh(f"{STAGE} nginx_clean 2>&1") == ""
    assert pod.failing("pgrep -c -u alice") == "0\n"


def test_the_settings_of_the_servers_hold(pod: Pod) -> None:
    pod.sh(f"{STAGE} nginx_clean --force")
    try:
        pod.put(SERVERS, "{ondemand_title: Lab <1>, min_uid: 1000, pun_custom_env: {A: b c}}\n")
        assert "<h1>Lab &lt;1&gt;</h1>" in pod.ask(DASHBOARD).body
        config = pod.sh("cat /var/lib/ondemand-nginx/config/puns/alice.conf")
        assert '\nenv "A=b c";\n' in config
        for setting, told in (
            ("disabled_shell: /bin/bash", "Error -- user is disabled"),
            ("user_regex: '[0-9]+'", "Error -- invalid user name syntax"),
            ("min_id: 1", f"Error -- {SERVERS}: unknown key min_id"),
        ):
            pod.put(SERVERS, f"{setting}\n")
            assert pod.failing(f"{STAGE} pun -u bob -a /x") == f"{told}\n"
    finally:
        pod.sh(f"rm {SERVERS}; {STAGE} nginx_clean --force")


def test_maintenance_closes_the_portal(pod: Pod) -> None:
    pod.sh("touch /etc/ood/maintenance.enable")
    try:
        assert pod.ask(DASHBOARD).status == 503
    finally:
        pod.sh("rm /etc/ood/maintenance.enable")


def test_tls_is_demanded_where_it_is_set(pod: Pod) -> None:
    pod.sh(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 "
        f"-subj /CN={PORTAL} -keyout /tmp/key -out /tmp/cert 2>&1"
    )
    context = ssl.create_default_context()
    # The name is the portal's, the address is not.
    context.check_hostname = False
    context.load_verify_locations(cadata=pod.sh("cat /tmp/cert"))
    try:
        pod.configure(ssl=["SSLCertificateFile /tmp/cert", "SSLCertificateKeyFile /tmp/key"])
        plain = pod.ask(f"{DASHBOARD}?a=b", None)
        assert plain.status == 301
        assert plain.headers["Location"] == f"https://{PORTAL}{DASHBOARD}?a=b"
        answer = pod.ask(DASHBOARD, tls=context)
        assert answer.status == 200
        assert answer.headers["Strict-Transport-Security"].startswith("max-age=")
    finally:
        pod.configure()


def test_the_generator_tells_what_it_did(pod: Pod) -> None:
    def code(*options: str) -> int:
        return pod.run(GENERATOR, *options, check=False).returncode

    detailed = "--detailed-exitcodes"
    assert code(detailed) == 0
    assert pod.sh(f"stat -c '%a %U %G' {VHOST}") == "640 root www-data\n"
    pod.sh("echo 'node_uri: /other' >>/etc/ood/config/ood_portal.yml")
    assert [code(detailed), code(detailed)] == [3, 0]
    pod.sh(f"echo '# by hand' >>{VHOST}")
    assert [code(detailed), code()] == [4, 0]
    assert pod.sh(f"tail -n 1 {VHOST}") == "# by hand\n"
    assert [code(detailed, "--force"), code(detailed)] == [3, 0]


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"user_map_comd": "x"}, "unknown key user_map_comd, did you mean user_map_cmd?"),
        ({"auth": "x"}, "auth must be a list"),
        ({"auth": None, "oidc_provider_metadata_url": "https://x", "oidc_client_id": "x"},
         "oidc_crypto_passphrase is missing"),
    ],
)  # fmt: skip
def test_apache_does_not_start_with_a_wrong_key(pod: Pod, keys: dict[str, Any], told: str) -> None:
    try:
        with pytest.raises(RunFailedError, match="failed"):
            pod.configure(**keys)
        assert pod.run("systemctl", "is-active", "apache2", check=False).stdout == "failed\n"
        assert told in pod.sh("journalctl --quiet --unit apache2 --lines 20")
    finally:
        pod.configure()


def test_apache_takes_the_settings_of_a_provider(pod: Pod) -> None:
    try:
        pod.configure(
            auth=None,
            oidc_provider_metadata_url="https://127.0.0.1:9/x",
            # Written as they are: who has blanks in one brings quotes.
            oidc_crypto_passphrase='"exec:/bin/echo secret"',
            oidc_client_id="portal",
            oidc_client_secret='"s p"',
            oidc_settings={"OIDCSessionType": "client-cookie", "OIDCPassRefreshToken": "Off"},
        )
        assert 'OIDCCryptoPassphrase "exec:/bin/echo secret"\n' in pod.sh(f"cat {VHOST}")
        # The provider does not answer: an error of its own module, and no way in.
        assert pod.ask(DASHBOARD).status == 500
    finally:
        pod.configure()
