"""Requests to stop wait until the end of a step, and become an exception."""

import signal
import threading

import pytest

from ssltut import interrupts
from ssltut.interrupts import Terminated, sigterm_interrupts, stop_threads, uninterrupted


def test_sigterm_is_an_interrupt_in_the_block_and_what_it_was_after_it():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), sigterm_interrupts():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before
    with sigterm_interrupts():
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_step_is_done_before_it_stops(number):
    done = []

    def step():
        with sigterm_interrupts(), uninterrupted():
            signal.raise_signal(number)
            done.append("step")

    with pytest.raises(KeyboardInterrupt) as stop:
        step()
    assert done == ["step"]
    assert isinstance(stop.value, Terminated) == (number == signal.SIGTERM)
    with uninterrupted():
        done.append("another")


def test_what_was_ignored_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_threads_are_asked_as_they_get_no_signals(monkeypatch):
    monkeypatch.setattr(interrupts, "_threads_stop", threading.Event())
    ended = []

    def work():
        try:
            with sigterm_interrupts(), uninterrupted():
                pass
            with uninterrupted():
                stop_threads()
            ended.append("not stopped")
        except KeyboardInterrupt:
            ended.append("stopped")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ended == ["stopped"]
