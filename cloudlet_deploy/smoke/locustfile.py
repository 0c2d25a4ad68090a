"""What locust runs: the clients on its workers, and the campaign on its master.

The classes are made where they are needed: locust takes every shape that it finds in here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from locust import LoadTestShape, User, events, runners, task
from locust.runners import MasterRunner, WorkerRunner

from cloudlet_deploy.smoke import job as jobs
from cloudlet_deploy.smoke.conductor import Conductor
from cloudlet_deploy.smoke.load import Client, Load

# A worker that is busy with thousands of handshakes is late with its heartbeat, not lost.
runners.HEARTBEAT_LIVENESS = 10  # type: ignore[misc,unused-ignore]

_JOB = jobs.read(Path(os.environ[jobs.VARIABLE]))
_parts: dict[str, Any] = {}


@events.init.add_listener  # type: ignore[untyped-decorator,unused-ignore]
def _begin(environment: Any, **_: Any) -> None:
    runner = environment.runner
    if isinstance(runner, WorkerRunner):
        _parts["load"] = Load(_JOB, runner)
    elif isinstance(runner, MasterRunner):
        _parts["conductor"] = Conductor(_JOB, runner)


class GridClient(User):
    """One client of the grid; what it does is the load's business."""

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self.client: Client = _parts["load"].join()

    @task
    def serve(self) -> None:
        """Wait for the next point and take part in it to its end."""
        self.client.take_part()

    def on_stop(self) -> None:
        """Locust takes clients away between two points of different size."""
        self.client.leave()


class Campaign(LoadTestShape):
    """How many clients there are: as many as the next point wants, once the last one is over.

    Locust asks again when it has spawned them, so that a point begins when all are there.
    """

    def tick(self) -> tuple[int, float] | None:
        """Measure the point whose clients were asked for, and ask for those of the next."""
        wanted: tuple[int, float] | None = _parts["conductor"].next()
        return wanted
