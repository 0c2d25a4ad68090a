"""How the parts of the stand-in talk: one JSON object a line to the database, HTTP to the API."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from typing import Any


class Refused(Exception):
    """What the other side answered in place of a result."""


def ask_database(host: str, port: int, request: dict[str, Any], timeout: float = 20) -> Any:
    """What the database answers; OSError if it cannot be reached."""
    with socket.create_connection((host, port), timeout=timeout) as connection:
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("rb") as stream:
            line = stream.readline()
    if not line:
        raise ConnectionError(f"the database at {host}:{port} closed the connection")
    return json.loads(line)


def ask_api(host: str, port: int, method: str, timeout: float = 20, **params: Any) -> Any:
    """The result of a method of the API; Refused, or OSError if it cannot be reached."""
    request = urllib.request.Request(
        f"http://{host}:{port}/rpc",
        json.dumps({"method": method, "params": params}).encode(),
        {"Content-Type": "application/json"},
    )
    # No proxy of the environment stands between the parts.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout) as answer:
            return json.load(answer)["result"]
    except urllib.error.HTTPError as error:
        if error.code != 400:
            raise
        raise Refused(json.load(error)["error"]) from error
