"""The commands that only show something: status, params, space, report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from pipelines.cli.common import FAILED, Failure, enter_repository
from pipelines.tables import print_table
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    from pipelines.plan import Plan


def status() -> None:
    """Show what is fresh, what would run, and why."""
    from pipelines.checks.outputs import leftover_notes
    from pipelines.checks.paths import read_checked_params
    from pipelines.checks.targets import imported_problems, stale_tables
    from pipelines.plan import make_plan

    root = enter_repository()
    workspace = Workspace(root)
    if (runner := workspace.running_pid()) is not None:
        _print_running(Console(), runner, workspace.read_states())
        return
    devices, plan = read_checked_params(root)["devices"], make_plan(root)
    notes = [*imported_problems(root, devices), *stale_tables(root, devices, plan).values()]
    _print_status(Console(), plan, [*notes, *leftover_notes(root, plan.graph)])


def _print_status(console: Console, plan: Plan, notes: Iterable[str]) -> None:
    """Print one row per stage, and the notes."""
    table = Table("stage", "state", Column("why", overflow="fold"), box=None, pad_edge=False)
    for stage in plan.graph:
        why = plan.stale.get(stage.name)
        state = "[green]fresh[/]" if why is None else "[yellow]would run[/]"
        table.add_row(escape(stage.name), state, escape("; ".join(why or ())))
    print_table(console, table)
    fresh = len(plan.graph.stages) - len(plan.stale)
    console.print(f"{fresh} of {len(plan.graph.stages)} stages are fresh.", highlight=False)
    for note in notes:
        console.print(escape(note), style="yellow", highlight=False)


def _print_running(console: Console, runner: str, states: Mapping[str, str] | None) -> None:
    """Print the states of the run with this PID; None while it still checks the params."""
    console.print(f"A run is active (process {runner}).", highlight=False)
    if states is None:
        console.print("It still checks which stages are stale.")
        return
    table = Table("stage", "state", box=None, pad_edge=False)
    known = {"ran": "[green]done[/]", "fresh": "[green]fresh[/]", "failed": "[red]failed[/]"}
    for name, state in states.items():
        table.add_row(escape(name), known.get(state, f"[yellow]{state}[/]"))
    print_table(console, table)
    running = [name for name, state in states.items() if state == "running"]
    console.print(escape(f"Running now: {', '.join(running) or 'nothing'}."), highlight=False)


def params(
    section: Annotated[
        str | None, typer.Argument(metavar="[SECTION]", help="Only this section or root key.")
    ] = None,
    changed: Annotated[
        bool, typer.Option("--changed", help="Only settings that differ from their default.")
    ] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print docs/settings.md, without values.")
    ] = False,
) -> None:
    """Show every setting: its value, its default, its unit and meaning."""
    from pipelines.checks.params import read_params
    from pipelines.settings import print_settings, reference, settings_of

    if markdown:
        print(reference(), end="")
        return
    found = settings_of(read_params(enter_repository()), section)
    print_settings(Console(), [setting for setting in found if setting.changed or not changed])


def space(
    name: Annotated[str, typer.Argument(metavar="PRESET", help="A name, or a YAML file.")],
    size: Annotated[int | None, typer.Option(min=1, help="Height of the images, pixels.")] = None,
    channels: Annotated[int | None, typer.Option(min=1, help="Channels of the images.")] = None,
    classes: Annotated[int | None, typer.Option(min=2, help="Number of classes.")] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also draw it, as .png or .svg.")
    ] = None,
) -> None:
    """Show a search space: number of architectures, variables and cost ranges."""
    from core.files import write_new
    from pipelines.show.space_picture import check_picture, space_picture
    from pipelines.show.space_table import open_space, print_space

    if picture is not None:
        check_picture(picture)
    opened = open_space(name, size, channels, classes)
    print_space(Console(), opened)
    if picture is not None:
        write_new(picture, space_picture(opened, picture.suffix))


def report() -> None:
    """Write report.html, one page about the whole release, beside release.json."""
    from bundles.archive import BundleError
    from pipelines.checks.paths import read_checked_params
    from pipelines.graph import read_graph
    from pipelines.plan import make_plan
    from pipelines.report.report import ReportError, write_report

    root = enter_repository()
    workspace = Workspace(root)
    if workspace.running_pid() is None:
        read_checked_params(root)
        plan = make_plan(root)
        graph, stale = plan.graph, list(plan.stale)
    else:  # report the stages that the active run has not finished
        graph, states = read_graph(root), workspace.read_states() or {}
        stale = [name for name in graph.stages if states.get(name) not in {"ran", "fresh"}]
    try:
        print(write_report(root, graph, stale).relative_to(root))
    except (ReportError, BundleError) as error:
        raise Failure(FAILED, str(error)) from error
