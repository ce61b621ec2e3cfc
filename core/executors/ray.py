"""Executor `ray`: jobs as tasks of a Ray cluster, a local one or one of many machines.

The world is opened once, by this process, and put into Ray's object store, from which the workers
of a machine read NumPy arrays without a copy (read-only). Every task runs as in a local worker,
with the same threads and seeds, so that it gives the same bytes on the same kind of machine.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from core.errors import UserError
from core.executors.base import (
    Attempts,
    Executor,
    ExecutorSettings,
    JobError,
    Listener,
    Pool,
    Task,
)
from core.executors.cluster import ALLOW_NETWORK, ROOT, check_head, copy_code, import_ray
from core.executors.reports import Value
from core.executors.worker import Done, Failed, execute, thread_variables
from core.system import core_count

_POLL_S = 1.0


class RaySettings(ExecutorSettings):
    """Of the executor `ray`."""

    name: Literal["ray"] = "ray"
    address: str | None = "auto"
    """The cluster's head, HOST:6379; auto: the cluster that this machine belongs to; local or null:
    a cluster on this machine alone is started for the time of the jobs."""
    workers: int | None = Field(None, ge=1)
    """Jobs at once: processes of a cluster that is started here; null: as many as fit its CPU
    cores. Otherwise null: as many as the cluster has room for."""
    num_cpus: float | None = Field(None, gt=0)
    """CPU cores that Ray reserves for a job; null: the root key's `threads`."""
    num_gpus: float = Field(0.0, ge=0)
    """GPUs that Ray reserves for a job; fractions share one; 0 for jobs on CPU cores."""

    @field_validator("address")
    @classmethod
    def _no_client(cls, given: str | None) -> str | None:
        if given is not None and "://" in given:
            raise ValueError("Ray's client is not supported: run on a machine of the cluster")
        return given

    @property
    def starts_cluster(self) -> bool:
        """Whether a cluster is started on this machine."""
        return self.address in {None, "local"}


class RayExecutor(Executor):
    """Tasks of a Ray cluster; they end with this process.

    Raises:
        UserError: Ray is not installed.
    """

    settings_type = RaySettings
    same_machine = False
    settings: RaySettings

    def __init__(self, settings: ExecutorSettings, threads: int, seed: int) -> None:
        super().__init__(settings, threads, seed)
        self.ray = import_ray(self.settings.starts_cluster)

    @contextmanager
    def _open(
        self,
        task: Task,
        open_world: Callable[[], Any],
        jobs: Sequence[Any],
        listener: Listener | None,
    ) -> Iterator[_Tasks]:
        world = open_world()
        with tempfile.TemporaryDirectory(prefix="netwright-ray-") as folder:
            try:
                self._connect(Path(folder))
                arguments = (task, self.ray.put(world), self.threads, self.seed)
                reports = None if listener is None else self._start_reports()
                pool = _Tasks(self, arguments, jobs, listener, reports)
                del world
                yield pool
                pool.pass_reports()
            finally:
                self.ray.shutdown()  # ends this driver's tasks, and a cluster that it started

    @property
    def cpus(self) -> float:
        """CPU cores that Ray reserves for a job."""
        return self.settings.num_cpus or self.threads

    def _connect(self, folder: Path) -> None:
        """Start or join a cluster.

        Raises:
            UserError: there is none, or no machine of it has room for a job.
        """
        variables = dict(thread_variables(self.threads))
        options: dict[str, Any] = {"logging_level": "WARNING", "log_to_driver": True}
        environment: dict[str, Any] = {"env_vars": variables}
        if self.settings.starts_cluster:
            workers = self.settings.workers or max(1, int(core_count() // self.cpus))
            options |= {
                "num_cpus": max(1, round(workers * self.cpus)),
                "include_dashboard": False,
            }
            # Its workers import the files that this process does.
            variables["PYTHONPATH"] = str(ROOT)
            self.ray.init("local", runtime_env=environment, **options)
            if any(n["NodeManagerAddress"] != "127.0.0.1" for n in self.ray.nodes()):
                raise RuntimeError(f"Ray was imported without {ALLOW_NETWORK}=0.")
        else:
            environment["py_modules"] = copy_code(folder)
            try:
                check_head(str(self.settings.address))
                self.ray.init(self.settings.address, runtime_env=environment, **options)
            except (OSError, ValueError, RuntimeError) as error:
                raise UserError(
                    f"executor.address: no Ray cluster at '{self.settings.address}' ({error}). "
                    "Start one by `ray start --head`; set RAY_AUTH_MODE=token if it has a token; "
                    "or set address: local."
                ) from error
        self._check_room()

    def _check_room(self) -> None:
        """Check that a machine has what a job reserves; Ray would wait for one for ever."""
        needed = {"CPU": self.cpus, "GPU": self.settings.num_gpus}
        machines = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        if any(all(m.get(k, 0) >= n for k, n in needed.items()) for m in machines):
            return
        largest = {kind: max((m.get(kind, 0) for m in machines), default=0) for kind in needed}
        raise UserError(
            f"executor: a job reserves {self.cpus:g} CPU cores and {self.settings.num_gpus:g} GPUs "
            f"(num_cpus, num_gpus), and no machine of the Ray cluster has both: they have at most "
            f"{largest['CPU']:g} and {largest['GPU']:g}."
        )

    def _start_reports(self) -> Any:
        """Start the actor that collects reports, in this machine's part of the cluster."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(self.ray.get_runtime_context().get_node_id(), False)
        kind = self.ray.remote(_Reports)
        return kind.options(num_cpus=0, max_restarts=-1, scheduling_strategy=here).remote()


class _Reports:
    """An actor with the last report of every job."""

    def __init__(self) -> None:
        self._last: dict[int, Value] = {}

    def add(self, index: int, value: Value) -> None:
        """Keep a report."""
        self._last[index] = value

    def take(self) -> Mapping[int, Value]:
        """The reports since the last call."""
        taken, self._last = self._last, {}
        return taken


def _run_job(
    task: Task, world: Any, threads: int, seed: int, job: Any, index: int, reports: Any
) -> Done | Failed:
    """A task of Ray: run one job."""

    def send(value: Value) -> None:
        if reports is not None:
            reports.add.remote(index, value)

    return execute(task, world, job, threads, seed, send)


class _Tasks(Pool):
    """Tasks of a cluster."""

    def __init__(
        self,
        executor: RayExecutor,
        arguments: tuple[Any, ...],
        jobs: Sequence[Any],
        listener: Listener | None,
        reports: Any,
    ) -> None:
        self.ray, self.arguments, self.jobs = executor.ray, arguments, jobs
        self.listener, self.reports = listener, reports
        self.most = executor.settings.workers
        # Ray's own retries would repeat a job without limit on a machine without memory.
        self.remote = self.ray.remote(_run_job).options(
            num_cpus=executor.cpus, num_gpus=executor.settings.num_gpus, max_retries=0
        )
        self.indices: dict[Any, int] = {}

    def run(
        self, waiting: deque[int], at_once: int | None, attempts: Attempts
    ) -> Iterator[tuple[int, Any]]:
        """See `Pool.run`."""
        while waiting or self.indices:
            while waiting and len(self.indices) < (at_once or self.most or len(self.jobs)):
                index = waiting.popleft()
                task = self.remote.remote(*self.arguments, self.jobs[index], index, self.reports)
                self.indices[task] = index
            ready, _ = self.ray.wait(list(self.indices), num_returns=1, timeout=_POLL_S)
            self.pass_reports()
            for task in ready:
                index = self.indices.pop(task)
                result = self._fetch(task, index, attempts)
                if isinstance(result, Failed):
                    raise attempts.describe(index, result.error)
                if result is not None:
                    yield index, result.outcome

    def _fetch(self, task: Any, index: int, attempts: Attempts) -> Done | Failed | None:
        """What a task gave; None if it has to be repeated."""
        errors = self.ray.exceptions
        lost = (
            errors.WorkerCrashedError,
            errors.NodeDiedError,
            errors.OutOfMemoryError,
            errors.ObjectLostError,
        )
        try:
            result: Done | Failed = self.ray.get(task)
        except lost as error:
            attempts.died(index, type(error).__name__)
            return None
        except errors.RayError as error:
            raise JobError(f"{attempts.named(index)}: Ray could not run it: {error}") from error
        return result

    def pass_reports(self) -> None:
        """Pass the reports since the last call to the listener."""
        if self.listener is not None and self.reports is not None:
            for index, value in self.ray.get(self.reports.take.remote()).items():
                self.listener(index, value)
