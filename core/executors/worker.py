"""The worker's side of an executor: run jobs one after the other, and send what they give.

Messages to the parent are, for every job, `Received`, then any number of `Reported`, and then one
`Done` or `Failed`.
"""

from __future__ import annotations

import faulthandler
import io
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from core.errors import UserError
from core.executors.base import JobError, Task
from core.executors.reports import Value, reporting
from core.system import end_with_parent


@dataclass(frozen=True)
class Received:
    """The worker has a job: if it dies from now on, the job may be the cause."""


@dataclass(frozen=True)
class Reported:
    """What a job reports."""

    value: Value


@dataclass(frozen=True)
class Done:
    """What a job gives, pickled: only the caller needs its type."""

    pickled: bytes

    @property
    def outcome(self) -> Any:
        """What the job gives."""
        return pickle.loads(self.pickled)  # noqa: S301 - written by our own worker


@dataclass(frozen=True)
class Failed:
    """The error that the parent has to raise, pickled."""

    pickled: bytes

    @property
    def error(self) -> Exception:
        """The error."""
        error = pickle.loads(self.pickled)  # noqa: S301 - written by our own worker
        assert isinstance(error, Exception)
        return error


def thread_variables(threads: int) -> Mapping[str, str]:
    """Environment of a worker: libraries read it when they are loaded, before any of our code."""
    counts = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    # Idle OpenMP threads sleep instead of spinning.
    return dict.fromkeys(counts, str(threads)) | {"OMP_WAIT_POLICY": "PASSIVE"}


def execute(
    task: Task, world: Any, job: Any, threads: int, seed: int, send: Callable[[Value], None]
) -> Done | Failed:
    """Run one job in this process, from a state that does not depend on earlier jobs."""
    from core.process import prepare_machine  # torch takes seconds to import

    prepare_machine(threads, seed)
    try:
        with reporting(send):
            return Done(pickle.dumps(task(world, job)))
    except BaseException as error:  # noqa: BLE001 - the parent raises it
        return Failed(_portable(error))


def _portable(error: BaseException) -> bytes:
    """Pickle an error of the user or the system as it is, any other as a text with traceback."""
    if isinstance(error, UserError | OSError):
        try:
            pickled = pickle.dumps(error)
            if str(pickle.loads(pickled)) == str(error):  # noqa: S301 - pickled a line above
                return pickled
        except Exception:  # noqa: BLE001 - an error's class may demand other arguments
            return pickle.dumps(UserError(str(error)))
    return pickle.dumps(JobError("".join(traceback.format_exception(error))))


def work(
    connection: Connection, task: Task, open_world: Callable[[], Any], threads: int, seed: int
) -> None:
    """Main function of a local worker: answer every job received, until the parent closes."""
    end_with_parent()
    threading.Thread(target=_end_with, args=(_parent_sentinel(),), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers itself
    streams = Lines(1, sys.stdout.encoding), Lines(2, sys.stderr.encoding)
    sys.stdout, sys.stderr = streams
    faulthandler.enable(2)
    world, opened = None, False
    while True:
        try:
            job = connection.recv()
        except (EOFError, OSError):
            return
        connection.send(Received())
        if not opened:
            try:
                world, opened = open_world(), True
            except BaseException as error:  # noqa: BLE001 - the parent raises it
                connection.send(Failed(_portable(error)))
                continue
        result = execute(task, world, job, threads, seed, lambda v: connection.send(Reported(v)))
        for stream in streams:
            stream.complete()
        connection.send(result)


def _parent_sentinel() -> int:
    parent = multiprocessing.parent_process()
    assert parent is not None
    return int(parent.sentinel)


def _end_with(sentinel: int) -> None:
    """End this process when the parent is gone; needed where the kernel does not do it."""
    wait([sentinel])
    os._exit(1)


class Lines(io.TextIOBase):
    """A stream that writes whole lines only, so that the lines of several workers stay whole.

    The system keeps one write of up to 4096 bytes to a pipe in one piece.
    """

    def __init__(self, descriptor: int, encoding: str) -> None:
        self._descriptor, self._encoding = descriptor, encoding
        self._rest, self._lock = "", threading.Lock()

    def writable(self) -> bool:
        """True."""
        return True

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def write(self, text: str) -> int:
        """Write all lines that `text` completes."""
        with self._lock:
            lines, end, self._rest = (self._rest + text).rpartition("\n")
            self._write(lines + end)
        return len(text)

    def complete(self) -> None:
        """Write the last line, with its end."""
        if self._rest:
            self.write("\n")

    def _write(self, text: str) -> None:
        left = text.encode(self._encoding, "backslashreplace")
        while left:
            left = left[os.write(self._descriptor, left) :]
