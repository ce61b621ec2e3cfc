"""The Prefect flow: scheduled runs, and runs that a server set by the user records; the history.

`Schedule` decides which stage starts next; Prefect triggers the runs, and keeps their history with
one task per stage. `netwright run` starts no server, which would cost more time than many runs: it
leaves a record in `.netwright/history/`, which the next `netwright serve` adds to the history.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run
from prefect.states import Crashed
from rich.console import Console

from pipelines.checks.params import read_params
from pipelines.checks.preflight import preflight
from pipelines.graph import find_root, read_graph
from pipelines.report.provenance import attest
from pipelines.report.summary import held_back, print_summary, read_summaries
from pipelines.run import interrupts
from pipelines.run.execute import run_stages
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    from prefect.server.schemas.states import State

FLOW = "release"
_STATES = {"ran": "COMPLETED", "fresh": "COMPLETED", "failed": "FAILED", "running": "CRASHED"}
"""Prefect's state of each outcome; a stage that runs at the end of its run was killed."""


class GateError(ValueError):
    """The quality gate held back the bundle of at least one device."""


@flow(name=FLOW, persist_result=False)
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


def mark_crashed(workspace: Workspace) -> None:
    """Mark killed runs that Prefect had recorded as crashed, on the configured server."""
    killed = {f: r["flow_run"] for f, r in workspace.past_records().items() if r["flow_run"]}
    with get_client(sync_client=True) as client:
        for file, name in killed.items():
            with suppress(ObjectNotFound):  # it was recorded by another server
                crashed: Any = Crashed(message="The run was killed.")
                client.set_flow_run_state(UUID(name), crashed, force=True)
            file.unlink()


def import_history(workspace: Workspace) -> None:
    """Add the recorded runs of the command line to the local server's history.

    Prefect's API does not accept times of the past, so its database, which the server has created,
    is written by Prefect's own functions.
    """
    for file, record in workspace.past_records().items():
        if record["flow_run"] is None:
            ended = record["ended"] or file.stat().st_mtime  # a killed run wrote no end
            asyncio.run(_add(file.stem, record, ended))
            file.unlink()


async def _add(name: str, record: dict[str, Any], ended: float) -> None:
    from prefect.server import models as untyped
    from prefect.server.database import provide_database_interface
    from prefect.server.schemas.core import Flow, FlowRun, TaskRun

    models: Any = untyped
    stages = {n: s for n, s in record["stages"].items() if "began" in s}
    async with provide_database_interface().session_context(begin_transaction=True) as session:
        flow = await models.flows.create_flow(session=session, flow=Flow(name=FLOW))
        run = await models.flow_runs.create_flow_run(
            session=session,
            flow_run=FlowRun(flow_id=flow.id, name=name, state=_state("RUNNING", record["began"])),
        )
        for stage, found in stages.items():
            begun = TaskRun(
                flow_run_id=run.id,
                task_key=stage,
                dynamic_key=stage,
                name=stage,
                state=_state("RUNNING", found["began"]),
            )
            entry = await models.task_runs.create_task_run(session=session, task_run=begun)
            await models.task_runs.set_task_run_state(
                session=session,
                task_run_id=entry.id,
                state=_state(_STATES[found["state"]], found.get("ended", ended)),
                force=True,
            )
        await models.flow_runs.set_flow_run_state(
            session=session, flow_run_id=run.id, state=_state(_result(record), ended), force=True
        )


def _result(record: dict[str, Any]) -> str:
    """Prefect's state of a run at its end."""
    states = {stage["state"] for stage in record["stages"].values()}
    if record["ended"] is None:
        return "CRASHED"
    if "failed" in states:
        return "FAILED"
    return "CANCELLED" if states & {"running", "waiting"} else "COMPLETED"


def _state(kind: str, seconds: float) -> State:
    from prefect.server.schemas.states import State, StateType

    return State(type=StateType(kind), timestamp=datetime.fromtimestamp(seconds, UTC))
