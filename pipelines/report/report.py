"""`report.html`: the whole release on one self-contained page, made from files alone."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bundles.quality import read_quality
from bundles.read import read_bundle
from bundles.summary import BundleSummary
from core.files import read_json, sha256_file, write_bytes
from data.dataset import DatasetInfo
from devices.fleet.record import FleetRecord
from devices.latency.device_profile import DeviceProfile
from models.search.race.result import CERTIFICATES, RaceRecord
from models.search.rank.certificate import CertificateRecord
from pipelines.graph import Graph
from pipelines.plan import GATE, REPORT
from pipelines.report.labels import contradictions
from pipelines.report.provenance import SCHEMA as PROVENANCE
from pipelines.report.provenance import SUFFIX
from pipelines.report.quality import learning_curves, quality_content
from pipelines.report.summary import interval, number, read_summaries

TEMPLATE = Path(__file__).with_name("report.html.jinja")


class ReportError(ValueError):
    """There is no release to report on; the message has the fix."""


def write_report(root: Path, graph: Graph, stale: Sequence[str] = ()) -> Path:
    """Write the page, with a warning about `stale` stages, beside the release's index.

    Raises:
        ReportError: there is no finished release.
        BundleError: a bundle is damaged.
    """
    folder = root / graph[GATE].outs[0]
    summaries = read_summaries(root, graph, graph.devices)
    if not (folder / "release.json").is_file() or not summaries:
        raise ReportError("there is no release to report on. Build one first: netwright run.")
    fleet = root / graph["fleet"].outs[0]
    page = render(
        devices={name: _read_device(root, graph, name, row) for name, row in summaries.items()},
        missing=[name for name in graph.devices if name not in summaries],
        pareto=data_uri(folder / "pareto.png"),
        fleet=_read_fleet(fleet),
        fleet_picture=data_uri(fleet / "fleet.png"),
        rungs=RaceRecord.read(root / graph["race"].outs[0]).rungs,
        stale=list(stale),
        contradictions=contradictions(root / graph["prepare"].outs[0]),
        curves={
            title: learning_curves(title, root / graph[stage].outs[0])
            for title, stage in (("Supernet", "supernet"), ("Teacher", "teacher"))
        },
    )
    write_bytes(folder / REPORT, page.encode())
    return folder / REPORT


def render(**content: Any) -> str:
    """Render the page; every value is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATE.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "percent": percent, "interval": interval}
    return environment.get_template(TEMPLATE.name).render(**content)


def percent(value: float | None) -> str:
    """A signed percentage, such as an error."""
    return "-" if value is None else f"{value:+.1%}"


def data_uri(file: Path) -> str | None:
    """A PNG file as the data URI of an `img`; None if it does not exist."""
    if not file.is_file():
        return None
    return f"data:image/png;base64,{base64.b64encode(file.read_bytes()).decode()}"


def _read_fleet(folder: Path) -> FleetRecord | None:
    """The result of the stage `fleet`; None before it has run."""
    return FleetRecord.read(folder) if (folder / FleetRecord.FILE).is_file() else None


def _read_device(root: Path, graph: Graph, name: str, summary: BundleSummary) -> dict[str, Any]:
    """The page's content about one device; None for missing files."""

    def out(stage: str) -> Path:
        return root / graph[f"{stage}@{name}"].outs[0]

    archive, race = root / summary.bundle, root / graph["race"].outs[0]
    record = archive.with_name(archive.name + SUFFIX)
    bundle = read_bundle(archive)
    quality, data = read_quality(bundle), root / graph["prepare"].outs[0]
    # The pictures of mistakes are places in the arrays, which a later `prepare` may have replaced.
    prepared = data / DatasetInfo.FILE
    same = prepared.is_file() and (
        bundle.manifest.provenance.dataset_sha256 == sha256_file(prepared)
    )
    return {
        "summary": summary,
        "manifest": bundle.manifest,
        "quality": quality and quality_content(quality, out("export"), data if same else None),
        "curves": learning_curves("Training", out("train")),
        "certificate": CertificateRecord.read(race / CERTIFICATES / f"{name}.json"),
        "race": RaceRecord.read(race).devices[name],
        "profile": DeviceProfile.read(out("profile")),
        "provenance": read_json(record, PROVENANCE) if record.is_file() else None,
        "pictures": {
            "Race: rungs and costs": data_uri(race / f"{name}.png"),
            "Search history": data_uri(out("search") / "search.png"),
            "Features of the search's predictor": data_uri(out("search") / "predictor.png"),
            "Features of the ranking's predictor": data_uri(out("rank") / "predictor.png"),
            "Latency model: predicted and measured": data_uri(out("profile") / "latency.png"),
        },
    }
