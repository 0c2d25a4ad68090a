# Copyright: the cloudlet-deploy founders
# GNU General Public License v3.0 or later (see LICENSE)
"""How fast data goes from one host to another, by iperf3, which must be installed on both.

Its server is a transient unit of systemd: it serves one client, and ends by itself if nobody ends
it. Runs on Python 3.9 and later.
"""

from __future__ import annotations

import json
import time

from ansible_collections.cloudlet.deploy.plugins.module_utils import host_facts

UNIT = "cloudlet-smoke-iperf3.service"
#: Seconds beyond the test's own: for the server, and for the client to come and go.
_SERVER_SPARE, _CLIENT_SPARE = 60, 20
#: Seconds in which the server must listen, and the client be connected.
_START, _CONNECT = 5, 5
#: Seconds at the begin that do not count: TCP finds its speed.
_OMIT = 1


def serve(run, port, seconds, listeners=host_facts.listeners):
    """Begin to listen on ``port`` for one test of ``seconds``. Returns what is wrong, or ``""``."""
    end(run)
    taken = listeners().get(port)
    if taken is not None:
        return "port %d is taken by %s" % (port, taken)
    started = run(
        [
            "systemd-run", "--quiet", "--collect", "--unit=" + UNIT, "--property=User=nobody",
            "--property=RuntimeMaxSec=%d" % (seconds + _SERVER_SPARE),
            "iperf3", "--server", "--one-off", "--port", str(port),
        ],
        timeout=15,
    )  # fmt: skip
    if started.rc:
        return "iperf3 cannot be started: %s" % (started.err.strip() or started.out.strip())
    deadline = time.monotonic() + _START
    while port not in listeners():
        if time.monotonic() > deadline:
            end(run)
            return "iperf3 does not listen on port %d within %d s" % (port, _START)
        time.sleep(0.1)
    return ""


def end(run):
    """Listen no longer. Nothing happens where nobody listens."""
    run(["systemctl", "stop", "--quiet", UNIT], timeout=30)


def ask(run, address, port, seconds, streams):
    """Send for ``seconds``. Returns ``mbit`` (10^6 bits a second, as they arrived) and
    ``retransmits``, or ``problem``."""
    done = run(
        [
            "iperf3", "--json", "--client", address, "--port", str(port), "--time", str(seconds),
            "--omit", str(_OMIT), "--parallel", str(streams),
            "--connect-timeout", str(_CONNECT * 1000),
        ],
        timeout=seconds + _CLIENT_SPARE,
    )  # fmt: skip
    try:
        told = json.loads(done.out)
        if told.get("error"):
            return {"problem": told["error"]}
        summed = told["end"]
        return {
            "mbit": round(summed["sum_received"]["bits_per_second"] / 1e6, 3),
            "retransmits": summed["sum_sent"].get("retransmits"),
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        said = done.err.strip() or done.out.strip()[:200]
        return {"problem": said or "iperf3 ended with %d and said nothing" % done.rc}
