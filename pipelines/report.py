"""`report.html`: the whole release on one page that needs nothing else, pictures included.

Everything on it stands in some stage's files; the page computes nothing. The same files give the
same bytes. DVC is told to overlook it, as it overlooks the provenance records that it quotes.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from models.ranking import SCHEMA as CERTIFICATE
from pipelines.attest import SCHEMA as PROVENANCE
from pipelines.attest import SUFFIX
from pipelines.graph import Graph
from pipelines.plan import GATE, REPORT
from pipelines.summary import read_summaries, verdict_of
from stages.bundle.read import read_bundle
from stages.common.files import read_json, write_bytes
from stages.common.schemas import FLEET, LATENCY

TEMPLATE = Path(__file__).with_name("report.html.jinja")


class ReportError(ValueError):
    """There is nothing to report yet; the message says what to do."""


def write_report(root: Path, graph: Graph, stale: Sequence[str] = ()) -> Path:
    """Write the page beside the release's index.

    Args:
        root: the repository.
        graph: its stages, whose outputs are read.
        stale: stages that would run, of which the page warns.

    Returns:
        The page's path.

    Raises:
        ReportError: there is no finished release.
        BundleError: a bundle is damaged.
    """
    folder = root / graph[GATE].outs[0]
    summaries = read_summaries(root, graph, graph.devices)
    if not (folder / "release.json").is_file() or not summaries:
        raise ReportError("there is no release to report on. Make one first: netwright run.")
    page = render(
        devices={name: _device(root, graph, name, row) for name, row in summaries.items()},
        missing=[name for name in graph.devices if name not in summaries],
        pareto=picture(folder / "pareto.png"),
        fleet=_fleet(root / graph["fleet"].outs[0]),
        stale=list(stale),
    )
    write_bytes(folder / REPORT, page.encode())
    return folder / REPORT


def render(**content: Any) -> str:
    """The page; every value is escaped."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "number": number, "percent": percent, "interval": interval, "verdict": verdict_of
    }  # fmt: skip
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(**content)


def number(value: float | None, digits: int = 3) -> str:
    """A number with so many decimals; a dash for what nobody measured."""
    return "-" if value is None else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """A signed share, such as an error."""
    return "-" if value is None else f"{value:+.1%}"


def interval(ends: Sequence[float] | None, digits: int = 3) -> str:
    """An interval with so many decimals; a dash where there is none."""
    return "-" if ends is None else f"{ends[0]:.{digits}f} to {ends[1]:.{digits}f}"


def picture(file: Path) -> str | None:
    """A picture as the address of an `img`; None where no stage drew one."""
    if not file.is_file():
        return None
    return f"data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}"


def _fleet(folder: Path) -> dict[str, Any] | None:
    """What the devices have in common; None before the stage has run."""
    file = folder / "fleet.json"
    if not file.is_file():
        return None
    found = read_json(file, FLEET)
    known = {row["architecture_id"]: row for row in found["networks"]}
    return found | {"known": known, "picture": picture(folder / "fleet.png")}


def _device(root: Path, graph: Graph, name: str, summary: Mapping[str, Any]) -> dict[str, Any]:
    """What the page says of one device; None for what its stages did not write."""

    def out(stage: str) -> Path:
        return root / graph[f"{stage}@{name}"].outs[0]

    archive = root / summary["bundle"]
    record = archive.with_name(archive.name + SUFFIX)
    return {
        "summary": summary,
        "manifest": read_bundle(archive).manifest.model_dump(mode="json", by_alias=True),
        "certificate": read_json(out("rank") / "certificate.json", CERTIFICATE),
        "latency": {
            "largest_ms": None,  # in a profile made before these were there
            "largest_interval": None,
            **read_json(out("profile") / "latency.json", LATENCY),
        },
        "provenance": read_json(record, PROVENANCE) if record.is_file() else None,
        "pictures": {
            "What was searched": picture(out("search") / "search.png"),
            "What the search's own predictor goes by": picture(out("search") / "predictor.png"),
            "What the ranking's predictor goes by": picture(out("rank") / "predictor.png"),
            "The latency model against measurements": picture(out("profile") / "latency.png"),
        },
    }
