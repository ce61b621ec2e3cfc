"""Executor `local`: one job at a time in each of several processes on this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Literal

from pydantic import Field

from core.executors.base import (
    Attempts,
    Executor,
    ExecutorSettings,
    Listener,
    Pool,
    Task,
    describe_exit,
)
from core.executors.worker import Done, Failed, Received, Reported, thread_variables, work
from core.system import core_count

_GRACE_S = 5.0


class LocalSettings(ExecutorSettings):
    """Of the executor `local`."""

    name: Literal["local"] = "local"
    workers: int | None = Field(None, ge=1)
    """Processes that run jobs, each with the root key's `threads`; null: as many as fit the CPU
    cores of this process. Results do not depend on it."""


class LocalExecutor(Executor):
    """Worker processes on this machine, which end with this process, even by `kill -9`."""

    settings_type = LocalSettings
    settings: LocalSettings

    @property
    def workers(self) -> int:
        """Number of jobs that run at once."""
        return self.settings.workers or max(1, core_count() // self.threads)

    @contextmanager
    def _open(
        self,
        task: Task,
        open_world: Callable[[], Any],
        jobs: Sequence[Any],
        listener: Listener | None,
    ) -> Iterator[_Processes]:
        arguments = (task, open_world, self.threads, self.seed)
        pool = _Processes(self.workers, arguments, jobs, listener)
        try:
            yield pool
        finally:
            pool.end()


@dataclass
class _Worker:
    """A process, this end of its connection, and the index of its job.

    Attributes:
        idle: whether it has finished a job and not received another one.
    """

    process: SpawnProcess
    connection: Connection
    index: int | None = None
    idle: bool = False


class _Processes(Pool):
    """At most `count` worker processes."""

    def __init__(
        self, count: int, arguments: tuple[Any, ...], jobs: Sequence[Any], listener: Listener | None
    ) -> None:
        self.count, self.arguments, self.jobs, self.listener = count, arguments, jobs, listener
        self.alive: list[_Worker] = []

    def run(
        self, waiting: deque[int], at_once: int | None, attempts: Attempts
    ) -> Iterator[tuple[int, Any]]:
        """See `Pool.run`. Idle workers wait for further jobs, and end with the last one."""
        most = at_once or self.count
        while waiting or self._busy:
            self._share_out(waiting, most)
            ready = set(wait([worker.connection for worker in self._busy]))
            for worker in [w for w in self._busy if w.connection in ready]:
                yield from self._receive(worker, waiting, attempts)
        self.end()

    @property
    def _busy(self) -> list[_Worker]:
        return [worker for worker in self.alive if worker.index is not None]

    def _share_out(self, waiting: deque[int], most: int) -> None:
        """Give waiting jobs to idle workers, and start workers for the others."""
        for worker in [w for w in self.alive if w.index is None]:
            if waiting:
                self._give(worker, waiting)
        while waiting and len(self.alive) < most:
            self._start()
            self._give(self.alive[-1], waiting)

    def _start(self) -> None:
        """Start a worker. It never receives Ctrl-C, not even while it imports its modules."""
        context = multiprocessing.get_context("spawn")
        own, other = context.Pipe()
        process = context.Process(target=work, args=(other, *self.arguments), daemon=True)
        with _environment(thread_variables(self.arguments[-2])), _interrupt_deferred():
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        other.close()  # so that the connection ends with the worker
        self.alive.append(_Worker(process, own))

    def _give(self, worker: _Worker, waiting: deque[int]) -> None:
        """Send the next job to a worker."""
        worker.index = waiting.popleft()
        try:
            worker.connection.send(self.jobs[worker.index])
        except OSError:
            return  # it has died: `wait` reports the end of its connection

    def _receive(
        self, worker: _Worker, waiting: deque[int], attempts: Attempts
    ) -> Iterator[tuple[int, Any]]:
        """Handle a message of a worker, or its death."""
        index = worker.index
        assert index is not None
        try:
            message = worker.connection.recv()
        except (EOFError, OSError):
            how = describe_exit(self._remove(worker))
            if worker.idle:  # it never received the job, which cannot be the cause
                waiting.appendleft(index)
            else:
                attempts.died(index, how)
            return
        if isinstance(message, Failed):
            raise attempts.describe(index, message.error)
        if isinstance(message, Received):
            worker.idle = False
            return
        if isinstance(message, Reported):
            if self.listener is not None:
                self.listener(index, message.value)
            return
        assert isinstance(message, Done)
        worker.index, worker.idle = None, True
        if waiting:
            self._give(worker, waiting)  # it works while the caller handles the outcome
        yield index, message.outcome

    def _remove(self, worker: _Worker) -> int | None:
        """Forget a worker that is ending; return its exit code."""
        self.alive.remove(worker)
        worker.connection.close()
        worker.process.join(_GRACE_S)
        if worker.process.is_alive():  # a job has closed the connection
            worker.process.kill()
            worker.process.join()
        return worker.process.exitcode

    def end(self) -> None:
        """Kill all workers."""
        for worker in self.alive:
            worker.process.kill()
        for worker in list(self.alive):
            self._remove(worker)


@contextmanager
def _interrupt_deferred() -> Iterator[None]:
    """Raise a Ctrl-C of the block at its end: a worker half started would print a traceback.

    A mask of this thread alone does not do that, because another thread may receive the signal.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
    if received:
        signal.raise_signal(signal.SIGINT)


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Change this process's environment within the block, for a child to inherit."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
