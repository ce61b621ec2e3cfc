"""The Prefect flow: every stale stage as a task, after its upstreams.

The graph comes from DVC. `Schedule` decides which stage starts next, Prefect runs and retries the
tasks and keeps their history, and DVC runs the stage.
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

from pipelines.checks.params import read_params
from pipelines.checks.preflight import preflight
from pipelines.graph import Graph, Stage, find_root, read_graph
from pipelines.plan import Plan, make_plan
from pipelines.repair import back_up_lock, clear_rwlock
from pipelines.report.provenance import attest
from pipelines.report.summary import held_back, print_summary, read_summaries
from pipelines.run import interrupts
from pipelines.run.process import StageProcesses
from pipelines.run.schedule import Outcome, Schedule
from pipelines.run.view import View, choose_view
from pipelines.workspace import Workspace


@dataclass
class Report:
    """How every stage of a run ended."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    messages: dict[str, str] = field(default_factory=dict)
    """Error messages of the failed stages."""


class RunFailedError(ValueError):
    """At least one stage failed."""

    def __init__(self, report: Report) -> None:
        self.report = report
        failed = [name for name, outcome in report.outcomes.items() if outcome == "failed"]
        lost = sum(outcome == "not started" for outcome in report.outcomes.values())
        default = "it could not be run, for an unknown reason."
        what = "\n".join(f"{name}: {report.messages.get(name, default)}" for name in failed)
        after = f"\n{lost} stages were not started." if lost else ""
        super().__init__(f"{what}{after}")


class GateError(ValueError):
    """The quality gate held back the bundle of at least one device."""


@flow(name="release", persist_result=False)
def release_flow(
    devices: list[str], jobs: int, stages: list[str] | None = None, verbose: bool = False
) -> Report:
    """Run the stale stages.

    Scheduled runs also check the params and log the summary; the command line does both around
    the flow, and passes the stages.

    Args:
        devices: run only the stages that these devices need; empty: all stages.
        jobs: largest number of parallel stages.
        stages: names of the stages to run; None: find the stale ones.
        verbose: print all output of the stages.

    Raises:
        RunFailedError: a stage failed; independent stages were still run, unless it was a
            `first` one, after which no stage is started.
        PreflightError: a scheduled run found invalid params.
        GateError: a scheduled run's bundles are held back.
    """
    workspace = Workspace(find_root(Path.cwd()))
    if interrupts.handlers_installed():
        interrupts.install_handlers()  # Prefect has replaced the SIGTERM handler
    else:
        _exit_with_parent(os.getppid())  # Prefect's runner, which may be killed
    with workspace.ensure_lock() as lock:
        clear_rwlock(workspace.root)
        plan: Plan | None = None
        if stages is None:
            preflight(workspace.root)
            plan = make_plan(workspace.root, devices)
            stages = list(plan.stale)
        # DVC's status takes seconds, and is not repeated for a caller that passes the stages.
        graph = plan.graph if plan else read_graph(workspace.root)
        back_up_lock(workspace.root)
        with choose_view(Console(), verbose) as view:
            report = _run(Schedule(graph, stages, jobs), graph, workspace, lock, view)
    if "failed" in report.outcomes.values():
        raise RunFailedError(report)
    if plan is not None:
        summaries = read_summaries(workspace.root, graph, plan.devices)
        attest(workspace.root, summaries, read_params(workspace.root)["roots"].signing_key)
        print_summary(Console(), summaries)
        if held := held_back(summaries):
            raise GateError(f"the quality gate held back: {', '.join(held)}.")
    return report


class _Logs:
    """Passes every output line of a stage to the view and to the log of its task.

    Args:
        view: display of the run.
    """

    def __init__(self, view: View) -> None:
        self._view = view
        self.tasks: dict[str, logging.Logger | logging.LoggerAdapter[logging.Logger]] = {}

    def line(self, stage: Stage, text: str) -> None:
        """Pass one line on."""
        self._view.line(stage, text)
        if text:
            self.tasks[stage.name].info("%s", text)


def _run(schedule: Schedule, graph: Graph, workspace: Workspace, lock: int, view: View) -> Report:
    """Start the stages that the schedule allows, wait for any to end, and repeat."""
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
                schedule.abandon()  # `first` stages stop a run before any training
            message = report.messages.get(name, "") if outcome == "failed" else ""
            view.ended(graph[name], outcome, time.monotonic() - began[name], message)
    except BaseException:
        processes.stop()  # after Ctrl-C no stage may outlive the run
        raise
    finally:
        workspace.run_record.unlink(missing_ok=True)
    return report


def _exit_with_parent(parent: int) -> None:
    """Kill this process, and with it its stages, when its parent has ended."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
