"""Repeated latency measurement of a device, on request."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from devices.latency.budgets import read_latency_table
from pipelines.graph import Stage
from pipelines.plan import Plan
from pipelines.run.process import StageFailedError, StageProcesses
from pipelines.run.view import View, choose_view
from pipelines.tables import print_table
from pipelines.workspace import Workspace


def remeasure(console: Console, root: Path, plan: Plan, device: str, force: bool = True) -> None:
    """Bring the upstreams up to date, measure, and print the error of the latency model.

    A failed measurement leaves the previous table in place.

    Args:
        console: output console.
        root: the repository.
        plan: the stale stages.
        device: the device to measure.
        force: measure even if its table is up to date.

    Raises:
        StageFailedError: a stage failed, or the measurement was rejected.
    """
    target = f"profile@{device}"
    table = root / plan.graph[target].outs[0]
    bring_up_to_date(console, root, plan, target, kept=table, force=force)
    print_model_error(console, table)


def bring_up_to_date(
    console: Console,
    root: Path,
    plan: Plan,
    target: str,
    kept: Path | None = None,
    force: bool = False,
) -> None:
    """Run one stage and its upstreams, where stale.

    Args:
        console: output console.
        root: the repository.
        plan: the stale stages.
        target: the stage's name.
        kept: a folder that is restored if a stage fails.
        force: run the target even if it is up to date.

    Raises:
        StageFailedError: a stage failed.
    """
    needed = plan.graph.with_ancestors([target])
    wanted = [s for s in plan.graph if s.name in needed and s.name in plan.stale]
    if force and target not in plan.stale:
        wanted.append(plan.graph[target])
    if not wanted:
        return
    workspace = Workspace(root)
    with (
        workspace.ensure_lock() as lock,
        choose_view(console, verbose=False) as view,
        restore_on_error(kept, workspace.folder),
    ):
        processes = StageProcesses(root, workspace.logs, view.line, inherited=(lock,))
        try:
            for stage in wanted:
                _run(processes, view, stage, force=force and stage.name == target)
        except BaseException:
            processes.stop()
            raise


@contextmanager
def restore_on_error(folder: Path | None, workspace: Path) -> Iterator[None]:
    """Restore a folder if the block raises.

    DVC removes a stage's outputs before it runs the stage.

    Args:
        folder: the folder; it need not exist, and None restores nothing.
        workspace: folder for the temporary copy.
    """
    if folder is None or not folder.exists():
        yield
        return
    with tempfile.TemporaryDirectory(dir=workspace, prefix="kept-") as name:
        copy = Path(name) / folder.name
        shutil.copytree(folder, copy)
        try:
            yield
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(copy, folder)
            raise


def print_model_error(console: Console, folder: Path) -> None:
    """Print the latency model's error on held-out networks."""
    table = read_latency_table(folder)
    if not table.measured:
        console.print(f"{table.device}: not measured on this machine.", highlight=False)
        return
    if not table.error:
        console.print(f"{table.device}: no whole network was measured; the error is unknown.")
        return
    report = Table(title=f"{table.device}: the latency model on held-out networks")
    for heading in ("precision", "model", "networks", "mean error", "within 5%", "within 10%"):
        left = heading in {"precision", "model"}
        report.add_column(heading, justify="left" if left else "right")
    for precision, error in table.error.items():
        report.add_row(
            precision,
            "sum of blocks" if table.additive(precision) else "regression",
            str(len(error.pairs)),
            f"{error.mean:.1%}",
            f"{error.within_5:.0%}",
            f"{error.within_10:.0%}",
        )
    print_table(console, report)


def _run(processes: StageProcesses, view: View, stage: Stage, force: bool) -> None:
    began = time.monotonic()
    view.started(stage)
    try:
        outcome = processes.run(stage, force)
    except StageFailedError as error:
        view.ended(stage, "failed", time.monotonic() - began, str(error))
        raise
    view.ended(stage, outcome, time.monotonic() - began, "")
