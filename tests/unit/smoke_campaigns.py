"""Campaigns that were never measured: a simulated door, for tests of analysis and report.

The door is a closed queue: clients think, wait for one of ``slots``, are served, think again.
Nothing here is a figure of BeStMan, of its stand-in or of any site; ``SYNTHETIC`` says so in each.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from cloudlet_deploy.smoke import histogram
from cloudlet_deploy.smoke.types import (
    Campaign,
    Endpoint,
    Failure,
    GeneratorLoad,
    HostFacts,
    Kind,
    Measured,
    Point,
    Recovery,
    SettingInForce,
    Thresholds,
)

SYNTHETIC = "Synthetic: simulated by a queue for a test, not measured on any host."
_SINCE = 1_790_000_000.0


@dataclass(frozen=True)
class Door:
    """A simulated server. Times in seconds."""

    slots: int = 40
    #: Service of one request, what each entry adds, and the session before it.
    service: float = 0.5
    entry: float = 0.004
    session: float = 0.05
    #: By how much each client in service or waiting lengthens the service of all.
    crosstalk: float = 0.0
    #: More waiting clients than this are refused.
    backlog: int = 100_000


@dataclass(frozen=True)
class _Done:
    end: float
    waited: float
    served: float
    good: bool


def point(clients: int, entries: int = 10, kind: Kind = Kind.LS, number: int = 1) -> Point:
    """A point with the usual rest."""
    path = "" if kind is Kind.PING else f"/mnt/hadoop/smoke/{entries}"
    return Point(number, kind, clients, entries, path, 20.0, 60.0, 0.0, keep_alive=False)


def simulate(what: Point, door: Door, seed: int = 1) -> Measured:
    """What the load hosts would have counted of this door."""
    draw = random.Random(f"{seed} {what.kind} {what.clients} {what.entries}")
    done = list(_operations(what, door, draw))
    ended = [one for one in done if what.warm_up <= one.end < what.warm_up + what.window]
    good = [one for one in ended if one.good]
    seconds = [0] * int(what.window)
    for one in good:
        seconds[min(int(one.end - what.warm_up), len(seconds) - 1)] += 1
    refused = len(ended) - len(good)
    return Measured(
        point=what,
        achieved=what.clients,
        since=_SINCE,
        window=what.window,
        successes=len(good),
        failures={Failure.REFUSED: refused} if refused else {},
        examples={Failure.REFUSED: "connect to srm.example.org:8443: refused"} if refused else {},
        total=encoded(one.waited + one.served for one in good),
        connect=encoded(0.001 for _one in good),
        authentication=encoded(one.waited + door.session for one in good),
        operation=encoded(one.served - door.session for one in good),
        per_second=tuple(seconds),
        begun=len(done) + what.clients,
        ended=len(done),
        generators=(GeneratorLoad("worker-1", "load1.example.org", 0.32, 0.4),),
    )


def encoded(seconds: Iterable[float]) -> str:
    """A histogram of these durations."""
    counted = histogram.new()
    for one in seconds:
        histogram.record(counted, one)
    return histogram.encoded(counted)


def _operations(what: Point, door: Door, draw: random.Random) -> Iterable[_Done]:
    """Every operation up to the end of the window, by discrete events."""
    until = what.warm_up + what.window
    arrivals = [draw.uniform(0, 1) for _client in range(what.clients)]
    heapq.heapify(arrivals)
    leaving: list[float] = []  # when each busy slot is free
    ending: list[float] = []  # when each client that is waiting or served is answered
    while arrivals:
        now = heapq.heappop(arrivals)
        if now >= until:
            return
        for queue in (leaving, ending):
            while queue and queue[0] <= now:
                heapq.heappop(queue)
        if len(ending) >= door.backlog:
            yield _Done(now + 0.01, 0.0, 0.01, good=False)
            heapq.heappush(arrivals, now + 0.01 + draw.expovariate(2.0))
            continue
        # With all slots busy the next is free when the first of them is; it is then ours.
        begin = heapq.heappop(leaving) if len(leaving) >= door.slots else now
        mean = (door.service + door.entry * what.entries) * (1 + door.crosstalk * len(ending))
        served = door.session + draw.gammavariate(4, mean / 4)
        heapq.heappush(leaving, begin + served)
        heapq.heappush(ending, begin + served)
        yield _Done(begin + served, begin - now, served, good=True)
        think = draw.expovariate(1 / what.think) if what.think else 0.0
        heapq.heappush(arrivals, begin + served + think)


def campaign(
    points: Sequence[Measured],
    thresholds: Thresholds | None = None,
    recovery: Recovery | None = None,
    run_id: str = "20261018T090000Z-5ca1ab",
) -> Campaign:
    """A campaign of these points."""
    return Campaign(
        run_id=run_id,
        site="synthetic",
        began=_SINCE,
        took=sum(one.point.warm_up + one.window for one in points),
        profile="quick",
        doors=(Endpoint("srm.example.org", 8443, "192.0.2.10"),),
        transfer_servers=(Endpoint("gridftp1.example.org", 2811, "192.0.2.21"),),
        points=tuple(points),
        recovery=recovery,
        thresholds=thresholds or Thresholds(),
        settings=(
            SettingInForce("srm", "bestman", "bestman_container_threads", "2500"),
            SettingInForce("srm", "bestman", "bestman_heap_mb", "5120"),
            SettingInForce("srm", "kernel", "kernel_somaxconn", "10000"),
        ),
        hosts=(
            HostFacts("srm", ("bestman",), 8, 7982, "6.1.0-28-amd64", "BeStMan 2.3 (stand-in)"),
            HostFacts("load1", ("load_generators",), 2, 7982, "6.1.0-28-amd64", "locust 2.43"),
        ),
        remarks=(SYNTHETIC,),
    )


#: The paper's 1 Hz per 40 clients: every request takes 40 s, whatever the load.
PAPER_DOOR = Door(slots=2500, service=39.5, entry=0.01, session=0.4)
#: Has a knee: clients in its queue slow all of them down.
KNEE_DOOR = Door(slots=40, service=0.5, crosstalk=0.0006)


def quick(door: Door | None = None, seed: int = 1) -> Campaign:
    """The quick profile: 50, 200, 500 clients, and larger directories at 50."""
    door = door or Door()
    wanted = [point(50), point(200), point(500), point(50, 100), point(50, 1000)]
    short = [replace(p, number=i, warm_up=5.0, window=20.0) for i, p in enumerate(wanted, 1)]
    return campaign([simulate(p, door, seed) for p in short])


def full(
    door: Door = KNEE_DOOR, seed: int = 1, run_id: str = "20261018T090000Z-5ca1ab"
) -> Campaign:
    """Many points, GridFTP and a ping too, an overload that broke it, and a recovery."""
    wanted = [point(n) for n in (10, 25, 50, 100, 200, 400, 700, 1000)]
    wanted += [point(n, size) for size in (100, 200, 1000) for n in (25, 50, 100, 200)]
    wanted += [point(n, size, Kind.MLSC) for size in (10, 100, 1000) for n in (5, 10, 20, 40)]
    wanted += [point(n, 0, Kind.PING) for n in (10, 50, 100, 200)]
    wanted += [replace(point(1500), overload=True)]
    measured = [
        simulate(replace(p, number=i), replace(door, backlog=1200), seed)
        for i, p in enumerate(wanted, 1)
    ]
    return replace(
        campaign(
            measured,
            Thresholds(
                least_rate=30, worst_p95=60, error_share=0.01, recovery=60, least_clients=800
            ),
            Recovery(12.4, 120.0, 13, "connect: refused"),
            run_id,
        ),
        profile="full",
    )
