"""Answers to srmLs in all the ways that SOAP servers write them."""

from __future__ import annotations

from dataclasses import dataclass
from xml.sax.saxutils import escape

_NAMESPACES = (
    'xmlns:xsd="http://www.w3.org/2001/XMLSchema" '
    'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
)


@dataclass(frozen=True)
class Form:
    """How an answer is written."""

    #: Which parts are references: all that can be, or none.
    references: bool = True
    #: Equal enumerations share one ``multiRef``, as in Axis.
    shared: bool = True
    #: A prefix for elements inside the answer, "" for none.
    prefix: str = ""
    #: Blanks between elements.
    gap: str = ""
    declared: bool = True
    header: bool = False
    comment: bool = False
    quote: str = '"'


class Writer:
    """Writes values: text, a dict of fields, or a list of (name, value)."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.queue: list[tuple[int, object]] = []
        self.shared: dict[str, int] = {}
        self.number = 0

    def answer(self, operation: str, value: object) -> bytes:
        form = self.form
        inner = self._element(f"{operation}Response", value)
        refs = []
        while self.queue:
            number, target = self.queue.pop(0)
            content = self._content(target)
            refs.append(
                f"<multiRef id={form.quote}id{number}{form.quote} "
                f'soapenc:root="0" xmlns:soapenc="x">{content}</multiRef>'
            )
        return (
            ('<?xml version="1.0" encoding="UTF-8"?>' if form.declared else "")
            + f'<soapenv:Envelope xmlns:soapenv="e" xmlns:p="p" {_NAMESPACES}>'
            + ("<soapenv:Header/>" if form.header else "")
            + ("<!-- <statusCode>SRM_FAILURE</statusCode> -->" if form.comment else "")
            + f'<soapenv:Body>{form.gap}<ns1:{operation}Response xmlns:ns1="srm">{inner}'
            + f"</ns1:{operation}Response>{form.gap.join(refs)}</soapenv:Body></soapenv:Envelope>"
        ).encode()

    def _element(self, name: str, value: object) -> str:
        form = self.form
        tag = f"{form.prefix}{name}"
        if form.references and name not in ("path", "explanation"):
            return f"<{tag} href={form.quote}#id{self._reference(value)}{form.quote}/>"
        return f"<{tag}>{self._content(value)}</{tag}>"

    def _reference(self, value: object) -> int:
        if self.form.shared and isinstance(value, str) and value in self.shared:
            return self.shared[value]
        self.number += 1
        if isinstance(value, str):
            self.shared[value] = self.number
        self.queue.append((self.number, value))
        return self.number

    def _content(self, value: object) -> str:
        if isinstance(value, str):
            return escape(value)
        assert isinstance(value, list)
        return self.form.gap.join(self._element(name, one) for name, one in value)


def status(code: str, said: str = "") -> list[tuple[str, object]]:
    return [("statusCode", code), *([("explanation", said)] if said else [])]


def listing(
    entries: list[tuple[str, int, str]],
    code: str = "SRM_SUCCESS",
    said: str = "",
    entry_code: str = "",
    entry_said: str = "",
) -> list[tuple[str, object]]:
    """The value of an answer about one directory ``/d`` with entries (path, size, type)."""
    found = [
        (
            "pathDetailArray",
            [
                ("path", path),
                ("status", status("SRM_SUCCESS")),
                ("size", str(size)),
                ("type", type_),
            ],
        )
        for path, size, type_ in entries
    ]
    top: list[tuple[str, object]] = [
        ("path", "/d"),
        ("status", status(entry_code or code, entry_said)),
        ("type", "DIRECTORY"),
        ("arrayOfSubPaths", found),
    ]
    return [("returnStatus", status(code, said)), ("details", [("pathDetailArray", top)])]


def ls(
    entries: list[tuple[str, int, str]] | None = None, form: Form | None = None, **status: str
) -> bytes:
    return Writer(form or Form()).answer("srmLs", listing(entries or [], **status))


PING = Writer(Form()).answer("srmPing", [("versionInfo", "v2.2")])
