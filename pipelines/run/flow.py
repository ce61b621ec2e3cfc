"""The Prefect flow: scheduled runs, and runs that a server set by the user records.

The graph comes from DVC, and `Schedule` decides which stage starts next; Prefect triggers the runs,
and keeps their history with one task per stage.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run
from rich.console import Console

from pipelines.checks.params import read_params
from pipelines.checks.preflight import preflight
from pipelines.graph import find_root, read_graph
from pipelines.report.provenance import attest
from pipelines.report.summary import held_back, print_summary, read_summaries
from pipelines.run import interrupts
from pipelines.run.execute import run_stages
from pipelines.run.history import mark_crashed
from pipelines.workspace import Workspace


class GateError(ValueError):
    """The quality gate held back the bundle of at least one device."""


@flow(name="release", persist_result=False)
def release_flow(jobs: int, stages: list[str] | None = None, verbose: bool = False) -> None:
    """Run stages, at most `jobs` at once.

    The command line passes them. Without, in a scheduled run, the params are checked, the stale
    stages run and the summary is logged.

    Raises:
        RunFailedError: a stage failed.
        ParamsError: a scheduled run found invalid params.
        GateError: a scheduled run's bundles are held back.
    """
    workspace = Workspace(find_root(Path.cwd()))
    if interrupts.handlers_installed():
        interrupts.install_handlers()  # Prefect has replaced the SIGTERM handler
    else:
        _exit_with_parent(os.getppid())  # Prefect's runner, which may be killed
    with workspace.ensure_lock():
        mark_crashed(workspace)
        if stages is not None:
            graph = read_graph(workspace.root)
        else:
            plan = preflight(workspace.root)
            graph = plan.graph
        run_stages(
            workspace,
            graph,
            list(plan.stale) if stages is None else stages,
            jobs,
            verbose,
            submit=lambda name, work: _run_stage.submit(name, work),
            on_line=lambda text: get_run_logger().info("%s", text),
            flow_run=flow_run.id,
        )
        if stages is None:
            summaries = read_summaries(workspace.root, graph, graph.devices)
            attest(workspace.root, summaries, read_params(workspace.root)["roots"].signing_key)
            print_summary(Console(), summaries)
            if held := held_back(summaries):
                raise GateError(f"the quality gate held back: {', '.join(held)}.")


@task(task_run_name="{name}", cache_policy=NO_CACHE, persist_result=False)
def _run_stage(name: str, work: Callable[[], None]) -> None:
    work()


def _exit_with_parent(parent: int) -> None:
    """Kill this process, and with it its stages, when its parent has ended."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
