"""SIGINT, SIGTERM and SIGHUP: a one-line message, exit code 128 + signal, no processes left.

The first signal raises `Interrupted`, so that stages stop and the run is recorded. All processes
that still run after `INTERRUPT_GRACE_S`, or at a second signal, are killed: a run can be killed at
any moment without losing finished work.
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

INTERRUPT_GRACE_S = 6.0
"""Seconds from the first signal until all processes are killed."""
MESSAGE = "error: stopped. Finished stages are kept; the next run continues from there."
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_received: list[int] = []
_terminating_threads: list[int] = []
_termination_lock = threading.Lock()


class Interrupted(BaseException):
    """This process has received a signal to end."""


def install_handlers() -> None:
    """Install the signal handlers, except for signals that the parent ignores (nohup)."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def handlers_installed() -> bool:
    """Whether `install_handlers` was called in this process."""
    return _interrupt in map(signal.getsignal, _SIGNALS)


@contextmanager
def exit_on_signal() -> Iterator[None]:
    """Terminate if the block raises after a signal, whatever the exception is."""
    try:
        yield
    except BaseException:
        if _received:
            terminate()
        raise


def terminate() -> NoReturn:
    """Print the message, kill all descendants, and exit with the signal's exit code."""
    with _termination_lock:  # never released: other threads block here until the exit
        _terminating_threads.append(threading.get_ident())
        try:
            from pipelines.run.children import kill_all

            _print_message()
            kill_all()
        finally:
            os._exit(128 + (_received[0] if _received else signal.SIGINT))


def _interrupt(number: int, frame: FrameType | None) -> None:
    if threading.get_ident() in _terminating_threads:
        return  # this thread is already terminating the process
    _received.append(number)
    if len(_received) > 1:
        terminate()
    logging.disable(logging.CRITICAL)  # the one-line message is enough
    timer = threading.Timer(INTERRUPT_GRACE_S, terminate)
    timer.daemon = True
    timer.start()
    raise Interrupted


def _print_message() -> None:
    """Print the message; writing to a closed terminal fails."""
    try:
        sys.stdout.flush()
        if sys.stdout.isatty():
            os.write(1, b"\x1b[?25h")  # progress bars hide the cursor
        os.write(2, f"{MESSAGE}\n".encode())
    except (OSError, ValueError):
        return
