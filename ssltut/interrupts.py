"""Ctrl-C and SIGTERM: a request to stop ends in good order, between two steps."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_threads_stop = threading.Event()


class Terminated(KeyboardInterrupt):
    """SIGTERM, as SLURM, Docker and ``kill`` send it, where ``sigterm_interrupts`` is on."""


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """In the block SIGTERM raises Terminated, so that it ends as Ctrl-C does."""

    def terminate(signum: int, frame: FrameType | None) -> None:
        raise Terminated

    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread gets signals
        return
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def stop_threads() -> None:
    """Ask the other threads of this process, which get no signals, to stop for good."""
    _threads_stop.set()


@contextmanager
def uninterrupted() -> Iterator[None]:
    """A request to stop waits until the end of the block, as what it changes belongs together."""
    if threading.current_thread() is not threading.main_thread():
        yield
        if _threads_stop.is_set():
            raise KeyboardInterrupt
        return
    waiting: list[int] = []
    before = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        handler = signal.getsignal(number)
        if callable(handler):  # else the system's own: to end, or to ignore
            before[number] = handler
            signal.signal(number, lambda signum, frame: waiting.append(signum))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if waiting:
            signal.raise_signal(waiting[0])
