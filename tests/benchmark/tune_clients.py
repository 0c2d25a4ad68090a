"""Clients of the door for scripts/benchmark-tune. Runs on the lab's client host, as a grid user.

    tune_clients.py warm COUNT      COUNT pings, then COUNT/10 listings, 2 at a time
    tune_clients.py idle K [K ...]  hold K idle connections, then see whether gfal-ls is served
    tune_clients.py burst N         N connects at the same moment, a ping on each
    tune_clients.py list N          N listings of 1000 entries at the same moment

Each prints one line of JSON for each K or N. It needs srm_probe.py of the collection beside it and
the directories ``ten`` and ``thousand`` in the storage area, with as many files in them.
"""

from __future__ import annotations

import http.client
import json
import resource
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from ssl import SSLSocket
from typing import Any
from xml.etree import ElementTree

import srm_probe  # copied beside this file

DOOR = "door.lab.test"
AREA = "/srv/storage/lab"
ENTRIES = 1000
#: A client that has no answer by then counts as not served.
PATIENCE = 10.0
LIST_PATIENCE = 30.0
_OPENERS = 48

TARGET = srm_probe.Target(
    DOOR,
    8443,
    DOOR,
    str(Path("~/.globus/usercert.pem").expanduser()),
    str(Path("~/.globus/userkey.pem").expanduser()),
    "/etc/grid-security/certificates",
)
CONTEXT = srm_probe._tls_context(TARGET)
THOUSAND = srm_probe.surl_of(TARGET, f"{AREA}/thousand")
LIST = f"""<srm:srmLs><srmLsRequest xsi:type="srm:srmLsRequest">
<arrayOfSURLs xsi:type="srm:ArrayOfAnyURI"><urlArray xsi:type="xsd:anyURI">{THOUSAND}</urlArray>
</arrayOfSURLs>
<fullDetailedList xsi:type="xsd:boolean">true</fullDetailedList>
<numOfLevels xsi:type="xsd:int">1</numOfLevels>
</srmLsRequest></srm:srmLs>"""
FAILURES = (srm_probe.ProbeError, OSError, http.client.HTTPException)


def connect(seconds: float) -> SSLSocket:
    """A connection that the door has finished the handshake of."""
    return secured(socket.create_connection((DOOR, 8443), timeout=seconds))


def secured(plain: socket.socket) -> SSLSocket:
    """The same after the TCP connection."""
    channel: SSLSocket = srm_probe._handshake(CONTEXT, plain, TARGET)
    channel.sendall(b"0")  # no delegation
    return channel


def post(channel: SSLSocket, call: str) -> bytes:
    """The answer to one SOAP call, unread: parsing would take processor time from the door."""
    body = (srm_probe._ENVELOPE % (srm_probe._NAMESPACE, call)).encode()
    head = (
        f"POST {srm_probe.ENDPOINT} HTTP/1.1\r\nHost: {DOOR}:8443\r\n"
        "Content-Type: text/xml; charset=utf-8\r\n"
        f'SOAPAction: ""\r\nContent-Length: {len(body)}\r\n\r\n'
    )
    channel.sendall(head.encode() + body)
    response = http.client.HTTPResponse(channel, method="POST")
    response.begin()
    answer = response.read()
    if response.status != 200 or not answer:
        raise OSError(f"HTTP {response.status}")
    return answer


def cause_of(exc: Exception) -> str:
    """A few words for a failure, the same for all of its kind."""
    seen = exc.seen if isinstance(exc, srm_probe.ProbeError) else str(exc) or type(exc).__name__
    return str(seen).rpartition(": ")[2][:60]


def report(**values: Any) -> None:
    print(json.dumps(values), flush=True)


def warm(count: int) -> None:
    """Let the Java machine compile what it is going to be measured with."""

    def one(call: str) -> None:
        with connect(LIST_PATIENCE) as channel:
            post(channel, call)

    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, [srm_probe._PING] * count + [LIST] * (count // 10)))
    report(seconds=time.monotonic() - began)


def idle(steps: list[int]) -> None:
    """At each step: open what is missing, then be the one further client."""
    held: list[SSLSocket] = []

    def hold(_number: int) -> SSLSocket | None:
        try:
            channel = connect(PATIENCE)
            # Only an answer shows that a thread of the door has it: a TCP connection stands before.
            post(channel, srm_probe._PING)
        except FAILURES:
            return None
        return channel

    for step in steps:
        with ThreadPoolExecutor(_OPENERS) as pool:
            opened = pool.map(hold, range(step - len(held)))
            held += [channel for channel in opened if channel is not None]
        report(wanted=step, held=len(held), **further_client())


def further_client() -> dict[str, Any]:
    """Whether gfal-ls gets an answer, and after how many seconds."""
    surl = srm_probe.surl_of(TARGET, f"{AREA}/ten")
    began = time.monotonic()
    try:
        done = subprocess.run(
            ["gfal-ls", surl], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return {"served": False, "seconds": PATIENCE, "cause": "no answer"}
    served = done.returncode == 0 and len(done.stdout.split()) == 10
    return {
        "served": served,
        "seconds": time.monotonic() - began,
        "cause": "" if served else done.stderr.strip()[-80:],
    }


def burst(count: int) -> None:
    """``count`` connects sent in one go; then each connection makes its request."""
    sockets = []
    for _ in range(count):
        plain = socket.socket()
        plain.setblocking(False)
        sockets.append(plain)
    address = (socket.gethostbyname(DOOR), 8443)
    began = time.monotonic()
    for plain in sockets:
        plain.connect_ex(address)
    sent = time.monotonic() - began
    causes: Counter[str] = Counter()
    took: list[float] = []

    def ask(plain: socket.socket) -> None:
        try:
            plain.settimeout(LIST_PATIENCE)
            # Comes back when the connection that was begun above stands.
            plain.send(b"")
            with secured(plain) as channel:
                post(channel, srm_probe._PING)
        except FAILURES as exc:
            causes[cause_of(exc)] += 1
        else:
            took.append(time.monotonic() - began)

    together([(ask, plain) for plain in sockets])
    report(count=count, sent=sent, answered=len(took), slowest=max(took, default=0), causes=causes)


def listings(count: int) -> None:
    """``count`` connections first, then a listing on each at the same moment."""
    causes: Counter[str] = Counter()
    channels: list[SSLSocket] = []
    with ThreadPoolExecutor(16) as pool:
        for channel in pool.map(lambda _: connect(LIST_PATIENCE), range(count)):
            channel.settimeout(LIST_PATIENCE)
            channels.append(channel)
    answers: list[bytes] = []
    took: list[float] = []
    barrier = threading.Barrier(count)

    def ask(channel: SSLSocket) -> None:
        barrier.wait()
        began = time.monotonic()
        try:
            with channel:
                answer = post(channel, LIST)
            seconds = time.monotonic() - began
            # The timeout of a socket is that of one read, of which an answer takes many.
            if seconds > LIST_PATIENCE:
                raise TimeoutError("The read operation timed out")
        except FAILURES as exc:
            causes[cause_of(exc)] += 1
        else:
            took.append(seconds)
            answers.append(answer)

    together([(ask, channel) for channel in channels])
    good = 0
    for answer in answers:
        envelope = srm_probe.Envelope(ElementTree.fromstring(answer))
        found = envelope.children(
            envelope.reply, "*", "details", "pathDetailArray", "arrayOfSubPaths"
        )
        good += len(found) == ENTRIES
    report(
        count=count,
        answered=good,
        slowest=max(took, default=0),
        bytes=max((len(answer) for answer in answers), default=0),
        causes=causes,
        **further_client(),
    )


def together(calls: list[tuple[Any, Any]]) -> None:
    """Each call in a thread of its own, and all of them to their end."""
    threads = [threading.Thread(target=call, args=(value,)) for call, value in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    mode, *numbers = sys.argv[1:]
    values = [int(number) for number in numbers]
    if mode == "idle":
        idle(values)
    else:
        {"warm": warm, "burst": burst, "list": listings}[mode](values[0])


if __name__ == "__main__":
    main()
