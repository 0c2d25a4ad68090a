"""What the parts of the scaling test hand to each other.

The engine measures (``Measured``, ``Recovery``), the analysis judges, the report shows; a
``Campaign`` is all that was measured in one run, and what its JSON file holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """What a client asks for, again and again."""

    PING = "ping"
    LS = "ls"
    #: A listing over GridFTP's control channel.
    MLSC = "mlsc"

    @property
    def protocol(self) -> str:
        """``srm`` or ``gridftp``."""
        return "gridftp" if self is Kind.MLSC else "srm"


class Failure(StrEnum):
    """Why an operation did not succeed; the error classes of the report."""

    #: The name has no address, or the network does not lead there.
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    RESET = "reset"
    TIMEOUT = "timeout"
    #: The handshake failed otherwise than for the reasons below.
    TLS = "tls"
    #: Our certificate or proxy has expired.
    EXPIRED = "expired"
    #: The server's certificate is not from a CA of ours, or is for another host.
    UNTRUSTED = "untrusted"
    #: The server does not accept our certificate's CA, or maps our name to no account.
    DENIED = "denied"
    #: GridFTP's ``421``: more sessions than ``connections_max``.
    BUSY = "busy"
    #: A proper answer that says no: an SRM status code or a GridFTP reply code.
    STATUS = "status"
    #: The answer ended before it was whole.
    CUT_OFF = "cut-off"
    GARBAGE = "garbage"
    TOO_LONG = "too-long"
    #: The load host itself was at its limit (descriptors, ports, memory).
    OWN_LIMIT = "own-limit"


@dataclass(frozen=True)
class Endpoint:
    """A door or a transfer server. ``address`` is where to connect, ``host`` its grid name."""

    host: str
    port: int
    address: str

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Point:
    """A load point: so many clients, each of which lists one directory in a closed loop."""

    number: int
    kind: Kind
    clients: int
    #: Entries of the directory; 0 for ``PING``.
    entries: int
    #: Absolute path of the directory; "" for ``PING``.
    path: str
    #: Seconds that are not counted, and seconds that are.
    warm_up: float
    window: float
    #: Mean seconds between an answer and the next request.
    think: float
    #: One connection for all operations of a client, instead of a new one for each.
    keep_alive: bool
    #: Beyond the knee on purpose; followed by the probe for recovery.
    overload: bool = False


@dataclass(frozen=True)
class GeneratorLoad:
    """How busy a load process and its machine were in the window, as shares from 0 to 1.

    ``process`` is of one core, which is all that a load process can use.
    """

    name: str
    host: str
    process: float
    machine: float


@dataclass(frozen=True)
class Measured:
    """What the load hosts counted at one point, all together.

    Histograms are of microseconds, in HdrHistogram's own encoding (base64); ``total`` is from
    the begin of connecting to the end of the answer, and the other three are its parts. They and
    ``successes``, ``failures`` and ``per_second`` are of operations that ended in the window;
    ``begun`` and ``ended`` count all, from the first to the last.
    """

    point: Point
    #: Clients that were there when the point began.
    achieved: int
    #: Seconds since the epoch at which the window began.
    since: float
    #: Seconds that the window really took.
    window: float
    successes: int
    failures: Mapping[str, int]
    #: An example of each failure, in words: for STATUS the code and what the server said.
    examples: Mapping[str, str]
    total: str
    connect: str
    authentication: str
    operation: str
    #: Successes in each second of the window.
    per_second: tuple[int, ...]
    begun: int
    ended: int
    generators: tuple[GeneratorLoad, ...]
    #: Why the figures are not of the whole load: a worker was lost, the user interrupted.
    incomplete: str = ""


@dataclass(frozen=True)
class Recovery:
    """What one client saw after the overload had ended."""

    #: Seconds until it was served again; None if it never was.
    seconds: float | None
    #: Seconds for which it tried.
    patience: float
    attempts: int
    #: What the last failure was, in words.
    last: str = ""


@dataclass(frozen=True)
class Thresholds:
    """What the site demands of SRM listings below the overload; None demands nothing."""

    #: Successes per second, at the best point.
    least_rate: float | None = None
    #: Seconds, at every point.
    worst_p95: float | None = None
    #: Share of failures among the operations of a point, from 0 to 1, at every point.
    error_share: float | None = None
    #: Seconds after the overload.
    recovery: float | None = None
    #: The largest number of clients that is borne within ``error_share``.
    least_clients: int | None = None


@dataclass(frozen=True)
class SettingInForce:
    """A tuned setting of a host as it was during the test."""

    host: str
    component: str
    variable: str
    live: str


@dataclass(frozen=True)
class HostFacts:
    """What a tested host is."""

    host: str
    roles: tuple[str, ...]
    cores: int
    memory_mb: int
    kernel: str
    software: str


@dataclass(frozen=True)
class Campaign:
    """All that one run of ``smoke`` measured, and of what."""

    run_id: str
    site: str
    #: Seconds since the epoch.
    began: float
    #: Seconds.
    took: float
    profile: str
    doors: tuple[Endpoint, ...]
    transfer_servers: tuple[Endpoint, ...]
    points: tuple[Measured, ...]
    recovery: Recovery | None
    thresholds: Thresholds
    settings: tuple[SettingInForce, ...] = ()
    hosts: tuple[HostFacts, ...] = ()
    #: What the reader has to know of this run: stand-ins, generator on the door's machine, ...
    remarks: tuple[str, ...] = ()
    #: Why it did not run to its end; "" if it did.
    incomplete: str = ""
    #: Error classes seen while directories were made and removed, in words.
    problems: tuple[str, ...] = field(default=())
