"""SRM answers: SOAP 1.1, rpc/encoded, any part of which may be a reference to a ``multiRef``.

A listing of 1000 names has 1.7 MB. A load client wants to know whether the answer is whole, what
its status is and how many entries it has: ``is_plain`` lets expat see that it is well-formed, and
``counted`` follows the references to the status in the bytes and counts tags. It does so only in
answers of the form that SOAP servers send; for all others ``Answer`` builds the tree.
"""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

from cloudlet_deploy.site import plugins
from cloudlet_deploy.smoke.answer import Entry, OperationError, shown
from cloudlet_deploy.smoke.types import Failure

_SUCCESS = b"SRM_SUCCESS"
_NAME = rb"[A-Za-z_][\w.-]*"
#: A start tag that is written as servers write them; 1: local name, 2: attributes, 3: "/" if empty.
_TAG = re.compile(
    rb"\s*<(?:" + _NAME + rb":)?(" + _NAME + rb')((?:\s+[A-Za-z_][\w.:-]*="[^"<]*")*)\s*(/?)>'
)
_HREF = re.compile(rb'\shref="#([\w.-]+)"')
_TEXT = re.compile(rb"\s*([A-Z_]+)\s*</")
_DECLARATION = re.compile(rb'\s*(?:<\?xml version="1\.0"(?: encoding="(?i:utf-8)")?\s*\?>)?')
#: First children, each in the one before; the third and fourth have any name but one.
_TO_THE_CODE = [
    re.compile(name)
    for name in (
        rb"Envelope", rb"Body", rb"(?!multiRef$|Fault$).*", rb".*", rb"returnStatus", rb"statusCode"
    )
]  # fmt: skip
#: The answer to srmLs does not nest references deeper.
_HOPS = 8
#: Whole answers of these codes are about who asks.
_WHO = ("SRM_AUTHORIZATION_FAILURE", "SRM_AUTHENTICATION_FAILURE")


def is_plain(text: bytes | bytearray) -> bool:
    """Whether all that looks like a tag is one, as there are no comments and no CDATA sections.

    Raises OperationError (GARBAGE) unless it is well-formed XML without a document type.
    """
    seen: list[object] = []
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.CommentHandler = parser.StartCdataSectionHandler = lambda *_: seen.append(None)
    parser.ProcessingInstructionHandler = lambda *_: seen.append(None)
    try:
        parser.Parse(text, True)
    except (expat.ExpatError, ValueError, LookupError, UnicodeError) as exc:
        raise OperationError(
            Failure.GARBAGE, f"the answer is not XML: {exc}: {_glimpse(text)}"
        ) from exc
    return not seen


def _refuse_doctype(*_: object) -> None:
    raise ValueError("it has a document type, which SOAP forbids")


def _glimpse(text: bytes | bytearray) -> str:
    return repr(bytes(text[:60]).decode("utf-8", "replace"))


def counted(text: bytes | bytearray) -> int | None:
    """Entries of a successful srmLs answer; None if this cannot tell for sure.

    It never says a number where ``Answer`` would see a failure. For text that ``is_plain``, and
    relies on ids that are not given twice, which would be no XML-encoded SOAP.
    """
    begin = _DECLARATION.match(text)
    at = begin.end() if begin else 0
    for path in _TO_THE_CODE:
        tag = _TAG.match(text, at)
        if tag is None or not path.fullmatch(tag[1]):
            return None
        tag = _target(text, tag)
        if tag is None or tag[3]:
            return None
        at = tag.end()
    code = _TEXT.match(text, at)
    if code is None or code[1] != _SUCCESS:
        return None
    details = text.count(b"<pathDetailArray")
    # The first is the directory itself; if there is none, they may be written otherwise.
    return details - 1 if details else None


def _target(text: bytes | bytearray, tag: re.Match[bytes]) -> re.Match[bytes] | None:
    """The start tag that a tag leads to by references; itself if it has none."""
    for _ in range(_HOPS):
        if b"href" not in tag[2]:
            return tag
        reference = _HREF.search(tag[2])
        if reference is None:
            return None
        spelled = b' id="' + reference[1] + b'"'
        where = text.find(spelled)
        if where < 0:
            return None
        found = _TAG.match(text, text.rfind(b"<", 0, where))
        if found is None or found.end(2) < where + len(spelled):
            return None
        tag = found
    return None


class Answer:
    """The tree of an answer. Raises OperationError if it is no SOAP, or a fault."""

    def __init__(self, text: bytes | bytearray) -> None:
        is_plain(text)
        probe: Any = plugins.load("module_utils/srm_probe")
        try:
            self._envelope = probe.Envelope(ElementTree.fromstring(bytes(text)))
        except (ElementTree.ParseError, ValueError, LookupError, RecursionError) as exc:
            raise OperationError(Failure.GARBAGE, f"the answer is not XML: {exc}") from exc
        self._reply = self._envelope.reply
        if self._reply is None:
            raise OperationError(Failure.GARBAGE, f"the answer is not SOAP: {_glimpse(text)}")
        fault = self._text("faultstring")
        if fault or self._reply.tag.rpartition("}")[2] == "Fault":
            raise OperationError(Failure.STATUS, f"SOAP fault: {fault or 'without a reason'}")
        self._returned = self._envelope.child(self._reply, "*")

    def _text(self, *path: str) -> str:
        return str(self._envelope.text(self._reply, *path))

    def require_version(self) -> None:
        """That an srmPing was answered: it has a version and no status."""
        if not self._text("*", "versionInfo"):
            raise OperationError(Failure.GARBAGE, "the answer to srmPing has no version")

    def require_success(self) -> None:
        """That the srmLs succeeded as a whole. Raises OperationError (STATUS, DENIED, GARBAGE)."""
        code = self._text("*", "returnStatus", "statusCode")
        said = self._text("*", "returnStatus", "explanation")
        if code == "SRM_SUCCESS":
            return
        if not code:
            raise OperationError(Failure.GARBAGE, "the answer to srmLs has no status")
        # SRM_FAILURE of the whole says nothing: the entry has the reason.
        if code in ("SRM_FAILURE", "SRM_PARTIAL_SUCCESS"):
            entry = ("*", "details", "pathDetailArray", "status")
            reason = self._text(*entry, "statusCode")
            if reason and reason != "SRM_SUCCESS":
                code, said = reason, self._text(*entry, "explanation") or said
            failure = Failure.STATUS
        else:
            failure = Failure.DENIED if code in _WHO else Failure.STATUS
        raise OperationError(failure, f"{code}: {said}" if said else code)

    def entries(self) -> list[Entry]:
        """What is in the one directory that was asked for, in the server's order."""
        top = self._envelope.child(self._returned, "details", "pathDetailArray")
        return [self._entry(one) for one in self._envelope.children(top, "arrayOfSubPaths")]

    def _entry(self, element: ElementTree.Element) -> Entry:
        text = self._envelope.text
        # Not stripped as text() does: a name may end in a blank.
        path = self._envelope.child(element, "path")
        if path is None or not path.text:
            raise OperationError(Failure.GARBAGE, "an entry of the answer has no path")
        size = text(element, "size") or "0"
        if not (size.isascii() and size.isdigit()):
            raise OperationError(Failure.GARBAGE, f"the size of an entry is {shown(size)!r}")
        return Entry(path.text, int(size), text(element, "type"))


def entries_of(text: bytes | bytearray) -> list[Entry]:
    """The entries that a successful srmLs tells. Raises OperationError."""
    answer = Answer(text)
    answer.require_success()
    return answer.entries()


def number_of_entries(text: bytes | bytearray) -> int:
    """``len(entries_of(text))``, as cheaply as is certain. Raises OperationError."""
    if is_plain(text):
        number = counted(text)
        if number is not None:
            return number
    answer = Answer(text)
    answer.require_success()
    return len(answer.entries())


def require_ping(text: bytes | bytearray) -> None:
    """That it answers an srmPing. Raises OperationError."""
    Answer(text).require_version()
