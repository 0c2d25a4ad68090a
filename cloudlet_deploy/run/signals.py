"""Signals that mean "stop": Ctrl-C, TERM, and HUP when the terminal went away."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import termios
import threading
from collections.abc import Callable, Iterator
from types import FrameType

STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def noted() -> Iterator[list[int]]:
    """Collect the signals of the block instead of dying of them."""
    caught: list[int] = []
    with _handled(caught.append):
        yield caught


@contextlib.contextmanager
def raised(*, each: bool = False) -> Iterator[None]:
    """The first signal of the block raises KeyboardInterrupt there; further ones do nothing.

    So what cleans up after the first is not torn by the second. ``each``: where there is
    nothing to be torn, every signal raises.
    """
    caught: list[int] = []

    def stop(number: int) -> None:
        caught.append(number)
        if each or len(caught) == 1:
            raise KeyboardInterrupt

    with _handled(stop):
        yield


@contextlib.contextmanager
def _handled(act: Callable[[int], None]) -> Iterator[None]:
    """Call ``act`` for every signal that means "stop", unless it is ignored (nohup)."""

    def handle(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            _leave_terminal()
        act(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, handle)
        for number in STOP
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave_terminal() -> None:
    """Let nothing be written to a terminal that hung up: the error would stop the cleaning up."""
    for fd in (0, 1, 2):
        try:
            termios.tcgetattr(fd)
        except termios.error as error:
            # Anything that is no terminal says so; one that is gone is an input/output error.
            if error.args[0] == errno.EIO:
                with contextlib.suppress(OSError):
                    nowhere = os.open(os.devnull, os.O_RDWR)
                    os.dup2(nowhere, fd)
                    os.close(nowhere)
