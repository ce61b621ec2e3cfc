"""Interface of executors: run independent jobs on several workers, and repeat those that die."""

from __future__ import annotations

import signal
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from core.errors import UserError
from core.executors.reports import Value
from core.settings import Named

World = TypeVar("World")
Job = TypeVar("Job")
Outcome = TypeVar("Outcome")

Task = Callable[[Any, Any], Any]
Listener = Callable[[int, Value], None]
MOST_ATTEMPTS = 3


class JobError(RuntimeError):
    """A job raised an error that is not the user's; the message is the worker's traceback."""


class ExecutorSettings(Named):
    """Base of the executors' settings."""


@dataclass
class Attempts:
    """The jobs that wait, and how the workers of each have died.

    A job whose worker has died waits again. Its last attempt waits until nothing else runs, because
    most workers die from lack of memory.

    Attributes:
        jobs: all of them; the caller may append more.
        name: of a job, for messages; None: its number.
        waiting: indices of jobs that may run beside others.
        alone: indices of jobs that may only run alone.
        deaths: by index, how each worker of a job ended.
    """

    jobs: Sequence[Any]
    name: Callable[[Any], str] | None = None
    waiting: deque[int] = field(default_factory=deque)
    alone: deque[int] = field(default_factory=deque)
    deaths: dict[int, list[str]] = field(default_factory=dict)
    _known: int = field(default=0, init=False)

    def wait_for_new(self) -> bool:
        """Let jobs wait that were appended; return whether any job waits."""
        self.waiting.extend(range(self._known, len(self.jobs)))
        self._known = len(self.jobs)
        return bool(self.waiting or self.alone)

    def named(self, index: int) -> str:
        """What messages call a job."""
        if self.name is None:
            return f"job {index + 1} of {len(self.jobs)}"
        return self.name(self.jobs[index])

    def died(self, index: int, how: str) -> None:
        """Record that the worker of a job has died, and let the job wait again.

        Raises:
            UserError: this was the last attempt.
        """
        deaths = self.deaths.setdefault(index, [])
        deaths.append(how)
        if len(deaths) == MOST_ATTEMPTS:
            raise UserError(
                f"{self.named(index)} ended its worker in each of {MOST_ATTEMPTS} attempts "
                f"({', '.join(deaths)}), the last one while no other job ran. {_remedy(how)}"
            )
        (self.alone if len(deaths) == MOST_ATTEMPTS - 1 else self.waiting).append(index)

    def describe(self, index: int, error: Exception) -> Exception:
        """The error to raise for that of a job: a `JobError` names the job."""
        if isinstance(error, JobError):
            return JobError(f"{self.named(index)} failed:\n{error}")
        return error


def describe_exit(code: int | None) -> str:
    """A process's exit code, or the name of the signal that ended it (negative codes)."""
    if code is not None and -code in {*signal.Signals}:
        return signal.Signals(-code).name
    return f"exit code {code}"


def _remedy(how: str) -> str:
    """What helps against a way to die."""
    if how in {"SIGKILL", "OutOfMemoryError"}:
        return (
            "It was probably killed because memory ran out: close other programs, or make the job "
            "smaller (a smaller batch, smaller images)."
        )
    if how.startswith("SIG"):
        return "A native library failed: the worker's output above says in which function."
    if how.endswith("Error"):
        return "It was killed or crashed, often because memory ran out: Ray's logs say more."
    return "The job, or a library it uses, ends its process."


class Pool(ABC):
    """Workers that run jobs of one task."""

    @abstractmethod
    def run(
        self, waiting: deque[int], at_once: int | None, attempts: Attempts
    ) -> Iterator[tuple[int, Any]]:
        """Yield (index, outcome) until no job waits, at most `at_once` jobs at a time.

        Jobs may be added to `waiting` until the consumer asks for the next outcome. None: as many
        at once as there are workers.
        """


class Executor(ABC):
    """Runs independent jobs; outcomes do not depend on how many run at once, nor where.

    Args:
        settings: of its `settings_type`.
        threads: CPU threads of every job.
        seed: of the global random generators, which every job starts with.
    """

    settings_type: ClassVar[type[ExecutorSettings]]
    same_machine: ClassVar[bool] = True
    """Whether jobs see the files of this process."""

    def __init__(self, settings: ExecutorSettings, threads: int, seed: int) -> None:
        self.settings, self.threads, self.seed = settings, threads, seed

    def run(
        self,
        task: Callable[[World, Job], Outcome],
        open_world: Callable[[], World],
        jobs: Sequence[Job],
        listener: Listener | None = None,
        name: Callable[[Job], str] | None = None,
    ) -> Iterator[tuple[int, Outcome]]:
        """Yield (index of job, outcome) as jobs finish; closing the iterator ends all workers.

        A job whose worker dies is repeated, at most twice. Consume it in one thread: on Linux the
        workers end with the thread that started them.

        Args:
            task: a function of a module, or a partial of one; it must not change the world, nor
                depend on what ran before it in its process.
            open_world: likewise; opens the large values that all jobs read.
            jobs: small picklable values. More may be appended while an outcome is handled: they
                are run too.
            listener: called with (index of job, value) for what a job reports (`report`); a job
                that is repeated reports from its beginning.
            name: what messages call a job; by default `job 1 of N`.

        Raises:
            UserError: a job raised it, or ended its worker three times.
            OSError: a job raised it.
            JobError: a job raised another error.
        """
        attempts = Attempts(jobs, name)
        if not attempts.wait_for_new():
            return
        with self._open(task, open_world, jobs, listener) as pool:
            while attempts.wait_for_new():
                for outcome in pool.run(attempts.waiting, None, attempts):
                    yield outcome
                    attempts.wait_for_new()
                yield from pool.run(attempts.alone, 1, attempts)

    @abstractmethod
    def _open(
        self,
        task: Task,
        open_world: Callable[[], Any],
        jobs: Sequence[Any],
        listener: Listener | None,
    ) -> AbstractContextManager[Pool]:
        """Workers, which end with the block."""
