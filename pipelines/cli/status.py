"""`netwright status`: the state of each stage, and why stale ones would run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.cli.common import enter_repository
from pipelines.tables import print_table
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    from pipelines.plan import Plan


def status() -> None:
    """Show what is fresh, what would run, and why."""
    from pipelines.checks.paths import read_checked_params
    from pipelines.checks.targets import imported_problems, stale_tables
    from pipelines.leftovers import leftover_notes
    from pipelines.plan import make_plan

    root = enter_repository()
    workspace = Workspace(root)
    if (runner := workspace.running_pid()) is not None:
        print_running(Console(), runner, workspace.read_states())
        return
    devices, plan = read_checked_params(root)["devices"], make_plan(root)
    notes = [*imported_problems(root, devices), *stale_tables(root, devices, plan).values()]
    print_status(Console(), plan, [*notes, *leftover_notes(root, plan.graph)])


def print_status(console: Console, plan: Plan, notes: Iterable[str] = ()) -> None:
    """Print one row per stage, and the notes."""
    table = Table(box=None, pad_edge=False)
    table.add_column("stage", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("why", overflow="fold")
    for stage in plan.graph:
        if stage.name in plan.stale:
            state, why = "[yellow]would run[/]", escape("; ".join(plan.stale[stage.name]))
        else:
            state, why = "[green]fresh[/]", ""
        table.add_row(escape(stage.name), state, why)
    print_table(console, table)
    fresh = len(plan.graph) - len(plan.stale)
    console.print(f"{fresh} of {len(plan.graph)} stages are fresh.", highlight=False)
    for note in notes:
        console.print(escape(note), style="yellow", highlight=False)


def print_running(console: Console, runner: str, states: Mapping[str, str] | None) -> None:
    """Print the state of the current run.

    Args:
        console: output console.
        runner: PID of the run.
        states: state of every stage; None while the run still checks the params.
    """
    console.print(f"A run is active (process {runner}).", highlight=False)
    if states is None:
        console.print("It still checks which stages are stale.")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("stage", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for name, state in states.items():
        text = {"ran": "[green]done[/]", "fresh": "[green]fresh[/]", "failed": "[red]failed[/]"}
        table.add_row(escape(name), text.get(state, f"[yellow]{state}[/]"))
    console.print(table)
    running = [name for name, state in states.items() if state == "running"]
    console.print(escape(f"Running now: {', '.join(running) or 'nothing'}."), highlight=False)
