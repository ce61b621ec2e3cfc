"""The commands that run stages: run, once, and serve, on a schedule."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from pipelines.cli.common import FAILED, HELD_BACK, Failure, enter_repository
from pipelines.environment import SERVER
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    from pipelines.graph import Graph
    from pipelines.plan import Plan
    from pipelines.report.summary import Summaries

Jobs = Annotated[
    int | None,
    typer.Option("--jobs", min=1, help="Parallel stages. Default: CPU cores / threads."),
]


def run(
    device: Annotated[
        list[str] | None,
        typer.Option("--device", metavar="NAME", help="Run only this device's stages; repeatable."),
    ] = None,
    jobs: Jobs = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="Show all output of the stages.")
    ] = False,
    strict_latency: Annotated[
        bool,
        typer.Option(
            "--strict-latency",
            help="Exit with code 3 if a latency budget lies within the confidence interval of the "
            "measurement, or if an interval is wider than export.max_interval.",
        ),
    ] = False,
) -> None:
    """Run all stale stages, then show the summary."""
    root = enter_repository()
    with Workspace(root).lock():
        from pipelines.checks.incremental import make_checked_plan
        from pipelines.plan import restrict_to_devices

        plan = restrict_to_devices(make_checked_plan(root), device or [])
        if plan.stale:
            _warn(root)
            run_stale(root, plan.graph, list(plan.stale), jobs or _default_jobs(root), verbose)
        else:
            Console().print("Everything is fresh: no stage had to run.")
        summaries = _conclude(root, plan, whole=not device)
        _check_gate(root, summaries, strict_latency)


def serve(
    cron: Annotated[str, typer.Option("--cron", help='When to run, such as "0 3 * * 1".')],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the local server.")] = 4200,
    jobs: Jobs = None,
) -> None:
    """Retrain on a cron schedule, with a local Prefect server and its web UI."""
    from pipelines.checks.preflight import preflight
    from pipelines.run.server import check_cron, serve_schedule

    root = enter_repository()
    schedule = check_cron(cron)
    preflight(root)
    serve_schedule(Console(), root, schedule, port, jobs or _default_jobs(root))


def run_stale(root: Path, graph: Graph, stages: Sequence[str], jobs: int, verbose: bool) -> None:
    """Run stages, as a Prefect flow where the user has set a server; Failure if one fails."""
    from pipelines.run.execute import RunFailedError, run_stages
    from pipelines.run.server import ApiError, check_user_server

    workspace = Workspace(root)
    try:
        if SERVER not in os.environ:
            run_stages(workspace, graph, stages, jobs, verbose)
            return
        workspace.configure_prefect(os.environ, "WARNING" if verbose else "CRITICAL")
        check_user_server(workspace.logs / "server.log")
        from pipelines.run.flow import release_flow

        release_flow(jobs, list(stages), verbose)
    except (ApiError, RunFailedError) as error:
        raise Failure(FAILED, str(error)) from error


def _default_jobs(root: Path) -> int:
    """The number of stages whose threads fit the CPU cores; at least one."""
    from core.system import core_count
    from pipelines.checks.roots import read_roots

    return max(1, core_count() // read_roots(root).threads)


def _warn(root: Path) -> None:
    """Print warnings about the params."""
    from pipelines.checks.params import read_params
    from pipelines.checks.targets import thread_warnings

    _print_notes(thread_warnings(read_params(root)))


def _conclude(root: Path, plan: Plan, whole: bool) -> Summaries:
    """Attest the bundles, print the summary, and write the report of a `whole` run."""
    from bundles.archive import BundleError
    from pipelines.checks.incremental import update_report
    from pipelines.checks.outputs import leftover_notes
    from pipelines.checks.roots import read_roots
    from pipelines.report.provenance import attest
    from pipelines.report.summary import print_summary, read_summaries

    summaries = read_summaries(root, plan.graph, plan.devices)
    try:
        attest(root, summaries, read_roots(root).signing_key)
    except BundleError as error:
        raise Failure(FAILED, str(error)) from error
    print_summary(Console(), summaries)
    _print_notes(leftover_notes(root, plan.graph))
    if whole:  # with some devices only, the release may not be up to date
        page = update_report(root, plan.graph, summaries)
        Console().print(f"report: {page.relative_to(root)}")
    return summaries


def _check_gate(root: Path, summaries: Summaries, strict: bool) -> None:
    """Raise Failure if a bundle is held back; if `strict`, also by the interval of its latency."""
    from core.settings import read_section
    from devices.measure.settings import ExportParams
    from pipelines.graph import PARAMS
    from pipelines.report.summary import find_imprecise, held_back

    if held := held_back(summaries):
        raise Failure(HELD_BACK, f"the quality gate held back: {', '.join(held)}.")
    if strict:
        widest = read_section(root / PARAMS, "export", ExportParams).max_interval
        if found := find_imprecise(summaries, widest):
            lines = "\n".join(f"{name}: {reason}" for name, reason in found.items())
            raise Failure(HELD_BACK, f"--strict-latency holds back:\n{lines}")


def _print_notes(notes: Iterable[str]) -> None:
    for note in notes:
        Console().print(note, style="yellow", highlight=False, markup=False, soft_wrap=True)
