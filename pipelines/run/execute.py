"""Runs stages in the order of a `Schedule`, with retries, and records the run."""

from __future__ import annotations

import functools
import queue
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from rich.console import Console

from pipelines.graph import Graph, Stage
from pipelines.repair import back_up_lock, clear_rwlock
from pipelines.run.process import StageFailedError, StageProcesses
from pipelines.run.schedule import Outcome, Schedule
from pipelines.run.view import PlainView, choose_view
from pipelines.workspace import Workspace


class RunFailedError(ValueError):
    """At least one stage failed; the message has the error of each."""


class Future(Protocol):
    """The part of a future that `concurrent.futures` and Prefect share."""

    def add_done_callback(self, fn: Callable[[Any], None], /) -> None:
        """Call `fn` at the end, whether the work failed or not."""


Submit = Callable[[str, Callable[[], None]], Future]
"""Starts the work of a stage, given the stage's name, in a thread."""


def run_stages(
    workspace: Workspace,
    graph: Graph,
    names: Iterable[str],
    jobs: int,
    verbose: bool = False,
    forced: Collection[str] = (),
    submit: Submit | None = None,
    on_line: Callable[[str], None] = lambda _: None,
    flow_run: str | None = None,
) -> None:
    """Run stages, at most `jobs` at once; after a failed one, those that do not depend on it.

    Args:
        workspace: the repository's state folder.
        graph: all stages.
        names: the stages to run.
        jobs: largest number of parallel stages.
        verbose: print all output of the stages.
        forced: stages to run even if they are up to date.
        submit: starts the work of a stage; None: in a thread of a pool.
        on_line: called with every line of a stage's output, in the thread of its work.
        flow_run: Prefect's ID of this run, if Prefect records it.

    Raises:
        RunFailedError: a stage failed. If it was a `first` one, no stage was started after it.
        UserError: another run is active in the repository.
    """
    with (
        workspace.ensure_lock() as lock,
        ThreadPoolExecutor(jobs) as pool,
        choose_view(Console(), verbose) as view,
    ):
        clear_rwlock(workspace.root)
        back_up_lock(workspace.root)

        def show(stage: Stage, text: str) -> None:
            view.line(stage, text)
            if text:
                on_line(text)

        processes = StageProcesses(workspace.root, workspace.logs, show, inherited=(lock,))
        schedule = Schedule(graph, names, jobs)
        run = _Run(schedule, graph, workspace, processes, view, forced, flow_run)
        try:
            run.run_all(submit or (lambda _, work: pool.submit(work)))
        except BaseException:
            processes.stop()  # after Ctrl-C no stage may outlive the run
            raise
    run.check()


@dataclass
class _Run:
    """One run: when each stage began and ended, and how."""

    schedule: Schedule
    graph: Graph
    workspace: Workspace
    processes: StageProcesses
    view: PlainView
    forced: Collection[str]
    flow_run: str | None
    began: float = field(default_factory=time.time)
    times: dict[str, dict[str, float]] = field(default_factory=dict)
    results: dict[str, tuple[Outcome, str]] = field(default_factory=dict)
    """The outcome of each stage's work, and the error of a failed one."""

    def run_all(self, submit: Submit) -> None:
        """Start the stages that the schedule allows, wait for any to end, and repeat."""
        ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        try:
            while not self.schedule.complete:
                while (stage := self.schedule.next()) is not None:
                    self.times[stage.name] = {"began": time.time()}
                    self.view.started(stage)
                    future = submit(stage.name, functools.partial(self._execute, stage))
                    future.add_done_callback(functools.partial(_put, ended, stage.name))
                self._record()
                self._finish(self.graph[ended.get()])
        finally:
            self._record(ended=time.time())
            self.workspace.close_record(keep=self.flow_run is None)

    def check(self) -> None:
        """Raise RunFailedError if a stage failed."""
        outcomes = self.schedule.outcomes
        lines = [f"{n}: {self.results[n][1]}" for n, found in outcomes.items() if found == "failed"]
        if lines:
            if lost := sum(outcome == "not started" for outcome in outcomes.values()):
                lines.append(f"{lost} stages were not started.")
            raise RunFailedError("\n".join(lines))

    def _execute(self, stage: Stage) -> None:
        """Run one stage, and again after a failure while it has retries."""
        for retries in range(stage.meta.retries, -1, -1):
            try:
                outcome = self.processes.run(stage, stage.name in self.forced)
            except Exception as error:
                self.results[stage.name] = "failed", str(error) or repr(error)
                if not retries or not isinstance(error, StageFailedError):
                    raise
            else:
                self.results[stage.name] = outcome, ""
                return

    def _finish(self, stage: Stage) -> None:
        lost: tuple[Outcome, str] = ("failed", "its work could not be started.")
        outcome, message = self.results.setdefault(stage.name, lost)
        self.schedule.finish(stage.name, outcome)
        if outcome == "failed" and stage.meta.first:
            self.schedule.abandon()  # `first` stages stop a run before any training
        times = self.times[stage.name]
        times["ended"] = time.time()
        self.view.ended(stage, outcome, times["ended"] - times["began"], message)

    def _record(self, ended: float | None = None) -> None:
        states = self.schedule.states(stage.name for stage in self.graph)
        stages = {name: {"state": s, **self.times.get(name, {})} for name, s in states.items()}
        times = {"began": self.began, "ended": ended}
        self.workspace.write_record({**times, "flow_run": self.flow_run, "stages": stages})


def _put(ended: queue.SimpleQueue[str], name: str, _: object) -> None:
    ended.put(name)
