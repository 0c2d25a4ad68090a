"""What roles write for software that no test can run: BeStMan in Globus, GUMS, GridFTP's HDFS."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.contract.rendering import Evaluate, Render

# Templates and filters on either ansible-core are in ``test_roles`` and ``test_config_set``.
pytestmark = pytest.mark.one_core

WSDD = """\
<?xml version="1.0" encoding="UTF-8"?>
<!-- The site's own: {{ not a template }} -->
<deployment xmlns="http://xml.apache.org/axis/wsdd/">
  <globalConfiguration>
    <parameter name="containerThreads" value="8"/>
    <parameter name="wsrfLocation" value="/"/>
  </globalConfiguration>
  <service name="srm/v2/server" provider="java:RPC">
    <parameter name="className" value="gov.lbl.srm.impl.TSRMServiceGateway"/>
  </service>
</deployment>
"""
GUMS = {
    "bestman_mapping": "gums",
    "bestman_gums_url": "https://gums.example.org:8443/gums/services/GUMSXACMLAuthorizationServicePort",
}
OWN_GUMS_PAIR = {
    "bestman_gums_certificate": "/etc/grid-security/http/httpcert.pem",
    "bestman_gums_key": "/etc/grid-security/http/httpkey.pem",
}
HDFS = {"gridftp_dsi": "hdfs", "gridftp_hdfs_namenode": "nn.example.org"}


@pytest.fixture
def globus(tmp_path: Path) -> dict[str, Any]:
    """The settings of a site with the Globus flavour."""
    path = tmp_path / "server-config.wsdd"
    path.write_text(WSDD)
    return {"bestman_flavour": "globus", "bestman_globus_config": str(path)}


def _pairs(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    pairs = [(key, value) for key, _, value in (line.partition("=") for line in lines)]
    assert len(dict(pairs)) == len(pairs), "each name once"
    return dict(pairs)


def _content(path: str) -> str:
    return f"(__bestman_files | selectattr('path', 'eq', '{path}') | first).content"


# ---- BeStMan in a Globus container ---------------------------------------------------------


def test_the_container_gets_its_threads_and_keeps_its_services(
    evaluate: Evaluate, globus: dict[str, Any]
) -> None:
    path = "/opt/globus/etc/globus_wsrf_core/server-config.wsdd"
    settings = {
        **globus,
        "bestman_container_threads": 2520,
        "bestman_container_threads_min": 252,
        "bestman_container_timeout": 60,
    }
    (found,) = evaluate(
        {"paths": "__bestman_files | map(attribute='path')", "wsdd": _content(path)}, [settings]
    )
    assert path in found["paths"]
    assert not [name for name in found["paths"] if name.endswith("jetty.xml")]
    tree = ElementTree.fromstring(found["wsdd"].encode())
    space = "{http://xml.apache.org/axis/wsdd/}"
    configuration, service = tree
    assert configuration.tag == f"{space}globalConfiguration"
    assert {node.attrib["name"]: node.attrib["value"] for node in configuration} == {
        "containerThreads": "252",
        "containerThreadsMax": "2520",
        "containerThreadsHighWaterMark": "504",
        "containerTimeout": "60000",
        "wsrfLocation": "/",
    }
    assert service.attrib["name"] == "srm/v2/server"
    kept = [line for line in WSDD.splitlines() if "containerThreads" not in line]
    assert [line for line in found["wsdd"].splitlines() if "containerT" not in line] == kept


def test_jetty_writes_nothing_of_globus(evaluate: Evaluate) -> None:
    (found,) = evaluate({"paths": "__bestman_files | map(attribute='path')"}, [{}])
    assert [name for name in found["paths"] if name.endswith("jetty.xml")]
    assert not [name for name in found["paths"] if "wsdd" in name or "globus" in name]


def test_the_container_is_started_with_its_memory(render: Render, globus: dict[str, Any]) -> None:
    settings = {**globus, "bestman_heap_mb": 5256, "bestman_java_options": ["-Da=b"]}
    environment = _pairs(
        render(
            "bestman",
            "environment.j2",
            **settings,
            bestman_globus_environment={"SRM_CONFIG": "/etc/bestman2/conf/bestman2.rc"},
        )
    )
    options = environment["GLOBUS_OPTIONS"].split()
    assert options[:3] == ["-Xms256M", "-Xmx5256M", "-Xss256k"]
    assert {"-Da=b", "-DGLOBUS_HOSTNAME=localhost"} <= set(options)
    assert environment["GLOBUS_LOCATION"] == "/opt/globus"
    assert environment["JAVA_HOME"] == "/usr/lib/jvm/java-17-openjdk-amd64"
    assert environment["SRM_CONFIG"] == "/etc/bestman2/conf/bestman2.rc"
    assert not [name for name in environment if name.startswith("BESTMAN_MAX")]


def test_the_unit_starts_what_the_site_says(render: Render, globus: dict[str, Any]) -> None:
    unit = render("bestman", "bestman2.service.j2", **globus)
    assert "\nExecStart=/opt/globus/bin/globus-start-container -p 8443\n" in unit
    assert "\nWorkingDirectory=/opt/globus\n" in unit
    assert "gov.lbl.srm.server.Server" not in unit
    assert "TasksMax=1536\n" in unit
    settings = {**globus, "bestman_globus_command": ["/opt/bestman/sbin/run", "-q"]}
    unit = render("bestman", "bestman2.service.j2", **settings)
    assert unit.count("ExecStart=") == 1 and "\nExecStart=/opt/bestman/sbin/run -q\n" in unit


def test_settings_of_the_container_that_cannot_work(
    evaluate: Evaluate, globus: dict[str, Any]
) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, ""),
        ({"bestman_globus_config": ""}, "bestman_globus_config is empty: copy /opt/globus/etc/"),
        ({"bestman_globus_config": "/nowhere"}, "/nowhere cannot be read"),
        ({"bestman_globus_command": []}, "bestman_globus_command: begin with"),
        ({"bestman_globus_command": ["start"]}, "bestman_globus_command: begin with"),
        ({"bestman_globus_command": ["/a", "b c"]}, "bestman_globus_command: a part holds"),
        ({"bestman_globus_command": ["/a", "$B"]}, "bestman_globus_command: a part holds"),
        (
            {"bestman_container_threads": 9, "bestman_container_threads_idle_max": 9},
            "bestman_container_threads is 9: make it no less",
        ),
        # A container has no acceptors, which Jetty takes from its threads.
        ({"bestman_container_threads": 20, "bestman_acceptors": 20}, ""),
        ({"bestman_container_threads_idle_max": 257}, "idle_max is 257: make it no greater than"),
        ({"bestman_heap_start_mb": 1025}, "bestman_heap_start_mb is 1025: make it no greater"),
        ({**GUMS, "bestman_gums_protocol": "SAML"}, ""),
        ({**GUMS, "bestman_gums_url": "gums"}, "bestman_gums_url is gums: it must begin with"),
    ]
    _only_these_faults(evaluate, "bestman", [({**globus, **case}, said) for case, said in cases])


def test_settings_of_jetty_that_cannot_work(evaluate: Evaluate) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"bestman_container_threads": 20, "bestman_acceptors": 20}, "leaves no thread"),
        ({**GUMS, "bestman_gums_protocol": "SAML"}, "bestman_gums_protocol is SAML"),
        ({"bestman_mapping": "gums"}, "set bestman_gums_url"),
        # What belongs to the other flavour is nobody's concern.
        ({"bestman_globus_command": [], "bestman_heap_start_mb": 9000}, ""),
    ]
    _only_these_faults(evaluate, "bestman", cases)


def _only_these_faults(
    evaluate: Evaluate, role: str, cases: list[tuple[dict[str, Any], str]]
) -> None:
    found = evaluate({"faults": f"__{role}_faults"}, [settings for settings, _ in cases])
    for (settings, said), one in zip(cases, found, strict=True):
        assert len(one["faults"]) == bool(said), (settings, one)
        assert said in "".join(one["faults"]), settings


def test_the_probe_looks_for_the_container(
    evaluate: Evaluate, globus: dict[str, Any], tmp_path: Path
) -> None:
    location = tmp_path / "globus"
    settings = {
        **globus,
        "bestman_globus_location": str(location),
        "bestman_paths_allowed": [str(tmp_path / "data")],
        "bestman_globus_command": [str(tmp_path / "start"), "-p", "8443"],
    }
    (found,) = evaluate({"argv": "__bestman_probes[0].argv"}, [settings])

    def said() -> str:
        done = subprocess.run(found["argv"], capture_output=True, text=True, check=False)
        assert (done.returncode == 0) is (done.stdout == ""), done
        return done.stdout

    assert "no Globus Toolkit is installed there" in said()
    config = location / "etc/globus_wsrf_core/server-config.wsdd"
    config.parent.mkdir(parents=True)
    config.write_text(WSDD)
    assert "start is no program" in said()
    (tmp_path / "start").write_text("#!/bin/sh\n")
    (tmp_path / "start").chmod(0o755)
    assert "data is not a directory" in said()
    (tmp_path / "data").mkdir()
    assert said() == ""


# ---- GUMS ----------------------------------------------------------------------------------


@pytest.mark.parametrize("flavour", ["jetty", "globus"])
def test_gums_is_asked_with_the_doors_own_pair(
    render: Render, globus: dict[str, Any], flavour: str
) -> None:
    settings = {**(globus if flavour == "globus" else {}), **GUMS}
    rc = _pairs(render("bestman", "bestman2.rc.j2", **settings))
    assert rc["GUMSserviceURL"] == GUMS["bestman_gums_url"]
    assert rc["GUMSProtocol"] == "XACML"
    assert rc["GUMSCurrHostDN"] == "/O=Grid/OU=lab/CN=localhost"
    assert "GridMapFileName" not in rc
    environment = _pairs(render("bestman", "environment.j2", **settings))
    assert environment["BESTMAN_GUMS_ENABLED"] == "yes"
    assert environment["BESTMAN_GUMSCERTPATH"] == rc["CertFileName"]
    assert environment["BESTMAN_GUMSKEYPATH"] == rc["KeyFileName"]
    name = "GLOBUS_OPTIONS" if flavour == "globus" else "BESTMAN_JAVA_SRM_OTHER_OPTS"
    assert {
        "-Daxis.socketSecureFactory=org.glite.security.trustmanager.axis.AXISSocketFactory",
        "-DsslCAFiles=/etc/grid-security/certificates/*.0",
        f"-DsslCertfile={rc['CertFileName']}",
        f"-DsslKey={rc['KeyFileName']}",
    } <= set(environment[name].split())


@pytest.mark.parametrize("dn", ["", "/DC=org/CN=srm.example.org"])
def test_gums_is_asked_with_a_pair_of_its_own(render: Render, dn: str) -> None:
    settings = {**GUMS, **OWN_GUMS_PAIR, "bestman_gums_dn": dn}
    rc = _pairs(render("bestman", "bestman2.rc.j2", **settings))
    # Without a name the server reads it from the certificate, which only the host has.
    assert rc.get("GUMSCurrHostDN", "") == dn
    options = _pairs(render("bestman", "environment.j2", **settings))["BESTMAN_JAVA_SRM_OTHER_OPTS"]
    assert "-DsslCertfile=/etc/grid-security/http/httpcert.pem" in options.split()
    assert "-DsslKey=/etc/grid-security/http/httpkey.pem" in options.split()


def test_a_gridmap_leaves_gums_alone(render: Render) -> None:
    environment = render("bestman", "environment.j2")
    assert "BESTMAN_GUMS_ENABLED=no\n" in environment
    assert "GUMSCERT" not in environment and "ssl" not in environment


# ---- GridFTP's HDFS module -----------------------------------------------------------------


def _config(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    pairs = [line.split(" ", 1) for line in lines]
    assert len({name for name, _ in pairs}) == len(pairs), "each name once"
    return dict(pairs)


def test_the_hdfs_module_gets_its_settings(render: Render) -> None:
    config = _config(
        render(
            "gridftp",
            "gridftp.conf.j2",
            **HDFS,
            gridftp_hdfs_mount_point="/mnt/hadoop",
            gridftp_hdfs_checksums=["CKSUM", "ADLER32"],
            gridftp_hdfs_transfer_limit=30,
        )
    )
    hdfs = {name: value for name, value in config.items() if name.startswith("$")}
    assert hdfs == {
        "$GLOBUS_THREAD_MODEL": "pthread",
        "$GRIDFTP_HDFS_NAMENODE": "nn.example.org",
        "$GRIDFTP_HDFS_PORT": "8020",
        "$GRIDFTP_HDFS_REPLICAS": "2",
        "$GRIDFTP_HDFS_MOUNT_POINT": "/mnt/hadoop",
        "$GRIDFTP_HDFS_CHECKSUMS": "CKSUM,ADLER32",
        "$GRIDFTP_BUFFER_COUNT": "200",
        "$GRIDFTP_FILE_BUFFER_COUNT": "1500",
        "$GRIDFTP_LOAD_LIMIT": "20",
        "$GRIDFTP_TRANSFER_LIMIT": "30",
    }
    assert config["load_dsi_module"] == "hdfs"
    assert config["blocksize"] == "1048576"


def test_the_module_follows_what_the_site_says_of_hdfs(render: Render) -> None:
    config = _config(
        render(
            "gridftp",
            "gridftp.conf.j2",
            gridftp_dsi="hdfs",
            hdfs_namenode_host="nn.example.org",
            hdfs_namenode_port=9000,
            hdfs_replication=3,
        )
    )
    assert config["$GRIDFTP_HDFS_NAMENODE"] == "nn.example.org"
    assert config["$GRIDFTP_HDFS_PORT"] == "9000"
    assert config["$GRIDFTP_HDFS_REPLICAS"] == "3"


def test_without_the_module_nothing_of_it_is_written(render: Render) -> None:
    config = _config(render("gridftp", "gridftp.conf.j2"))
    assert config["blocksize"] == "262144"
    assert "load_dsi_module" not in config
    assert not [name for name in config if name.startswith("$")]
    unit = render("gridftp", "unit.conf.j2")
    assert "Environment" not in unit
    assert unit.count("\nExecStart=") == 2, "the package's, emptied, and ours"
    assert "\nExecStart=/usr/sbin/globus-gridftp-server -S -c /etc/gridftp.d/cloudlet.conf" in unit


def test_the_unit_brings_java_to_the_module(render: Render) -> None:
    unit = render(
        "gridftp",
        "unit.conf.j2",
        **HDFS,
        gridftp_hdfs_heap_mb=512,
        gridftp_hdfs_java_options=["-Da=b"],
    )
    assert 'Environment="LIBHDFS_OPTS=-Xmx512m -Da=b"\n' in unit
    assert (
        "Environment=LD_LIBRARY_PATH=/usr/lib/hadoop/lib/native"
        ":/usr/lib/jvm/default-java/lib/server:/usr/lib/jvm/default-java/lib\n"
    ) in unit
    assert (
        "\nExecStart=/bin/sh -c 'CLASSPATH=$$(/usr/bin/hadoop classpath --glob)"
        " && export CLASSPATH && exec /usr/sbin/globus-gridftp-server -S -c"
    ) in unit
    assert unit.count("ExecStart=\n") == 1


def test_the_package_of_the_module(evaluate: Evaluate) -> None:
    cases: list[tuple[str, dict[str, Any], list[str]]] = [
        ("RedHat", {}, ["gridftp-hdfs"]),
        ("RedHat", {"gridftp_hdfs_install": "prepared"}, []),
        ("Debian", {"gridftp_hdfs_package": "our-dsi"}, ["our-dsi"]),
        ("Debian", {"gridftp_hdfs_install": "prepared"}, []),
    ]
    found = evaluate(
        {"names": "__gridftp_packages", "faults": "__gridftp_faults"},
        [{**HDFS, **settings, "os_family": family} for family, settings, _ in cases],
    )
    for (family, settings, packages), one in zip(cases, found, strict=True):
        names = ["globus-gridftp-server-progs", "logrotate", *packages]
        assert one == {"names": names, "faults": []}, (family, settings)


def test_settings_of_the_module_that_cannot_work(evaluate: Evaluate) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({}, ""),
        (HDFS, "no package with the module is known for this distribution"),
        ({"gridftp_dsi": "hdfs", "gridftp_hdfs_install": "prepared"}, "hdfs_namenode is empty"),
        (
            {**HDFS, "gridftp_hdfs_install": "prepared", "gridftp_hdfs_file_buffers": 100},
            "gridftp_hdfs_file_buffers is 100: make it no less than",
        ),
        ({"gridftp_hdfs_java_options": ["-Da=b c"]}, "holds a space"),
        ({"gridftp_hdfs_file_buffers": 100}, ""),
    ]
    _only_these_faults(evaluate, "gridftp", cases)
