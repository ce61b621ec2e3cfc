"""`netwright report`: one page about the whole release."""

from __future__ import annotations

from pipelines.cli.common import FAILED, Failure, enter_repository
from pipelines.workspace import Workspace


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
