"""What sessions of both protocols share: one connection and one deadline."""

from __future__ import annotations

from abc import ABC, abstractmethod

from cloudlet_deploy.smoke.gsi import GsiContext
from cloudlet_deploy.smoke.types import Endpoint
from cloudlet_deploy.smoke.wire import Wire


class Session(ABC):
    """One connection: ``connect``, ``authenticate``, then any number of requests.

    All of it ends at ``deadline``, a time of ``time.monotonic()`` that may be set anew between
    requests. Methods raise OSError (ssl.SSLError, TimeoutError) and OperationError.
    """

    __slots__ = ("_context", "_deadline", "_endpoint", "_keep", "_wire", "answered")

    def __init__(
        self, endpoint: Endpoint, context: GsiContext, deadline: float, *, keep_alive: bool = False
    ) -> None:
        self._endpoint = endpoint
        self._context = context
        self._deadline = deadline
        self._keep = keep_alive
        self._wire: Wire | None = None
        #: When the last answer was whole, a time of ``time.perf_counter()``.
        self.answered = 0.0

    @property
    def is_open(self) -> bool:
        """Whether another request can be made; asks the kernel whether the server hung up."""
        return self._wire is not None and self._keep and self._wire.is_silent()

    def until(self, deadline: float) -> None:
        """Give the requests to come another deadline."""
        self._deadline = deadline
        if self._wire is not None:
            self._wire.deadline = deadline

    def connect(self) -> None:
        """TCP only."""
        self._wire = Wire(self._endpoint.address, self._endpoint.port, self._deadline)

    @abstractmethod
    def authenticate(self) -> None:
        """From TCP to the point where a request can be made."""

    @abstractmethod
    def ls(self, path: str) -> int:
        """List a directory; the number of its entries."""

    def close(self) -> None:
        """Hang up; a second call does nothing."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    def _open_wire(self) -> Wire:
        if self._wire is None:
            raise RuntimeError("the session is not connected")
        return self._wire
