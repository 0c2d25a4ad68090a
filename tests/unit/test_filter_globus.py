"""The Globus container's settings in a server-config.wsdd that is the site's own."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.cloudlet.deploy.plugins.filter.globus import (
    container_faults,
    container_settings,
)

SETTINGS = {"containerThreads": "250", "containerThreadsMax": 2520, "containerTimeout": 180000}
WSDD = """\
<?xml version="1.0" encoding="UTF-8"?>
<!-- <parameter name="containerThreadsMax" value="1"/> is no setting here -->
<deployment name="defaultServerConfig"
    xmlns="http://xml.apache.org/axis/wsdd/"
    xmlns:java="http://xml.apache.org/axis/wsdd/providers/java">
  <globalConfiguration>
    <parameter name="wsrfLocation"   value="/"/>
    <parameter value='8' name='containerThreads'></parameter>
    <parameter name="publishHostName" value="a &gt; b"/>
    <requestFlow>
      <handler type="URLMapper"><parameter name="containerThreads" value="inner"/></handler>
    </requestFlow>
  </globalConfiguration>
\t<service name="srm/v2/server" provider="java:RPC">
    <parameter name="containerThreadsMax" value="of the service"/>
  </service>
</deployment>
"""


def _parameters(text: str) -> dict[str, str]:
    space = "{http://xml.apache.org/axis/wsdd/}"
    (configuration,) = ElementTree.fromstring(text.encode()).iter(f"{space}globalConfiguration")
    return {
        node.attrib["name"]: node.attrib["value"]
        for node in configuration.findall(f"{space}parameter")
    }


def test_the_settings_are_set_and_nothing_else_is_touched() -> None:
    changed = container_settings(WSDD, SETTINGS)
    assert changed == WSDD.replace("value='8'", 'value="250"').replace(
        "<globalConfiguration>\n",
        "<globalConfiguration>\n"
        '    <parameter name="containerThreadsMax" value="2520"/>\n'
        '    <parameter name="containerTimeout" value="180000"/>\n',
    )
    assert _parameters(changed) == {
        "containerThreads": "250",
        "containerThreadsMax": "2520",
        "containerTimeout": "180000",
        "wsrfLocation": "/",
        "publishHostName": "a > b",
    }


def test_a_second_time_changes_nothing() -> None:
    once = container_settings(WSDD, SETTINGS)
    assert container_settings(once, SETTINGS) == once
    assert container_settings(WSDD, {}) == WSDD


@pytest.mark.parametrize(
    "element",
    [
        "<globalConfiguration/>",
        '<globalConfiguration name="a > b" />',
        "<globalConfiguration></globalConfiguration>",
    ],
)
def test_an_empty_configuration_is_filled(element: str) -> None:
    text = f'<deployment xmlns="http://xml.apache.org/axis/wsdd/">\n {element}\n</deployment>'
    assert _parameters(container_settings(text, {"containerThreads": 2})) == {
        "containerThreads": "2"
    }


def test_a_prefix_is_followed() -> None:
    text = (
        '<w:deployment xmlns:w="http://xml.apache.org/axis/wsdd/">'
        "<w:globalConfiguration/></w:deployment>"
    )
    assert _parameters(container_settings(text, {"containerThreads": 2})) == {
        "containerThreads": "2"
    }


def test_every_one_of_a_repeated_parameter_is_set() -> None:
    one = '<parameter name="containerTimeout" value="1"/>'
    text = WSDD.replace("<globalConfiguration>", f"<globalConfiguration>{one}{one}")
    changed = container_settings(text, {"containerTimeout": 180000})
    assert changed == text.replace('value="1"/>', 'value="180000"/>').replace(
        'containerThreadsMax" value="180000"', 'containerThreadsMax" value="1"'
    )


def test_bytes_of_another_encoding_stay() -> None:
    latin = WSDD.replace("UTF-8", "ISO-8859-1").replace("is no setting", "ist für später")
    text = latin.encode("latin-1").decode("utf-8", "surrogateescape")
    changed = container_settings(text, {"containerThreads": 9}).encode("utf-8", "surrogateescape")
    assert changed == latin.replace("value='8'", 'value="9"').encode("latin-1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cannot be read. Copy"),
        ("<deployment>", "is not well-formed XML"),
        ("<deployment/>", "has no element globalConfiguration below deployment"),
        ("<other><globalConfiguration/></other>", "has no element globalConfiguration"),
        (
            "<deployment><globalConfiguration/><globalConfiguration/></deployment>",
            "has 2 element",
        ),
    ],
)
def test_a_file_that_is_none_is_refused(text: str, said: str) -> None:
    (fault,) = container_faults(text, "/site/server-config.wsdd")
    assert fault.startswith("bestman_globus_config: /site/server-config.wsdd ")
    assert said in fault
    if text:
        with pytest.raises(AnsibleFilterError, match=r"The server-config\.wsdd"):
            container_settings(text, SETTINGS)


def test_a_good_file_has_no_fault() -> None:
    assert container_faults(WSDD, "x") == []


def test_a_parameter_without_a_value_is_refused() -> None:
    (fault,) = container_faults(WSDD.replace("value='8' ", ""), "x")
    assert "has no value at the parameter containerThreads of" in fault
    assert container_faults(WSDD.replace('value="/"', ""), "x") == [], "it is none of ours"
