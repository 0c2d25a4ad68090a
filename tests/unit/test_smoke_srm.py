"""What the scaling test makes of SRM answers, in the tree and in the cheap scan."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloudlet_deploy.smoke import soap
from cloudlet_deploy.smoke.answer import LONGEST, Entry, OperationError
from cloudlet_deploy.smoke.http import HttpAnswer, read_answer
from cloudlet_deploy.smoke.types import Failure
from tests.unit.smoke_answers import PING, Form, Writer, listing, ls

ENTRIES = [
    ("/d/plain", 7, "FILE"),
    ("/d/with blanks ", 0, "DIRECTORY"),
    ("/d/ünïcode 北京", 2**40, "FILE"),
    ("/d/a&b <c> \"d\" 'e' ]]>", 1, "FILE"),
    ('/d/ id="id1" href="#id2"', 1, "LINK"),
    ("/d/<pathDetailArray", 3, "FILE"),
]
AXIS = Form()
#: Forms that the scan has to know: those in which SOAP servers answer.
USUAL = [
    AXIS,
    Form(references=False),
    Form(shared=False),
    Form(gap="\n  "),
    Form(declared=False),
    Form(references=False, gap="\n"),
]
#: Forms that only the tree is for.
RARE = [
    Form(header=True),
    Form(comment=True),
    Form(quote="'"),
    Form(prefix="p:"),
    Form(references=False, prefix="p:"),
]


def failure(text: bytes) -> tuple[Failure, str]:
    with pytest.raises(OperationError) as caught:
        soap.number_of_entries(text)
    with pytest.raises(OperationError) as of_tree:
        soap.entries_of(text)
    assert (caught.value.failure, caught.value.detail) == (
        of_tree.value.failure,
        of_tree.value.detail,
    )
    return caught.value.failure, caught.value.detail


@pytest.mark.parametrize("form", USUAL + RARE)
def test_entries_are_read_in_every_form(form: Form) -> None:
    text = ls(ENTRIES, form)
    assert soap.entries_of(text) == [Entry(*one) for one in ENTRIES]
    assert soap.number_of_entries(text) == len(ENTRIES)


@pytest.mark.parametrize("form", USUAL)
def test_the_scan_is_sure_of_usual_forms(form: Form) -> None:
    plain = [(f"/d/file_{i}", i, "FILE") for i in range(20)]
    assert soap.counted(ls(plain, form)) == 20
    assert soap.counted(ls([], form)) == 0


@pytest.mark.parametrize("form", RARE)
def test_the_scan_leaves_rare_forms_to_the_tree(form: Form) -> None:
    text = ls(ENTRIES[:1], form)
    assert not soap.is_plain(text) or soap.counted(text) is None


def test_a_name_that_looks_like_an_id_does_not_mislead_the_scan() -> None:
    fake = ' id="id2"><statusCode>SRM_SUCCESS</statusCode>'
    text = ls([(f"/d/{fake}", 1, "FILE")], Form(shared=False), code="SRM_FAILURE")
    assert failure(text)[0] is Failure.STATUS


@pytest.mark.parametrize(
    ("given_status", "expected"),
    [
        (
            {"code": "SRM_AUTHORIZATION_FAILURE", "said": "no mapping"},
            (Failure.DENIED, "SRM_AUTHORIZATION_FAILURE: no mapping"),
        ),
        (
            {
                "code": "SRM_FAILURE",
                "said": "see entry",
                "entry_code": "SRM_INVALID_PATH",
                "entry_said": "/d is not there",
            },
            (Failure.STATUS, "SRM_INVALID_PATH: /d is not there"),
        ),
        (
            {"code": "SRM_FAILURE", "entry_code": "SRM_AUTHORIZATION_FAILURE"},
            (Failure.STATUS, "SRM_AUTHORIZATION_FAILURE"),
        ),
        ({"code": "SRM_FAILURE", "said": "whole"}, (Failure.STATUS, "SRM_FAILURE: whole")),
        (
            {"code": "SRM_PARTIAL_SUCCESS", "entry_code": "SRM_SUCCESS", "said": "half"},
            (Failure.STATUS, "SRM_PARTIAL_SUCCESS: half"),
        ),
        ({"code": "SRM_FILE_BUSY", "said": "busy"}, (Failure.STATUS, "SRM_FILE_BUSY: busy")),
        ({"code": "SRM_REQUEST_QUEUED"}, (Failure.STATUS, "SRM_REQUEST_QUEUED")),
        ({"code": ""}, (Failure.GARBAGE, "the answer to srmLs has no status")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", [AXIS, Form(references=False), Form(quote="'")])
def test_status_is_read_from_the_body(
    form: Form, given_status: dict[str, str], expected: tuple[Failure, str]
) -> None:
    if expected[1].startswith("SRM_FAILURE: whole"):
        given_status = {**given_status, "entry_code": "SRM_FAILURE"}
        expected = (Failure.STATUS, "SRM_FAILURE: whole")
    assert failure(ls([], form, **given_status)) == expected


def test_fault_is_told_in_its_words() -> None:
    fault = b'<e:Envelope xmlns:e="x"><e:Body><e:Fault><faultstring>No such service</faultstring></e:Fault></e:Body></e:Envelope>'  # noqa: E501
    assert failure(fault) == (Failure.STATUS, "SOAP fault: No such service")
    with pytest.raises(OperationError) as caught:
        soap.require_ping(fault)
    assert caught.value.failure is Failure.STATUS


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"hello",
        b"\x00\xff\xfe",
        b"<html>",
        b"<html/>",
        ls(ENTRIES)[:-1],
        ls(ENTRIES)[:400],
        ls(ENTRIES).replace(b"</path>", b"</pith>", 1),
        ls(ENTRIES) + b"x",
        b'<!DOCTYPE a [<!ENTITY b "b">]><a/>',
        b"<e><Body/></e>",
        b'<?xml version="1.0" encoding="utf-99"?><a/>',
        ls(ENTRIES).replace(b">7<", b">seven<"),
    ],
)
def test_what_is_no_answer_is_garbage(text: bytes) -> None:
    with pytest.raises(OperationError) as caught:
        soap.entries_of(text)
    assert caught.value.failure is Failure.GARBAGE


def test_a_document_type_is_refused_also_in_a_good_answer() -> None:
    good = ls(ENTRIES)
    text = good.replace(b"?>", b'?><!DOCTYPE a [<!ENTITY b "SRM_SUCCESS">]>', 1)
    assert soap.number_of_entries(good) == len(ENTRIES)
    assert failure(text)[0] is Failure.GARBAGE


@pytest.mark.parametrize("hidden", [b"<!-- %s -->", b"<explanation><![CDATA[%s]]></explanation>"])
def test_what_only_looks_like_a_tag_is_not_counted(hidden: bytes) -> None:
    end = b"</multiRef></soapenv:Body>"
    text = ls(ENTRIES).replace(end, hidden % b'<pathDetailArray href="#id1"/>' + end)
    assert b"<pathDetailArray href" in text and len(text) > len(ls(ENTRIES))
    assert soap.number_of_entries(text) == len(soap.entries_of(text)) == len(ENTRIES)


def test_references_in_a_circle_come_to_an_end() -> None:
    text = (
        b'<e:Envelope xmlns:e="x"><e:Body><r><s href="#a"/></r><multiRef id="a" href="#b"/>'
        b'<multiRef id="b" href="#a"/></e:Body></e:Envelope>'
    )
    with pytest.raises(OperationError):
        soap.number_of_entries(text)


def test_ping_wants_a_version() -> None:
    soap.require_ping(PING)
    with pytest.raises(OperationError) as caught:
        soap.require_ping(Writer(AXIS).answer("srmPing", [("otherInfo", "x")]))
    assert caught.value.failure is Failure.GARBAGE


_CHARACTERS = st.characters(
    codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\ufffe\uffff"
)
_XML_TEXT = st.text(_CHARACTERS, min_size=1)
_FORMS = st.builds(
    Form,
    references=st.booleans(),
    shared=st.booleans(),
    prefix=st.sampled_from(["", "p:"]),
    gap=st.sampled_from(["", "\n", " \t"]),
    declared=st.booleans(),
    header=st.booleans(),
    comment=st.booleans(),
    quote=st.sampled_from(['"', "'"]),
)
_LISTED = st.lists(
    st.tuples(
        _XML_TEXT.map("/d/{}".format),
        st.integers(0, 2**63),
        st.sampled_from(["FILE", "DIRECTORY"]),
    ),
    max_size=6,
)
_CODES = st.sampled_from(["SRM_SUCCESS", "SRM_SUCCESS", "SRM_FAILURE", "SRM_INTERNAL_ERROR", ""])


def _seen(read: object, text: bytes) -> object:
    try:
        return read(text)  # type: ignore[operator]
    except OperationError as exc:
        return exc.failure, exc.detail


@given(_LISTED, _FORMS, _CODES, _XML_TEXT)
def test_scan_and_tree_agree(
    entries: list[tuple[str, int, str]], form: Form, code: str, said: str
) -> None:
    text = Writer(form).answer("srmLs", listing(entries, code, said))
    tree = _seen(lambda body: len(soap.entries_of(body)), text)
    assert _seen(soap.number_of_entries, text) == tree
    sure = soap.counted(text) if soap.is_plain(text) else None
    assert sure is None or sure == tree


@given(_LISTED, _FORMS, st.data())
def test_a_damaged_answer_is_never_better_than_its_tree(
    entries: list[tuple[str, int, str]], form: Form, data: st.DataObject
) -> None:
    text = bytearray(ls(entries, form))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 4))] = data.draw(
            st.one_of(st.binary(max_size=4), st.sampled_from([b"<", b'"', b"id1", b"/>", b"&"]))
        )
    tree = _seen(lambda body: len(soap.entries_of(body)), bytes(text))
    cheap = _seen(soap.number_of_entries, bytes(text))
    # The scan does not read sizes and paths: there alone the tree may see more.
    assert (
        cheap == tree
        or (isinstance(cheap, int) and isinstance(tree, tuple))
        or isinstance(tree, int)
    )
    if isinstance(cheap, int) and isinstance(tree, tuple):
        assert tree[0] is Failure.GARBAGE and "status" not in tree[1]


@given(st.binary(max_size=300))
def test_any_bytes_have_a_class(text: bytes) -> None:
    for read in (soap.number_of_entries, soap.entries_of, soap.require_ping):
        _seen(read, text)


def pieces(*given_pieces: bytes) -> HttpAnswer:
    left = list(given_pieces)
    return read_answer(lambda: left.pop(0) if left else b"")


def cut(text: bytes, sizes: list[int]) -> list[bytes]:
    found = []
    while text:
        size = sizes[len(found) % len(sizes)]
        found.append(text[:size])
        text = text[size:]
    return found


_SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=5)


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=6), _SIZES)
def test_http_is_read_whatever_the_pieces(chunks: list[bytes], sizes: list[int]) -> None:
    body = b"".join(chunks)
    whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    assert bytes(pieces(*cut(whole, sizes)).body) == body
    packed = b"".join(b"%X;ext=1\r\n%s\r\n" % (len(one), one) for one in [*chunks, b""])
    head = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n"
    answer = pieces(*cut(head + packed, sizes))
    assert bytes(answer.body) == body and not answer.closes
    to_the_end = pieces(*cut(b"HTTP/1.0 200 OK\r\n\r\n" + body, sizes))
    assert bytes(to_the_end.body) == body and to_the_end.closes


@given(st.binary(max_size=200), _SIZES)
def test_any_bytes_are_http_or_have_a_class(text: bytes, sizes: list[int]) -> None:
    for whole in (text, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + text):
        try:
            pieces(*cut(whole, sizes))
        except OperationError as exc:
            assert exc.failure in (Failure.GARBAGE, Failure.CUT_OFF, Failure.TOO_LONG)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", Failure.CUT_OFF),
        (b"HTTP/1.1 200 OK\r\nContent-Le", Failure.CUT_OFF),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcd", Failure.CUT_OFF),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", Failure.CUT_OFF),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n", Failure.CUT_OFF),
        (b"SSH-2.0-x\r\n", Failure.GARBAGE),
        (b"HTTP/1.1 OK\r\n\r\n", Failure.GARBAGE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", Failure.GARBAGE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", Failure.GARBAGE),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Failure.GARBAGE),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", Failure.GARBAGE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n", Failure.TOO_LONG),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFF\r\n", Failure.TOO_LONG),
    ],
)
def test_broken_http_has_its_class(text: bytes, expected: Failure) -> None:
    with pytest.raises(OperationError) as caught:
        pieces(text)
    assert caught.value.failure is expected


def test_an_endless_answer_is_given_up() -> None:
    asked = 0

    def endless() -> bytes:
        nonlocal asked
        asked += 1
        return b"HTTP/1.1 200 OK\r\n\r\n" if asked == 1 else b"x" * 2**20

    with pytest.raises(OperationError) as caught:
        read_answer(endless)
    assert caught.value.failure is Failure.TOO_LONG
    assert asked <= LONGEST // 2**20 + 3


def test_bytes_after_the_answer_end_the_connection() -> None:
    assert pieces(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabHTTP").closes
    assert not pieces(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nab").closes
    assert pieces(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nab").closes
