"""Runs stages in the order of a `Schedule`, with retries, and records the run."""

from __future__ import annotations

import functools
import queue
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from rich.console import Console

from pipelines.graph import Graph, Stage
from pipelines.repair import back_up_lock, clear_rwlock
from pipelines.run.process import StageFailedError, StageProcesses
from pipelines.run.schedule import Outcome, Schedule
from pipelines.run.view import View, choose_view
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
    submit: Submit | None = None,
    on_line: Callable[[str], None] = lambda _: None,
    flow_run: str | None = None,
) -> None:
    """Run stages; after a failed one, those that do not depend on it.

    Args:
        workspace: the repository's state folder.
        graph: all stages.
        names: the stages to run.
        jobs: largest number of parallel stages.
        verbose: print all output of the stages.
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
        run = _Run(Schedule(graph, names, jobs), graph, workspace, processes, view, flow_run)
        try:
            run.run_all(submit or (lambda _, work: pool.submit(work)))
        except BaseException:
            processes.stop()  # after Ctrl-C no stage may outlive the run
            raise
    run.check()


class _Run:
    """The state of one run: when each stage began and ended, and how.

    Args:
        schedule: decides which stage starts next.
        graph: all stages.
        workspace: holds the record of the run.
        processes: run the stages.
        view: display of the run.
        flow_run: Prefect's ID of the run, or None.
    """

    def __init__(
        self,
        schedule: Schedule,
        graph: Graph,
        workspace: Workspace,
        processes: StageProcesses,
        view: View,
        flow_run: str | None,
    ) -> None:
        self._schedule, self._graph, self._workspace = schedule, graph, workspace
        self._processes, self._view, self._flow_run = processes, view, flow_run
        self._began, self._times = time.time(), dict[str, dict[str, float]]()
        self._ran: dict[str, Outcome] = {}
        self._messages: dict[str, str] = {}

    def run_all(self, submit: Submit) -> None:
        """Start the stages that the schedule allows, wait for any to end, and repeat."""
        ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        try:
            while not self._schedule.complete:
                while (stage := self._schedule.next()) is not None:
                    self._times[stage.name] = {"began": time.time()}
                    self._view.started(stage)
                    future = submit(stage.name, functools.partial(self._execute, stage))
                    future.add_done_callback(functools.partial(_put, ended, stage.name))
                self._record()
                self._finish(self._graph[ended.get()])
        finally:
            self._record(ended=time.time())
            self._workspace.close_record(keep=self._flow_run is None)

    def check(self) -> None:
        """Check that no stage failed.

        Raises:
            RunFailedError: one did.
        """
        outcomes = self._schedule.outcomes
        failed = [name for name, outcome in outcomes.items() if outcome == "failed"]
        if failed:
            lines = [f"{name}: {self._messages[name]}" for name in failed]
            if lost := sum(outcome == "not started" for outcome in outcomes.values()):
                lines.append(f"{lost} stages were not started.")
            raise RunFailedError("\n".join(lines))

    def _execute(self, stage: Stage) -> None:
        """Run one stage, and again after a failure while it has retries."""
        for retries in range(stage.meta.retries, -1, -1):
            try:
                self._ran[stage.name] = self._processes.run(stage)
            except StageFailedError as error:
                self._messages[stage.name] = str(error)
                if not retries:
                    raise
            except Exception as error:
                self._messages[stage.name] = str(error) or repr(error)
                raise
            else:
                return

    def _finish(self, stage: Stage) -> None:
        outcome = self._ran.get(stage.name, "failed")
        message = ""
        if outcome == "failed":
            message = self._messages.setdefault(stage.name, "its work could not be started.")
        self._schedule.finish(stage.name, outcome)
        if outcome == "failed" and stage.meta.first:
            self._schedule.abandon()  # `first` stages stop a run before any training
        times = self._times[stage.name]
        times["ended"] = time.time()
        self._view.ended(stage, outcome, times["ended"] - times["began"], message)

    def _record(self, ended: float | None = None) -> None:
        states = self._schedule.states(stage.name for stage in self._graph)
        stages = {name: {"state": s, **self._times.get(name, {})} for name, s in states.items()}
        times = {"began": self._began, "ended": ended}
        self._workspace.write_record({**times, "flow_run": self._flow_run, "stages": stages})


def _put(ended: queue.SimpleQueue[str], name: str, _: object) -> None:
    ended.put(name)
