"""The master's side of the load: lets each point begin and end, and adds up what workers counted.

Tells what happens as lines of JSON on standard output, for the command line to read.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import gevent
from gevent.event import Event

from cloudlet_deploy.smoke import histogram
from cloudlet_deploy.smoke.job import Job
from cloudlet_deploy.smoke.types import Point

#: Seconds that workers get to answer a question, beyond what the work itself takes.
_ANSWER = 10.0
#: Seconds that each worker gets to make the test directories.
_PREPARING = 600.0
#: Seconds that clients have to come or go after locust was told.
_GATHERING = 20.0
#: What is left of the two seconds after Ctrl-C, to stop the load and to tidy up.
_LAST_WORDS, _TIDYING_HASTILY = 0.4, 0.4
_TIDYING = 120.0
_TICK = 0.05


class _Stopped(Exception):
    """The user wants it to end."""


class _Lost(Exception):
    """No worker is left."""


class Conductor:
    """One campaign. ``next`` is asked by locust's shape whenever the wanted clients are there."""

    def __init__(self, job: Job, runner: Any) -> None:
        self._job = job
        self._runner = runner
        self._answers: dict[str, dict[str, dict[str, Any]]] = {}
        self._tallies: dict[str, dict[str, Any]] = {}
        self._workers: dict[str, dict[str, Any]] = {}
        self._lost: dict[str, str] = {}
        self._stopping = Event()
        self._prepared: list[str] = []
        for name in (
            "here",
            "count",
            "made",
            "prepared",
            "removed",
            "tally",
            "done",
            "served",
            "broken",
        ):
            runner.register_message(f"smoke-{name}", self._take(name))
        # SIGTERM stays locust's own: it ends the master at once.
        gevent.signal_handler(signal.SIGINT, self._stopping.set)
        self._steps = self._campaign()

    def next(self) -> tuple[int, float] | None:
        """The number of clients that is wanted now and how many may come in a second."""
        return next(self._steps, None)

    def _campaign(self) -> Iterator[tuple[int, float]]:
        why = ""
        try:
            if self._hello():
                self._prepare()
                for point in self._job.points:
                    self._check()
                    yield point.clients, float(max(point.clients, 10))
                    self._measure(point)
        except _Stopped:
            why = "interrupted"
        except _Lost:
            why = "all load processes were lost"
        except _Refused as refused:
            why = str(refused)
        self._tidy()
        _tell("end", incomplete=why)

    # -- the steps

    def _hello(self) -> bool:
        self._send("hello")
        self._workers = self._wait_for("here", _ANSWER)
        held = sum(worker["capacity"] for worker in self._workers.values())
        wanted = max(point.clients for point in self._job.points)
        _tell("ready", workers=list(self._workers.values()), capacity=held)
        # Locust spreads clients evenly, so the smallest process sets the bound.
        least = min((w["capacity"] for w in self._workers.values()), default=0)
        if wanted > least * len(self._workers):
            raise _Refused(f"capacity {least * len(self._workers)} wanted {wanted}")
        return True

    def _prepare(self) -> None:
        if not self._job.directories and not self._job.leftovers:
            return
        self._prepared = [*self._job.leftovers, self._job.base]
        first = next(iter(self._alive()))
        self._answers.pop("prepared", None)
        self._send("prepare", to=first)
        answer = self._wait_for("prepared", _PREPARING, [first])
        if problem := answer.get(first, {}).get("problem", "it did not answer"):
            raise _Refused(f"directories {problem}")

    def _measure(self, point: Point) -> None:
        """One point with all its clients, and the probe if it was an overload."""
        workers = self._alive()
        there = self._gathered(point.clients)
        began, since = time.monotonic(), time.time() + point.warm_up
        self._tallies = {}
        self._answers.pop("done", None)
        _tell("began", number=point.number, achieved=there)
        self._send("point", point=asdict(point), probe=False)
        stopped = False
        try:
            self._follow(point, began, workers)
        except _Stopped:
            stopped = True
        at_once = point.overload or stopped
        ended = time.monotonic()
        self._send("finish", number=point.number, at_once=at_once)
        patience = _LAST_WORDS if stopped else _ANSWER + (0 if at_once else self._job.timeout)
        done = self._wait_for("done", patience, workers, heed=False)
        window = min(point.window, max(0.0, ended - began - point.warm_up))
        missing = [name for name in workers if name not in done]
        why = ""
        if missing or there != point.clients:
            why = self._why(missing, there, point)
        if stopped:
            why = f"interrupted after {ended - began:.0f} s" + (f"; {why}" if why else "")
        # Of a worker that was lost, what it told last counts as far as it goes.
        lost = [t for name, t in self._tallies.items() if name not in done]
        _tell(
            "measured",
            measured={
                "point": asdict(point),
                "achieved": there,
                "since": since,
                "window": window,
                "incomplete": why,
                **_sum(list(done.values()), [t for t in lost if t["number"] == point.number]),
            },
        )
        if stopped:
            raise _Stopped
        if point.overload and done:
            self._probe(point, ended)

    def _gathered(self, wanted: int) -> int:
        """How many clients there are, once there are so many as ``wanted`` or none come any more.

        Locust's own count lags behind by some seconds.
        """
        deadline = time.monotonic() + _GATHERING
        while True:
            self._answers.pop("count", None)
            self._send("count")
            counts = self._wait_for("count", _ANSWER)
            there: int = sum(one["clients"] for one in counts.values())
            if there == wanted or time.monotonic() > deadline:
                return there
            gevent.sleep(_TICK)

    def _follow(self, point: Point, began: float, workers: list[str]) -> None:
        told = 0
        while (elapsed := time.monotonic() - began) < point.warm_up + point.window:
            self._check()
            if elapsed >= told + 1:
                told += 1
                tallies = [t for t in self._tallies.values() if t["number"] == point.number]
                total = {
                    key: sum(t[key] for t in tallies)
                    for key in ("begun", "ended", "successes", "failed", "seconds")
                }
                _tell("tick", number=point.number, elapsed=round(elapsed, 1), **total)
            gevent.sleep(_TICK)

    def _probe(self, overload: Point, ended: float) -> None:
        """One client, again and again, until it is served."""
        self._check()
        patience = self._job.patience
        number = overload.number + 1
        probe = {**asdict(overload), "number": number, "warm_up": 0.0, "window": patience}
        self._answers.pop("served", None)
        self._answers.pop("done", None)
        first = self._alive()[0]
        _tell("probing", patience=patience)
        self._send("point", to=first, point=probe, probe=True)
        served: float | None = None
        try:
            while time.monotonic() - ended < patience:
                self._check()
                if "served" in self._answers:
                    served = self._answers["served"][first]["at"] - ended
                    break
                gevent.sleep(_TICK)
        finally:
            self._send("finish", to=first, number=number, at_once=True)
            done = self._wait_for("done", _LAST_WORDS, [first], heed=False).get(first, {})
            _tell(
                "recovery",
                seconds=served,
                patience=time.monotonic() - ended,
                attempts=done.get("begun", 0),
                last=next(iter(done.get("examples", {}).values()), ""),
                stopped=self._stopping.is_set(),
            )

    def _tidy(self) -> None:
        """Remove the test directories, as far as there is time."""
        if not self._prepared or not self._alive():
            if self._prepared:
                _tell(
                    "left", bases=self._prepared, problem="no load process is left to remove them"
                )
            return
        seconds = _TIDYING_HASTILY if self._stopping.is_set() else _TIDYING
        first = self._alive()[0]
        self._answers.pop("removed", None)
        self._send("remove", to=first, bases=self._prepared, seconds=seconds)
        answer = self._wait_for("removed", seconds + 0.3, [first], heed=False).get(first)
        left = answer["left"] if answer else self._prepared
        if left:
            _tell("left", bases=left, problem=answer["problem"] if answer else "no time was left")
        else:
            _tell("removed")

    # -- workers

    def _take(self, name: str) -> Any:
        def listen(environment: Any, msg: Any, **_: Any) -> None:
            data = dict(msg.data or {}, at=time.monotonic())
            if name == "made":
                _tell("making", **msg.data)
            elif name == "tally":
                self._tallies[msg.node_id] = data
            else:
                self._answers.setdefault(name, {})[msg.node_id] = data

        return listen

    def _send(self, what: str, *, to: str | None = None, **data: Any) -> None:
        self._runner.send_message(f"smoke-{what}", data, to)

    def _alive(self) -> list[str]:
        """Workers that are there; says of each that is not any more that it is lost."""
        clients = self._runner.clients
        here = [c.id for c in clients.all if c.state != "missing"]
        for name, worker in self._workers.items():
            if name not in here and name not in self._lost:
                self._lost[name] = f"{worker['host']}, process {worker['pid']}"
                _tell("lost", worker=self._lost[name])
        return [name for name in self._workers or here if name in here]

    def _why(self, missing: list[str], there: int, point: Point) -> str:
        self._alive()
        if missing:
            names = ", ".join(self._lost.get(m) or _name(self._workers.get(m)) for m in missing)
            return f"load process lost: {names}"
        return f"{there} of {point.clients} clients were there"

    def _check(self) -> None:
        if self._stopping.is_set():
            raise _Stopped
        if broken := next(iter(self._answers.get("broken", {}).values()), None):
            raise _Refused(f"fault {broken['words']}")
        if not self._alive():
            raise _Lost

    def _wait_for(
        self, what: str, seconds: float, workers: list[str] | None = None, *, heed: bool = True
    ) -> dict[str, dict[str, Any]]:
        """Answers of ``workers`` (default: all) by name; fewer if time or workers run out."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if heed:
                self._check()
            alive = self._alive()
            wanted = alive if workers is None else [w for w in workers if w in alive]
            if all(name in self._answers.get(what, {}) for name in wanted):
                break
            gevent.sleep(_TICK)
        return dict(self._answers.get(what, {}))


class _Refused(Exception):
    """The campaign cannot be: ``capacity HELD wanted N``, ``directories WHY``, ``fault WHAT``."""


def _name(worker: dict[str, Any] | None) -> str:
    return f"{worker['host']}, process {worker['pid']}" if worker else "unknown"


def _sum(parts: list[dict[str, Any]], lost: list[dict[str, Any]]) -> dict[str, Any]:
    """What the workers that are left have counted, in the form of ``types.Measured``."""
    failures: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for part in parts:
        failures.update(part["failures"])
        examples = {**part["examples"], **examples}
    return {
        "successes": sum(part["in_window"] for part in parts),
        "failures": dict(failures),
        "examples": examples,
        **{
            name: histogram.merged(part[name] for part in parts)
            for name in ("total", "connect", "authentication", "operation")
        },
        "per_second": [sum(row) for row in zip(*(p["per_second"] for p in parts), strict=True)],
        "begun": sum(part["begun"] for part in (*parts, *lost)),
        "ended": sum(part["ended"] for part in (*parts, *lost)),
        "generators": [part["generator"] for part in parts],
    }


def _tell(event: str, **data: Any) -> None:
    # Whoever read this is gone, and has the kernel end us.
    try:
        print(json.dumps({"event": event, **data}), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
