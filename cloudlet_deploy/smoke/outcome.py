"""One operation from connecting to its answer, timed, with every failure put into its class."""

from __future__ import annotations

import errno
import socket
import ssl
import time
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from cloudlet_deploy.smoke.answer import OperationError, shown
from cloudlet_deploy.smoke.gridftp import GridFtpSession
from cloudlet_deploy.smoke.gsi import GsiContext
from cloudlet_deploy.smoke.session import Session
from cloudlet_deploy.smoke.srm import SrmSession
from cloudlet_deploy.smoke.types import Endpoint, Failure, Kind


@dataclass(frozen=True, slots=True)
class Outcome:
    """An operation that has ended.

    The three parts are seconds: of the phase that failed until then, of phases that were not
    reached 0. On a connection that is kept, only ``operation`` is not 0.
    """

    #: Seconds since the epoch at which it began.
    start: float
    connect: float
    authentication: float
    operation: float
    failure: Failure | None
    #: What was seen, in words; "" on success.
    detail: str
    #: Entries that the answer listed; 0 for PING.
    size: int

    @property
    def seconds(self) -> float:
        """From the begin of connecting to the end of the answer."""
        return self.connect + self.authentication + self.operation


class Phase(StrEnum):
    """What an operation was at when it failed."""

    CONNECT = "connecting"
    AUTHENTICATION = "authenticating"
    OPERATION = "waiting for the answer"


def perform(
    kind: Kind, endpoint: Endpoint, context: GsiContext, path: str, timeout: float
) -> Outcome:
    """One operation on a connection of its own, within ``timeout`` seconds. Raises no Exception."""
    return Asker(kind, endpoint, context, path, timeout).ask()


class Asker:
    """A client that asks one endpoint the same thing again and again.

    Each operation takes a connection of its own, or with ``keep_alive`` that of the one before.
    """

    def __init__(
        self,
        kind: Kind,
        endpoint: Endpoint,
        context: GsiContext,
        path: str,
        timeout: float,
        *,
        keep_alive: bool = False,
    ) -> None:
        self.kind = kind
        self.endpoint = endpoint
        self.context = context
        self.path = path
        #: Seconds for all of one operation.
        self.timeout = timeout
        self.keep_alive = keep_alive
        self._session: Session | None = None

    def ask(self) -> Outcome:
        """One operation. Raises no Exception.

        That the server hung up between two operations is no failure; while it answers, it is.
        """
        deadline = time.monotonic() + self.timeout
        session = self._session
        reused = session is not None and session.is_open
        if session is None or not reused:
            self.close()
            session = self._session = self._new(deadline)
        else:
            session.until(deadline)
        outcome = None
        try:
            outcome = self._attempt(session, reused)
            return outcome
        finally:
            # Also after what is no Exception: whoever stops a client leaves no connection.
            if not self.keep_alive or outcome is None or outcome.failure is not None:
                self.close()

    def close(self) -> None:
        """Hang up; the next operation connects anew."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _new(self, deadline: float) -> Session:
        made = GridFtpSession if self.kind is Kind.MLSC else SrmSession
        return made(self.endpoint, self.context, deadline, keep_alive=self.keep_alive)

    def _attempt(self, session: Session, reused: bool) -> Outcome:
        clock = time.perf_counter
        start = time.time()
        marks = [clock()]
        phase = Phase.OPERATION if reused else Phase.CONNECT
        failure, detail, size = None, "", 0
        try:
            self.context.check()
            if not reused:
                session.connect()
                marks.append(clock())
                phase = Phase.AUTHENTICATION
                session.authenticate()
                marks.append(clock())
                phase = Phase.OPERATION
            if self.kind is Kind.PING and isinstance(session, SrmSession):
                session.ping()
            else:
                size = session.ls(self.path)
            # The answer was whole then; reading it is our work and not the server's.
            marks.append(session.answered)
        except Exception as exc:
            marks.append(clock())
            failure, detail = classify(exc, phase, self.timeout)
        parts = [end - begin for begin, end in pairwise(marks)]
        parts = [0.0, 0.0, *parts] if reused else [*parts, 0.0, 0.0]
        return Outcome(start, parts[0], parts[1], parts[2], failure, detail, size)


def classify(exc: Exception, phase: Phase, timeout: float) -> tuple[Failure, str]:
    """The class of whatever an operation raised, and what was seen in words."""
    if isinstance(exc, OperationError):
        return exc.failure, exc.detail
    if isinstance(exc, ssl.SSLError):
        return _of_tls(exc, phase)
    if isinstance(exc, OSError):
        return _of_socket(exc, phase, timeout)
    if isinstance(exc, MemoryError):
        return Failure.OWN_LIMIT, f"no memory here, while {phase}"
    # What no part above foresaw was caused by what the server sent.
    return Failure.GARBAGE, shown(f"{type(exc).__name__}: {exc}, while {phase}")


def _of_socket(exc: OSError, phase: Phase, timeout: float) -> tuple[Failure, str]:
    if isinstance(exc, TimeoutError) and exc.errno is None:
        return Failure.TIMEOUT, f"not done within {timeout:g} s, while {phase}"
    if isinstance(exc, socket.gaierror):
        return Failure.UNREACHABLE, shown(f"the name has no address: {exc.strerror}")
    failure = _ERRORS.get(exc.errno or 0)
    if failure is None:
        failure = Failure.UNREACHABLE if phase is Phase.CONNECT else Failure.RESET
    return failure, shown(f"{exc.strerror or exc}, while {phase}")


_ERRORS = {
    errno.ECONNREFUSED: Failure.REFUSED,
    errno.ECONNRESET: Failure.RESET,
    errno.ECONNABORTED: Failure.RESET,
    errno.EPIPE: Failure.RESET,
    errno.ETIMEDOUT: Failure.TIMEOUT,
    errno.ENETUNREACH: Failure.UNREACHABLE,
    errno.EHOSTUNREACH: Failure.UNREACHABLE,
    errno.EMFILE: Failure.OWN_LIMIT,
    errno.ENFILE: Failure.OWN_LIMIT,
    errno.ENOMEM: Failure.OWN_LIMIT,
    errno.ENOBUFS: Failure.OWN_LIMIT,
    # All local ports are in use, or still waiting after their last connection.
    errno.EADDRNOTAVAIL: Failure.OWN_LIMIT,
    errno.EADDRINUSE: Failure.OWN_LIMIT,
    errno.EAGAIN: Failure.OWN_LIMIT,
}

#: Alerts about our certificate, as OpenSSL names their reasons.
_DENYING = (
    "UNKNOWN_CA", "BAD_CERTIFICATE", "CERTIFICATE_UNKNOWN", "UNSUPPORTED_CERTIFICATE",
    "CERTIFICATE_REVOKED", "ACCESS_DENIED",
)  # fmt: skip


def _of_tls(exc: ssl.SSLError, phase: Phase) -> tuple[Failure, str]:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return Failure.UNTRUSTED, shown(f"its certificate is not trusted: {exc.verify_message}")
    reason = exc.reason or str(exc)
    words = reason.replace("_", " ").lower()
    if "ALERT" in reason:
        if "CERTIFICATE_EXPIRED" in reason:
            return Failure.EXPIRED, "it says that our certificate has expired"
        if any(word in reason for word in _DENYING):
            return Failure.DENIED, shown(f"it refused our certificate: {words}")
    failure = Failure.GARBAGE if phase is Phase.OPERATION else Failure.TLS
    return failure, shown(f"TLS: {words}, while {phase}")
