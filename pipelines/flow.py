"""The Prefect flow: every stale stage as a task, after its upstreams.

The flow holds no description of the graph: it reads DVC's. Prefect runs the tasks, retries them
and keeps their history; `Schedule` says which may start; DVC runs the stage.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from rich.console import Console

from pipelines import interrupts
from pipelines.attest import attest
from pipelines.graph import Graph, Stage, find_root, read_graph
from pipelines.mending import clear_rwlock, keep_lock
from pipelines.params import read_params
from pipelines.plan import Plan, make_plan
from pipelines.preflight import preflight
from pipelines.process import StageProcesses
from pipelines.schedule import Outcome, Schedule
from pipelines.summary import held_back, print_summary, read_summaries
from pipelines.view import View, choose_view
from pipelines.workspace import Workspace


@dataclass
class Report:
    """How every stage of a run ended."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    """What the failed stages said."""


class RunFailedError(ValueError):
    """At least one stage failed."""

    def __init__(self, report: Report) -> None:
        self.report = report
        failed = [name for name, outcome in report.outcomes.items() if outcome == "failed"]
        lost = sum(outcome == "not started" for outcome in report.outcomes.values())
        unsaid = "it could not be run, and did not say why."
        what = "\n".join(f"{name}: {report.messages.get(name, unsaid)}" for name in failed)
        after = f"\n{lost} stages were not started." if lost else ""
        super().__init__(f"{what}{after}")


class GateError(ValueError):
    """The quality gate held back the bundle of at least one device."""


@flow(name="release", persist_result=False)
def release_flow(
    devices: list[str], jobs: int, stages: list[str] | None = None, verbose: bool = False
) -> Report:
    """Run what is stale.

    Scheduled runs check the params themselves and end with the summary in their log; the command
    line does both around the flow, and hands in the stages it found.

    Args:
        devices: only what these devices need; empty: everything.
        jobs: how many stages may run at once.
        stages: names of the stages to run if the caller has them already; None: find them.
        verbose: print all that the stages print.

    Raises:
        RunFailedError: a stage failed; independent stages were still brought to their end,
            unless it was a `first` one, after which nothing more is started.
        PreflightError: a scheduled run found params that cannot work.
        GateError: a scheduled run's bundles are held back.
    """
    workspace = Workspace(find_root(Path.cwd()))
    if interrupts.armed():
        interrupts.arm()  # Prefect has just taken SIGTERM for itself
    else:
        _end_with(os.getppid())  # Prefect's runner, which may be killed
    with workspace.held() as lock:
        clear_rwlock(workspace.root)
        plan: Plan | None = None
        if stages is None:
            preflight(workspace.root)
            plan = make_plan(workspace.root, devices)
            stages = list(plan.stale)
        # DVC's status takes seconds: who hands the stages in has asked it already.
        graph = plan.graph if plan else read_graph(workspace.root)
        keep_lock(workspace.root)
        with choose_view(Console(), verbose) as view:
            report = _run(Schedule(graph, stages, jobs), graph, workspace, lock, view)
    if "failed" in report.outcomes.values():
        raise RunFailedError(report)
    if plan is not None:
        summaries = read_summaries(workspace.root, graph, plan.devices)
        attest(workspace.root, summaries, read_params(workspace.root)["bundle"].signing_key)
        print_summary(Console(), summaries)
        if held := held_back(summaries):
            raise GateError(f"the quality gate held back: {', '.join(held)}.")
    return report


class _Logs:
    """Hands every line of a stage to the view and to the log of its task.

    Args:
        view: what the user sees.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self.tasks: dict[str, logging.Logger | logging.LoggerAdapter[logging.Logger]] = {}

    def line(self, stage: Stage, text: str) -> None:
        """Hand on one line."""
        self._view.line(stage, text)
        if text:
            self.tasks[stage.name].info("%s", text)


def _run(schedule: Schedule, graph: Graph, workspace: Workspace, lock: int, view: View) -> Report:
    """Start what the schedule allows, wait for any stage to end, and so on."""
    report, logs = Report(schedule.outcomes), _Logs(view)
    processes = StageProcesses(workspace.root, workspace.logs, logs.line, inherited=(lock,))
    began: dict[str, float] = {}
    ran: dict[str, Outcome] = {}
    ended: queue.SimpleQueue[str] = queue.SimpleQueue()

    @task(task_run_name="{name}", cache_policy=NO_CACHE, persist_result=False)
    def run_stage(name: str) -> None:
        logs.tasks[name] = get_run_logger()
        try:
            ran[name] = processes.run(graph[name])
        except Exception as error:
            report.messages[name] = str(error) or repr(error)
            raise

    def start(stage: Stage) -> None:
        began[stage.name] = time.monotonic()
        view.started(stage)
        future = run_stage.with_options(retries=stage.meta.retries).submit(stage.name)
        future.add_done_callback(lambda _: ended.put(stage.name))

    try:
        while not schedule.complete:
            while (stage := schedule.next()) is not None:
                start(stage)
            workspace.write_states(schedule.states(stage.name for stage in graph))
            name = ended.get()
            outcome = ran.get(name, "failed")
            schedule.finish(name, outcome)
            if outcome == "failed" and graph[name].meta.first:
                schedule.abandon()  # it is there to stop a run before anything is trained
            message = report.messages.get(name, "") if outcome == "failed" else ""
            view.ended(graph[name], outcome, time.monotonic() - began[name], message)
    except BaseException:
        processes.stop()  # Ctrl-C: no stage outlives the run
        raise
    finally:
        workspace.record.unlink(missing_ok=True)
    return report


def _end_with(parent: int) -> None:
    """Kill this process when the one that started it is gone; its stages end with it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
