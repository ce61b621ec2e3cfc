"""Cached preflight checks and report: they run again only when their inputs have changed."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from core.files import fingerprint, sha256_file, write_bytes
from pipelines.graph import PARAMS, Graph, GraphError
from pipelines.plan import GATE, REPORT, Plan, make_plan
from pipelines.repair import LOCK
from pipelines.report.provenance import SUFFIX
from pipelines.report.summary import Summaries
from pipelines.workspace import Workspace


def make_checked_plan(root: Path) -> Plan:
    """Run the preflight checks, and return the plan of a full run.

    The checks import the runtimes and take seconds. They are skipped if DVC finds every stage up
    to date and params.yaml is byte for byte the one that passed last time.
    """
    passed, file = Workspace(root).folder / "passed.sha256", root / PARAMS
    digest = sha256_file(file).encode() if file.is_file() else b""
    if passed.is_file() and passed.read_bytes() == digest:
        with suppress(GraphError):  # preflight has better messages than DVC
            plan = make_plan(root)
            if not plan.stale:
                return plan
    from pipelines.checks.preflight import preflight

    plan = preflight(root)
    write_bytes(passed, digest)
    return plan


def update_report(root: Path, graph: Graph, summaries: Summaries) -> Path:
    """Write the report again if one of its inputs has changed; returns its path.

    Every stage must be up to date. Raises as `write_report`.
    """
    page = root / graph[GATE].outs[0] / REPORT
    records = [root / (row.bundle + SUFFIX) for row in summaries.values()]
    # Not the byte code, which Python writes when it first imports the report.
    files = Path(__file__).parents[1].rglob("*")
    code = sorted(file for file in files if file.suffix in {".py", ".jinja"})
    inputs = fingerprint(root / LOCK, *records, *code)
    known = Workspace(root).folder / "report.sha256"
    if not (page.is_file() and known.is_file() and known.read_text() == inputs):
        from pipelines.report.report import write_report

        page = write_report(root, graph)
        write_bytes(known, inputs.encode())
    return page
