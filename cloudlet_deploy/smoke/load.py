"""A worker's side of the load: its clients, what they count, and the raw operations."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import os
import random
import resource
import socket
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import gevent
import psutil
from gevent.event import Event
from locust import events

from cloudlet_deploy.smoke import directories, gsi, histogram
from cloudlet_deploy.smoke.job import Job, point
from cloudlet_deploy.smoke.outcome import Asker, Outcome
from cloudlet_deploy.smoke.types import Endpoint, Failure, GeneratorLoad, Kind, Point

#: Descriptors that a worker needs besides those of its clients.
_OWN_DESCRIPTORS = 64
#: Share of the warm-up over which the first requests are spread, for no real crowd comes at once.
_SPREAD = 0.5
#: Seconds between two tries of the probe.
_PROBE_PAUSE = 0.25
_PROBE_TIMEOUT = 5.0

_COLUMNS = ("point", "kind", "endpoint", "start", "connect", "authentication", "operation",
            "end", "outcome", "detail")  # fmt: skip


class Abandoned(BaseException):
    """The point is over, and nobody waits for this operation any more."""


class Running:
    """One point at work on this worker. Its clock begins with it."""

    def __init__(self, what: Point, begins: float, *, probe: bool) -> None:
        self.point = what
        self.probe = probe
        self.over = Event()
        self.from_, self.to = begins + what.warm_up, begins + what.warm_up + what.window
        self.begun = self.ended = self.successes = self.failed = 0
        self.seconds = 0.0
        self.failures: Counter[str] = Counter()
        self.examples: dict[str, str] = {}
        self.histograms = {n: histogram.new() for n in ("total", *_PARTS)}
        self.per_second = [0] * max(1, round(what.window))
        #: The clients that wait for an answer.
        self.asking: set[gevent.Greenlet] = set()
        self.usage: tuple[float, float] | None = None

    def count(self, outcome: Outcome) -> None:
        """Take an operation that has ended now into account."""
        now = time.monotonic()
        self.ended += 1
        if outcome.failure is None:
            self.successes += 1
            self.seconds += outcome.seconds
        else:
            self.failed += 1
        if not self.from_ <= now < self.to:
            return
        if outcome.failure is not None:
            self.failures[outcome.failure] += 1
            self.examples.setdefault(outcome.failure, outcome.detail[:200])
            return
        index = int((now - self.from_) / self.point.window * len(self.per_second))
        self.per_second[index] += 1
        histogram.record(self.histograms["total"], outcome.seconds)
        for part in _PARTS:
            histogram.record(self.histograms[part], getattr(outcome, part))


_PARTS = ("connect", "authentication", "operation")


class Load:
    """All clients of this worker. Speaks with the master by locust's messages."""

    def __init__(self, job: Job, runner: Any) -> None:
        self.job = job
        self._runner = runner
        #: In the order in which they came.
        self._members: dict[Client, None] = {}
        self._numbers = itertools.count()
        self._gate = Event()
        self._running: Running | None = None
        self._usage = _Usage()
        self.context = gsi.Credential(
            Path(job.certificate), Path(job.key), Path(job.ca_dir)
        ).context()
        self.raw = _Raw(Path(job.output))
        # Each in a greenlet of its own: the one that listens must stay free.
        for name, act in {
            "smoke-hello": self._hello,
            "smoke-count": lambda _: self._say("count", clients=len(self._members)),
            "smoke-prepare": self._prepare,
            "smoke-remove": self._remove,
            "smoke-point": self._begin,
            "smoke-finish": self._finish,
        }.items():
            runner.register_message(name, self._guarded(act), concurrent=True)
        events.quit.add_listener(lambda **_: self.raw.close())  # type: ignore[no-untyped-call]

    def join(self) -> Client:
        """A new client."""
        client = Client(self, next(self._numbers))
        self._members[client] = None
        return client

    def leave(self, client: Client) -> None:
        """It was taken away."""
        del self._members[client]

    def is_first(self, client: Client) -> bool:
        """Whether it has been here longest: that one is the probe."""
        return next(iter(self._members)) is client

    def wait(self) -> Running | None:
        """Wait for a point, and return it."""
        self._gate.wait()
        return self._running

    def _guarded(self, act: Callable[[dict[str, Any]], None]) -> Any:
        """``act`` as locust calls it; the master is told of a fault of ours, and waits no more."""

        def listen(environment: Any, msg: Any, **_: Any) -> None:
            try:
                act(msg.data or {})
            except Exception as error:
                traceback.print_exc()
                self._say("broken", words=f"{type(error).__name__}: {error}")

        return listen

    def served(self) -> None:
        """The probe had its answer."""
        self._say("served")

    def _say(self, what: str, **data: Any) -> None:
        self._runner.send_message(f"smoke-{what}", data)

    def _hello(self, _: dict[str, Any]) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self._say(
            "here",
            host=socket.gethostname(),
            pid=os.getpid(),
            capacity=hard - _OWN_DESCRIPTORS,
        )

    def _prepare(self, _: dict[str, Any]) -> None:
        problem = directories.prepare(
            self.job, self.context, lambda done, total: self._say("made", done=done, total=total)
        )
        self._say("prepared", problem=problem)

    def _remove(self, data: dict[str, Any]) -> None:
        left, problem = directories.remove(self.job, self.context, data["bases"], data["seconds"])
        self._say("removed", left=left, problem=problem)

    def _begin(self, data: dict[str, Any]) -> None:
        running = Running(point(data["point"]), time.monotonic(), probe=data["probe"])
        self._running = running
        self._gate.set()
        gevent.spawn(self._tell, running)

    def _tell(self, running: Running) -> None:
        """Say every second how it goes, and measure the processor in the window."""
        self._usage.begin()
        measuring = False
        while time.monotonic() < running.to:
            if running.over.wait(1.0 if measuring else min(1.0, running.from_ - time.monotonic())):
                break
            if not measuring and time.monotonic() >= running.from_:
                measuring = True
                self._usage.begin()
            self._say("tally", **_tally(running))
        else:
            # Past the window the processor is idle, which must not count.
            running.usage = self._usage.end()

    def _finish(self, data: dict[str, Any]) -> None:
        running = self._running
        if running is None or running.point.number != data["number"]:
            return
        self._gate.clear()
        running.over.set()
        deadline = time.monotonic() + (0 if data["at_once"] else self.job.timeout + 1)
        while running.asking and time.monotonic() < deadline:
            gevent.sleep(0.05)
        for client in list(running.asking):
            gevent.get_hub().loop.run_callback(_abandon, running, client)
        while running.asking:
            gevent.sleep(0.01)
        usage = running.usage or self._usage.end()
        self._say("done", **_tally(running), **_result(running, usage))
        self.raw.flush()


class Client:
    """One client of the grid, which asks the same endpoint all the time."""

    def __init__(self, load: Load, number: int) -> None:
        self.number = number
        self._load = load

    def leave(self) -> None:
        """It is not wanted any more."""
        self._load.leave(self)

    def take_part(self) -> None:
        """Wait for the next point and ask until it is over."""
        running = self._load.wait()
        if running is None:
            return
        if running.probe and not self._load.is_first(self):
            running.over.wait()
            return
        what = running.point
        if not (what.overload or running.probe):
            running.over.wait(random.uniform(0, what.warm_up * _SPREAD))
        endpoints = self._load.job.endpoints(what.kind)
        asker = Asker(
            what.kind,
            endpoints[self.number % len(endpoints)],
            self._load.context,
            what.path,
            _PROBE_TIMEOUT if running.probe else self._load.job.timeout,
            keep_alive=what.keep_alive,
        )
        try:
            while not running.over.is_set():
                self._once(running, asker)
        finally:
            asker.close()

    def _once(self, running: Running, asker: Asker) -> None:
        me = gevent.getcurrent()
        running.begun += 1
        running.asking.add(me)
        try:
            outcome = _checked(asker.ask(), running.point)
        except Abandoned:
            return
        finally:
            running.asking.discard(me)
        running.count(outcome)
        self._load.raw.add(running.point, asker.endpoint, outcome)
        pause = random.expovariate(1 / running.point.think) if running.point.think else 0.0
        if running.probe:
            if outcome.failure is None:
                self._load.served()
                running.over.wait()
                return
            pause = _PROBE_PAUSE
        # Also without a pause: a door that refuses at once must not keep the others waiting.
        if pause:
            running.over.wait(pause)
        else:
            gevent.sleep(0)


def _checked(outcome: Outcome, what: Point) -> Outcome:
    """A listing with entries missing is none, however quick."""
    if outcome.failure is not None or what.kind is Kind.PING or outcome.size == what.entries:
        return outcome
    told = f"it listed {outcome.size} entries, and the directory has {what.entries}"
    return replace(outcome, failure=Failure.GARBAGE, detail=told)


def _abandon(running: Running, client: Any) -> None:
    # Looked at again in the hub: it may have had its answer in between.
    if client in running.asking:
        client.throw(Abandoned)


def _tally(running: Running) -> dict[str, Any]:
    return {
        "number": running.point.number,
        "begun": running.begun,
        "ended": running.ended,
        "successes": running.successes,
        "failed": running.failed,
        "seconds": running.seconds,
    }


def _result(running: Running, usage: tuple[float, float]) -> dict[str, Any]:
    load = GeneratorLoad(f"{socket.gethostname()}-{os.getpid()}", socket.gethostname(), *usage)
    return {
        "in_window": sum(running.per_second),
        "failures": dict(running.failures),
        "examples": running.examples,
        "per_second": running.per_second,
        "generator": asdict(load),
        **{name: histogram.encoded(one) for name, one in running.histograms.items()},
    }


class _Usage:
    """How busy this process and its machine were between ``begin`` and ``end``."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self._before = self._now()

    def end(self) -> tuple[float, float]:
        """Shares from 0 to 1, that of the process of one core."""
        elapsed, process, busy, total = (
            now - before for now, before in zip(self._now(), self._before, strict=True)
        )
        return process / elapsed if elapsed else 0.0, busy / total if total else 0.0

    @staticmethod
    def _now() -> tuple[float, float, float, float]:
        # Not psutil's own percentages: it keeps what was before by thread, hence by greenlet.
        machine = psutil.cpu_times()
        total = sum(machine[:8])  # guests' time is in the user's already
        return time.monotonic(), time.process_time(), total - machine.idle - machine.iowait, total


class _Raw:
    """Every operation as a line of a compressed CSV file."""

    def __init__(self, directory: Path) -> None:
        name = f"operations-{socket.gethostname()}-{os.getpid()}.csv.gz"
        self._file = gzip.open(directory / name, "wb", compresslevel=1)  # noqa: SIM115
        self._lines = io.StringIO()
        self._csv = csv.writer(self._lines)
        self._csv.writerow(_COLUMNS)

    def add(self, what: Point, endpoint: Endpoint, outcome: Outcome) -> None:
        self._csv.writerow(
            (
                *(what.number, what.kind, str(endpoint), f"{outcome.start:.6f}"),
                *(f"{getattr(outcome, part):.6f}" for part in _PARTS),
                f"{outcome.start + outcome.seconds:.6f}",
                outcome.failure or "ok",
                outcome.detail,
            )
        )
        if self._lines.tell() > 1 << 18:
            self.flush()

    def flush(self) -> None:
        self._file.write(self._lines.getvalue().encode("utf-8", "replace"))
        self._lines.seek(0)
        self._lines.truncate()

    def close(self) -> None:
        self.flush()
        self._file.close()
