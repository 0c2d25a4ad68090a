# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""One real request to an SRM door (httpg) or to a GridFTP server, with the standard library.

httpg is TLS with a client certificate, then the one byte ``0`` ("no delegation"), then
ordinary HTTP/1.1; the request is SOAP 1.1, rpc/encoded, as SRM v2.2 defines it. Runs on
Python 3.9 and later.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import time
from typing import NamedTuple
from xml.etree import ElementTree
from xml.sax.saxutils import escape

ENDPOINT = "/srm/v2/server"
#: Longest answer that is read: a door that sends more to a stat is not a healthy door.
_LONGEST = 4 * 1024 * 1024
_NAMESPACE = "http://srm.lbl.gov/StorageResourceManager"

_ENVELOPE = """<?xml version="1.0" encoding="UTF-8"?>
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"
 xmlns:xsd="http://www.w3.org/2001/XMLSchema"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:srm="%s">
<soapenv:Body soapenv:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/">%s</soapenv:Body>
</soapenv:Envelope>
"""
_LS = """<srm:srmLs><srmLsRequest xsi:type="srm:srmLsRequest">
<arrayOfSURLs xsi:type="srm:ArrayOfAnyURI"><urlArray xsi:type="xsd:anyURI">%s</urlArray>
</arrayOfSURLs>
<fullDetailedList xsi:type="xsd:boolean">%s</fullDetailedList>
<numOfLevels xsi:type="xsd:int">%d</numOfLevels>
</srmLsRequest></srm:srmLs>"""
_PING = """<srm:srmPing><srmPingRequest xsi:type="srm:srmPingRequest"/></srm:srmPing>"""


def ls_call(surl, levels=0, detailed=False):
    """The srmLs of one SURL, for ``request``; of what is in it too with ``levels`` 1."""
    return _LS % (escape(surl), "true" if detailed else "false", levels)


def ping_call():
    """The srmPing, for ``request``."""
    return _PING


def request(host, port, call, close=False):
    """The bytes of one HTTP request with a SOAP call; ``close`` asks to hang up afterwards."""
    data = (_ENVELOPE % (_NAMESPACE, call)).encode("utf-8")
    head = (
        "POST %s HTTP/1.1\r\nHost: %s:%d\r\nContent-Type: text/xml; charset=utf-8\r\n"
        'SOAPAction: ""\r\n%sContent-Length: %d\r\n\r\n'
        % (ENDPOINT, host, port, "Connection: close\r\n" if close else "", len(data))
    )
    return head.encode("ascii") + data


class ProbeError(Exception):
    """The service is not healthy: what was seen, what to do, and whether time may heal it."""

    def __init__(self, seen, next_step, starting=False, refused=False):
        super().__init__(seen)
        self.seen = seen
        self.next_step = next_step
        self.starting = starting
        self.refused = refused


class Target(NamedTuple):
    """Whom to ask, and as whom. ``address`` is where to connect; ``host`` is its grid name."""

    host: str
    port: int
    address: str
    certificate: str = ""
    key: str = ""
    ca_dir: str = ""

    def __str__(self):
        where = "%s:%d" % (self.host, self.port)
        return where if self.address == self.host else "%s (at %s)" % (where, self.address)


class Answer(NamedTuple):
    """What a healthy service said. ``version`` is "" if it does not tell."""

    status: str
    explanation: str
    version: str


def surl_of(target, path):
    """The site URL of ``path`` at this door (anything with a ``host`` and a ``port``)."""
    return "srm://%s:%d%s?SFN=%s" % (target.host, target.port, ENDPOINT, path)


def until_healthy(ask, timeout, sleep=time.sleep, clock=time.monotonic):
    """``ask(seconds)`` until it answers; a service that may still be starting is asked again.

    Returns (answer, milliseconds of the call that worked, number of calls). Raises the last
    ProbeError after ``timeout`` seconds, and any that waiting does not heal at once.
    """
    deadline = clock() + timeout
    calls = 0
    while True:
        calls += 1
        begun = clock()
        try:
            answer = ask(max(1.0, deadline - begun))
            return answer, int((clock() - begun) * 1000), calls
        except ProbeError as exc:
            if not exc.starting or clock() + 1 > deadline:
                raise
        sleep(1)


def ask_srm(target, path, seconds):
    """One srmLs of ``path`` itself, not of what is in it. Returns an Answer; raises ProbeError."""
    surl = surl_of(target, path)
    context = _tls_context(target)
    with _connect(target, seconds) as plain, _handshake(context, plain, target) as channel:
        try:
            channel.sendall(b"0")
            answer = _answer_of(_call(channel, target, ls_call(surl)), surl)
            return answer._replace(version=_version(channel, target))
        except (OSError, http.client.HTTPException) as exc:
            raise _broken(exc, target) from exc


def _broken(exc, target):
    """The connection worked and then did not."""
    if isinstance(exc, ssl.SSLError) and "ALERT" in str(exc).upper():
        return ProbeError(
            "it refused the certificate %s: %s" % (target.certificate, _words(exc)),
            "Is its CA, with a signing policy, in the door's certificate directory?",
        )
    return ProbeError(
        "it accepted the connection and gave no answer: %s" % _words(exc),
        "See the door's log; all of its threads may be busy.",
        starting=True,
    )


def _words(exc):
    return str(exc) or type(exc).__name__


def _connect(target, seconds):
    try:
        return socket.create_connection((target.address, target.port), timeout=min(seconds, 30))
    except socket.gaierror as exc:
        raise ProbeError(
            "the name %s has no address: %s" % (target.address, exc.strerror),
            "Put it into the DNS or the hosts file.",
        ) from exc
    except OSError as exc:
        raise ProbeError(
            "nothing answers there: %s" % _words(exc),
            "Is the service running, and does the firewall let this host in?",
            starting=True,
            refused=True,
        ) from exc


def _tls_context(target):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Grid host certificates may carry their name in the subject only: checked by hand below.
    context.check_hostname = False
    for path in (target.certificate, target.key, target.ca_dir):
        if not os.path.exists(path):
            raise ProbeError(
                "%s, to ask with, is not on this host" % path,
                "Name the certificate, key and CA directory that this host has.",
            )
    try:
        context.load_verify_locations(capath=target.ca_dir)
        # An encrypted key fails here instead of asking a terminal.
        context.load_cert_chain(target.certificate, target.key, password=lambda: b"")
    except (OSError, ValueError) as exc:
        raise ProbeError(
            "the certificate %s with the key %s, or the CA directory %s, cannot be used: %s"
            % (target.certificate, target.key, target.ca_dir, _words(exc)),
            "Check that they exist, belong together and are readable.",
        ) from exc
    return context


def _handshake(context, plain, target):
    try:
        channel = context.wrap_socket(plain, server_hostname=target.host)
    except ssl.SSLCertVerificationError as exc:
        raise ProbeError(
            "its certificate is not trusted: %s" % exc.verify_message,
            "Is its CA in %s under its hash name?" % target.ca_dir,
        ) from exc
    except OSError as exc:
        raise ProbeError(
            "TLS failed: %s" % _words(exc),
            "Is this the httpg port, and is the CA of %s trusted there?" % target.certificate,
            starting=not isinstance(exc, ssl.SSLError) or isinstance(exc, ssl.SSLEOFError),
        ) from exc
    names = names_of(channel.getpeercert())
    if target.host.lower() not in names:
        channel.close()
        raise ProbeError(
            "its certificate is for %s" % (", ".join(sorted(names)) or "nobody"),
            "Give the door a certificate for %s, or use the name that it has." % target.host,
        )
    return channel


def names_of(certificate):
    """The host names, in lower case, of a certificate in the form of ``getpeercert()``."""
    names = {value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"}
    for part in certificate.get("subject", ()):
        # "host/NAME" and "bestman/NAME" are the old way to say which service it is.
        names.update(value.rpartition("/")[2] for key, value in part if key == "commonName")
    return {name.lower() for name in names}


def _call(channel, target, body):
    """POST one SOAP call; returns the parsed envelope."""
    channel.sendall(request(target.host, target.port, body))
    response = http.client.HTTPResponse(channel, method="POST")
    response.begin()
    text = response.read(_LONGEST)
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as exc:
        raise ProbeError(
            "it answered HTTP %d %s, which is not SOAP" % (response.status, response.reason),
            "Is another web server listening on this port?",
            starting=response.status == 503,
        ) from exc


def _local(element):
    return element.tag.rpartition("}")[2]


class Envelope:
    """A SOAP reply whose parts may be ``href``s to ``multiRef`` elements beside them."""

    def __init__(self, root):
        self._by_id = {e.get("id"): e for e in root.iter() if e.get("id")}
        body = next((e for e in root if _local(e) == "Body"), None)
        calls = [e for e in (body if body is not None else ()) if _local(e) != "multiRef"]
        self.reply = self._resolved(calls[0]) if calls else None

    def _resolved(self, element):
        for _ in range(8):
            target = self._by_id.get((element.get("href") or "").lstrip("#"))
            if target is None:
                break
            element = target
        return element

    def child(self, element, *path):
        """The element that ``path`` (local names; ``*`` is the first of any) leads to, or None."""
        for name in path:
            if element is None:
                return None
            found = next((e for e in element if name in ("*", _local(e))), None)
            element = None if found is None else self._resolved(found)
        return element

    def children(self, element, *path):
        """All children of the element that ``path`` leads to."""
        found = self.child(element, *path)
        return [self._resolved(e) for e in found] if found is not None else []

    def text(self, element, *path):
        """The text there, "" if there is none."""
        found = self.child(element, *path)
        return (found.text or "").strip() if found is not None else ""


def _answer_of(root, surl):
    envelope = Envelope(root)
    fault = envelope.text(envelope.reply, "faultstring")
    if fault:
        raise ProbeError("it answered with a SOAP fault: %s" % fault, "See the door's log.")
    returned = envelope.child(envelope.reply, "*")
    status = envelope.text(returned, "returnStatus", "statusCode")
    explanation = envelope.text(returned, "returnStatus", "explanation")
    entry = envelope.child(returned, "details", "pathDetailArray", "status")
    entry_status = envelope.text(entry, "statusCode")
    if status == "SRM_SUCCESS":
        return Answer(status, explanation, "")
    # SRM_FAILURE of the whole says nothing: the entry has the reason.
    reason = entry_status if status in ("SRM_FAILURE", "SRM_PARTIAL_SUCCESS") else ""
    said = envelope.text(entry, "explanation") if reason else explanation
    code = reason or status or "no status"
    raise ProbeError(
        "srmLs of %s answered %s%s" % (surl, code, ": " + (said or explanation)),
        _NEXT_STEPS.get(code, "See the door's log."),
        starting=code in ("SRM_INTERNAL_ERROR", "SRM_SERVER_BUSY"),
    )


_NEXT_STEPS = {
    "SRM_AUTHORIZATION_FAILURE": "Put the DN of the certificate into the gridmap with an account "
    "that may read the path, and the path into those that the door allows.",
    "SRM_AUTHENTICATION_FAILURE": "Is the CA of the certificate trusted by the door?",
    "SRM_INVALID_PATH": "Is the storage mounted, and does the path exist and lie in the paths "
    "that the door allows?",
}


def _version(channel, target):
    """What srmPing says about the software, on the same connection; "" if it does not."""
    try:
        envelope = Envelope(_call(channel, target, ping_call()))
    except (ProbeError, OSError, http.client.HTTPException):
        return ""
    returned = envelope.child(envelope.reply, "*")
    words = [envelope.text(returned, "versionInfo")]
    for extra in envelope.children(returned, "otherInfo"):
        if envelope.text(extra, "key") in ("backend_type", "backend_version"):
            words.append(envelope.text(extra, "value"))
    return " ".join(word for word in words if word)


def ask_gridftp(target, seconds):
    """Banner and offer of GSI authentication. Returns an Answer; raises ProbeError."""
    with _connect(target, seconds) as channel, channel.makefile("rb") as stream:
        try:
            banner = _reply(stream)
            if not banner.startswith("220"):
                raise ProbeError(
                    "its banner was %r" % banner,
                    "Too many sessions: raise connections_max, or look for hanging ones."
                    if banner.startswith("421")
                    else "Is this the GridFTP port? See the server's log.",
                    starting=banner.startswith("421"),
                )
            channel.sendall(b"AUTH GSSAPI\r\n")
            offer = _reply(stream)
        except OSError as exc:
            raise ProbeError(
                "it accepted the connection and gave no answer: %s" % _words(exc),
                "See the server's log.",
                starting=True,
            ) from exc
    if not offer.startswith("334"):
        raise ProbeError(
            "it answered AUTH GSSAPI with %r" % offer,
            "Is its host certificate readable for it? See the server's log.",
        )
    return Answer("334", offer[4:], banner[4:])


def _reply(stream):
    """One reply of the control channel: its last line, "" if it hung up."""
    line = stream.readline(4096)
    last = line[:3] + b" "
    while line and line[:4] not in (last, last.strip() + b"\r"):
        line = stream.readline(4096)
    return line.decode("utf-8", "replace").strip()
