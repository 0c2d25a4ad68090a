"""The load profile: which points are measured, in which order, and for how long."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from cloudlet_deploy.errors import UsageError
from cloudlet_deploy.smoke.types import Kind, Point

#: Tens of thousands of clients are beyond what the ports of one address can hold.
MOST_CLIENTS = 100_000
MOST_ENTRIES = 100_000


@dataclass(frozen=True)
class Grid:
    """Every number of clients on every size of directory."""

    clients: tuple[int, ...]
    entries: tuple[int, ...]


@dataclass(frozen=True)
class Profile:
    """What one run measures. Durations are in seconds."""

    name: str
    #: Listings through the door, and through the transfer servers.
    srm: tuple[Grid, ...]
    gridftp: tuple[Grid, ...]
    window: float
    warm_up: float
    #: Before the first point of a protocol: a Java machine that has just started is slow.
    first_warm_up: float
    think: float = 0.0
    keep_alive: bool = False
    #: Clients of the overload; 0 for none.
    overload: int = 0
    #: How long the probe tries after the overload until the door counts as hung.
    patience: float = 60.0
    #: After which an operation without an answer has failed.
    timeout: float = 60.0

    @property
    def most_clients(self) -> int:
        """The largest number of clients at a time."""
        grids = (*self.srm, *self.gridftp)
        return max((self.overload, *(n for grid in grids for n in grid.clients)))

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes of the directories that have to be made."""
        wanted = {size for grid in (*self.srm, *self.gridftp) for size in grid.entries}
        if self.overload:
            wanted.add(_smallest(self.srm))
        return tuple(sorted(wanted))

    def seconds(self) -> float:
        """About how long the measuring takes, without directories and what lies between points."""
        points = self.points("")
        return sum(p.warm_up + p.window for p in points)

    def points(self, base: str) -> tuple[Point, ...]:
        """The points in order, on directories below ``base`` that are called by their sizes."""
        found = [*self._of(Kind.LS, self.srm, base), *self._of(Kind.MLSC, self.gridftp, base)]
        if self.overload:
            size = _smallest(self.srm)
            found.append(
                Point(
                    number=0,
                    kind=Kind.LS,
                    clients=self.overload,
                    entries=size,
                    path=f"{base}/{size}",
                    warm_up=0.0,
                    window=self.window,
                    think=0.0,
                    keep_alive=False,
                    overload=True,
                )
            )
        return tuple(replace(point, number=n) for n, point in enumerate(found, 1))

    def _of(self, kind: Kind, grids: Iterable[Grid], base: str) -> Iterator[Point]:
        first = True
        for clients, entries in _pairs(grids):
            yield Point(
                number=0,
                kind=kind,
                clients=clients,
                entries=entries,
                path=f"{base}/{entries}",
                warm_up=self.first_warm_up if first else self.warm_up,
                window=self.window,
                think=self.think,
                keep_alive=self.keep_alive,
            )
            first = False


def _pairs(grids: Iterable[Grid]) -> tuple[tuple[int, int], ...]:
    """(clients, entries), each once, in the order in which they were asked for."""
    return tuple(
        dict.fromkeys((n, size) for grid in grids for size in grid.entries for n in grid.clients)
    )


def _smallest(grids: Iterable[Grid]) -> int:
    return min((size for grid in grids for size in grid.entries), default=10)


#: A few minutes: the door at three loads, two larger directories, the transfer servers once.
QUICK = Profile(
    name="quick",
    srm=(Grid((50, 200, 500), (10,)), Grid((50,), (100, 1000))),
    gridftp=(Grid((50,), (10,)),),
    window=10.0,
    warm_up=3.0,
    first_warm_up=15.0,
)

#: The paper's figures 6 to 9, and what follows when more clients come than its doors bore.
FULL = Profile(
    name="full",
    srm=(
        Grid((10, 50, 100, 200, 500, 1000, 1500, 2000, 2500), (10,)),
        Grid((50, 100, 200, 500, 1000), (20, 100, 200, 1000)),
    ),
    gridftp=(Grid((10, 50, 100, 200), (10,)), Grid((50,), (100, 1000))),
    window=30.0,
    warm_up=10.0,
    first_warm_up=30.0,
    overload=4000,
    patience=300.0,
)


def numbers(text: str, what: str, most: int) -> tuple[int, ...]:
    """``50,200,500`` as numbers. ``what`` names them for the UsageError about anything else."""
    found = []
    for part in text.split(","):
        word = part.strip()
        if not word.isascii() or not word.isdigit() or not 1 <= int(word) <= most:
            raise UsageError(
                f"{what}: {word!r} is no whole number from 1 to {most}.",
                next_step=f"Separate them by commas, for example {what} 50,200,500.",
            )
        found.append(int(word))
    return tuple(dict.fromkeys(found))
