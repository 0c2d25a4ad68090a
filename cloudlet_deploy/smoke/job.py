"""What the load engine is told: one JSON file that its master and its workers read.

It holds no secret; the credential is a file of its own.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cloudlet_deploy.smoke.types import Endpoint, Kind, Point

#: Environment variable that names the file.
VARIABLE = "CLOUDLET_SMOKE_JOB"


@dataclass(frozen=True)
class Job:
    """One run of the engine. Paths are those of the machine that reads it; times are seconds."""

    doors: tuple[Endpoint, ...]
    transfer_servers: tuple[Endpoint, ...]
    certificate: str
    key: str
    ca_dir: str
    points: tuple[Point, ...]
    #: Directory for the test directories, and how many entries each of them has, by its path.
    base: str
    directories: dict[str, int]
    #: Directories of earlier runs that are to go first.
    leftovers: tuple[str, ...]
    timeout: float
    patience: float
    #: Where each worker writes its operations.
    output: str

    def endpoints(self, kind: Kind) -> tuple[Endpoint, ...]:
        """Whom to ask for ``kind``."""
        return self.transfer_servers if kind is Kind.MLSC else self.doors

    def write(self, path: Path) -> None:
        """Write the file."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")


def read(path: Path) -> Job:
    """The job of a file."""
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for name in ("doors", "transfer_servers"):
        values[name] = tuple(Endpoint(**one) for one in values[name])
    values["points"] = tuple(point(one) for one in values["points"])
    values["leftovers"] = tuple(values["leftovers"])
    return Job(**values)


def point(values: dict[str, Any]) -> Point:
    """A point of its JSON form."""
    return Point(**{**values, "kind": Kind(values["kind"])})
