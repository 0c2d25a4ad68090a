# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""The container settings in a ``server-config.wsdd`` of the Globus Toolkit.

The file also says what services the container has and under which addresses, which is the
site's. So only the values of the parameters that are asked for are replaced in its text; all
else, comments and spaces too, stays as it is. Imports nothing of the collection:
``cloudlet-deploy validate`` loads this file by its path.
"""

from __future__ import annotations

import re
from xml.parsers import expat
from xml.sax.saxutils import escape

#: What the role sets.
SETTINGS = (
    "containerThreads",
    "containerThreadsMax",
    "containerThreadsHighWaterMark",
    "containerTimeout",
)

_VALUE = re.compile(rb"(\svalue\s*=\s*)(\"[^\"]*\"|'[^']*')")
#: An XML tag, in which quoted values may hold a ">".
_TAG = re.compile(rb"<(?:[^<>\"']|\"[^\"]*\"|'[^']*')*>")


class _Reading:
    """Where the ``globalConfiguration`` and its parameters begin in the bytes ``data``."""

    def __init__(self, data):
        self.configurations = []  # (offset, name of the element)
        self.parameters = []  # (offset, its name, its value)
        self._path = []
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = lambda name: self._path.pop()
        self._parser.Parse(data, True)

    def _start(self, name, attributes):
        self._path.append(name.rpartition(":")[2])
        if self._path == ["deployment", "globalConfiguration"]:
            self.configurations.append((self._parser.CurrentByteIndex, name))
        elif self._path == ["deployment", "globalConfiguration", "parameter"]:
            found = attributes.get("name"), attributes.get("value")
            self.parameters.append((self._parser.CurrentByteIndex, *found))


def problem_of(text):
    """Why no container settings can be put into ``text``, as what follows its name; or None."""
    try:
        reading = _Reading(_bytes(text))
    except expat.ExpatError as error:
        return "is not well-formed XML: %s" % error
    if len(reading.configurations) != 1:
        return "has %s element globalConfiguration below deployment" % (
            len(reading.configurations) or "no"
        )
    for _offset, name, value in reading.parameters:
        if name in SETTINGS and value is None:
            return "has no value at the parameter %s of its globalConfiguration" % name
    return None


def with_settings(text, settings):
    """``text`` with ``settings``, values by names of ``SETTINGS``, in its globalConfiguration.

    A parameter that is there gets its new value, wherever it stands; one that is missing is
    added at the beginning. Raises ValueError where ``problem_of`` tells a problem.
    """
    problem = problem_of(text)
    if problem:
        raise ValueError(problem)
    data = _bytes(text)
    reading = _Reading(data)
    wanted = {str(name): str(value) for name, value in settings.items()}
    # From the end, so that what was found before an edit stays where it was.
    for offset, name, _value in reversed(reading.parameters):
        if name in wanted:
            tag = _TAG.match(data, offset)
            changed = _VALUE.sub(lambda m, new=wanted[name]: m[1] + _quoted(new), tag[0], count=1)
            data = data[:offset] + changed + data[tag.end() :]
    there = {name for _offset, name, _value in reading.parameters}
    missing = {name: value for name, value in wanted.items() if name not in there}
    data = _added(data, reading, missing)
    return data.decode("utf-8", "surrogateescape")


def _added(data, reading, parameters):
    """``data`` with more parameters at the beginning, where all is where it was ``reading``."""
    if not parameters:
        return data
    offset, element = reading.configurations[0]
    indent = _indent(data, offset)
    there = [_indent(data, found) for found, _name, _value in reading.parameters[:1]]
    inner = there[0] if there else indent + b"    "
    tag = _TAG.match(data, offset)
    prefix = element.rpartition(":")[0]
    name = (prefix + ":parameter" if prefix else "parameter").encode()
    lines = b"".join(
        b"\n%s<%s name=%s value=%s/>" % (inner, name, _quoted(key), _quoted(value))
        for key, value in parameters.items()
    )
    if not tag[0].endswith(b"/>"):
        return data[: tag.end()] + lines + data[tag.end() :]
    opened = tag[0][:-2].rstrip() + b">"
    closed = b"\n%s</%s>" % (indent, element.encode())
    return data[:offset] + opened + lines + closed + data[tag.end() :]


def _indent(data, offset):
    """The spaces before ``offset`` in its line; none if something else is there too."""
    before = data[data.rfind(b"\n", 0, offset) + 1 : offset]
    return b"" if before.strip() else before


def _quoted(text):
    return b'"%s"' % escape(text, {'"': "&quot;"}).encode()


def _bytes(text):
    """The bytes of the file, which its XML declaration says the encoding of."""
    return str(text).encode("utf-8", "surrogateescape")
