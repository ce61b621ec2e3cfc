"""Ctrl-C, SIGTERM and a closed terminal: one line, the exit code of the signal, nothing left.

A first signal unwinds what is under way, so that a stage stops and Prefect records it. Whatever
has not ended a few seconds later, or when a second signal comes, is killed: a run can be
killed at any moment without losing what was done.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

GRACE_S = 6.0
"""Seconds from the first signal until everything is killed."""
SAID = "error: stopped. What was done stays done; the next run continues from there."
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_received: list[int] = []
_enders: list[int] = []
_ending = threading.Lock()


class Interrupted(BaseException):
    """A signal asks this process to end."""


def arm() -> None:
    """Handle the signals in this process, but those that whoever started it ignores (nohup)."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def armed() -> bool:
    """Whether `arm` was called in this process."""
    return _interrupt in map(signal.getsignal, _SIGNALS)


@contextmanager
def handled() -> Iterator[None]:
    """End the process when the block ends by a signal, whatever error that became on its way."""
    try:
        yield
    except BaseException:
        if _received:
            end()
        raise


def end() -> NoReturn:
    """Say so, kill whatever still runs, and end this process with the signal's exit code."""
    with _ending:  # never let go: another thread that comes here waits to be ended
        _enders.append(threading.get_ident())
        _kill_and_exit()


def _kill_and_exit() -> NoReturn:
    from pipelines.children import kill_all

    try:
        _say()
        kill_all()
    finally:
        os._exit(128 + (_received[0] if _received else signal.SIGINT))


def _interrupt(number: int, frame: FrameType | None) -> None:
    if threading.get_ident() in _enders:
        return  # this very thread is ending us
    _received.append(number)
    if len(_received) > 1:
        end()
    logging.disable(logging.CRITICAL)  # that a run was stopped is said in one line
    timer = threading.Timer(GRACE_S, end)
    timer.daemon = True
    timer.start()
    raise Interrupted


def _say() -> None:
    """Print the line; a terminal that was closed cannot be written to."""
    try:
        sys.stdout.flush()
        if sys.stdout.isatty():
            os.write(1, b"\x1b[?25h")  # bars hide the cursor
        os.write(2, f"{SAID}\n".encode())
    except (OSError, ValueError):
        return
