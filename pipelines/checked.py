"""The plan of a run whose params have passed every check, repeating none that tells nothing new."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from pipelines.attest import SUFFIX
from pipelines.graph import PARAMS, Graph, GraphError
from pipelines.mending import LOCK, read_mapping
from pipelines.plan import GATE, REPORT, Plan, make_plan
from pipelines.summary import Summaries
from pipelines.workspace import Workspace
from stages.common.files import fingerprint, sha256_file, write_bytes
from stages.common.params import bind

T = TypeVar("T")


def checked_plan(root: Path) -> Plan:
    """What a run of everything would do, once all that can be checked before it is.

    Where DVC finds every stage up to date and params.yaml is, byte for byte, the one that passed
    last time, no check is repeated: nothing will run, and what the checks read has not changed.
    They import the runtimes and take seconds.

    Raises:
        PreflightError: something cannot work.
        ParamsError: the params file cannot be read at all.
    """
    passed, file = Workspace(root).folder / "passed.sha256", root / PARAMS
    digest = sha256_file(file).encode() if file.is_file() else b""
    if passed.is_file() and passed.read_bytes() == digest:
        plan = _plan_or_none(root)
        if plan is not None and not plan.stale:
            return plan
    from pipelines.preflight import preflight

    plan = preflight(root)
    write_bytes(passed, digest)
    return plan


def section(root: Path, name: str, kind: type[T]) -> T:
    """One section of the params, without the imports that all of them need.

    Raises:
        ParamsError: the section cannot be read.
    """
    return bind(read_mapping(root / PARAMS).get(name), name, kind)


def current_report(root: Path, graph: Graph, summaries: Summaries) -> Path:
    """The report, written anew unless all that stands on it is what it was.

    Args:
        root: the repository, of which every stage is up to date.
        graph: its stages.
        summaries: each device's `bundle.json`.

    Raises:
        ReportError: there is no finished release.
        BundleError: a bundle is damaged.
    """
    page = root / graph[GATE].outs[0] / REPORT
    records = [root / (row["bundle"] + SUFFIX) for row in summaries.values()]
    code = sorted(Path(__file__).parent.glob("*.[pj]*"))
    inputs = fingerprint(root / LOCK, *records, *code)
    known = Workspace(root).folder / "report.sha256"
    if not (page.is_file() and known.is_file() and known.read_text() == inputs):
        from pipelines.report import write_report

        page = write_report(root, graph)
        write_bytes(known, inputs.encode())
    return page


def _plan_or_none(root: Path) -> Plan | None:
    try:
        return make_plan(root)
    except GraphError:
        return None  # preflight names what is wrong better than DVC
