"""Prefect's history: adds the runs of the command line, and marks killed runs as crashed.

`netwright run` starts no Prefect server, which would cost more time than many runs. It leaves a
record in `.netwright/history/`, which the next `netwright serve` adds to the history.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pipelines.workspace import Workspace

if TYPE_CHECKING:
    from prefect.server.schemas.states import State

FLOW = "release"
_STATES = {"ran": "COMPLETED", "fresh": "COMPLETED", "failed": "FAILED", "running": "CRASHED"}
"""Prefect's state of each outcome; a stage that runs at the end of its run was killed."""


def mark_crashed(workspace: Workspace) -> None:
    """Mark killed runs that Prefect had recorded as crashed, on the configured server."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound
    from prefect.states import Crashed

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
