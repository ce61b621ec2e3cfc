"""The report's part on a device's metrics, mistakes and learning curves."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from PIL import Image

from core.files import read_json
from data.dataset import read_split
from devices.measure.delivered import ExportResult
from models.quality.record import SHOWN_THRESHOLDS, Bin, Quality
from models.training.history import History
from pipelines.report.charts import line_chart

LARGEST_MATRIX = 20
"""Classes up to which the whole confusion matrix is shown; above it the most frequent errors."""
PAIRS = 20
LEAST_PIXELS = 96
"""Smaller images are enlarged by a whole factor to at least this."""


@dataclass(frozen=True)
class Cell:
    """A cell of the confusion matrix: images, their share of the row, and whether it is right."""

    images: int
    share: float
    right: bool


def quality_content(quality: Quality, export: Path, data: Path | None) -> dict[str, Any]:
    """The page's content about one device's metrics; `export` and `data` are stage outputs.

    Without `data`, because it is not what the bundle was made from, no mistakes are shown.
    """
    return {
        "quality": quality,
        "matrix": confusion_rows(quality),
        "pairs": quality.confused(PAIRS),
        "answers": [row for row in quality.answers if row.threshold in SHOWN_THRESHOLDS],
        "reliability": reliability_chart(quality.bins),
        "mistakes": [] if data is None else mistakes(export, data),
    }


def confusion_rows(quality: Quality) -> list[tuple[str, list[Cell]]] | None:
    """The confusion matrix, a row per true class; None with too many classes for a table."""
    labels = [row.label for row in quality.classes]
    if len(labels) > LARGEST_MATRIX:
        return None
    rows = []
    for row in quality.classes:
        counts = quality.confusion[row.label]
        cells = [
            Cell(counts.get(name, 0), counts.get(name, 0) / max(1, row.images), name == row.label)
            for name in labels
        ]
        rows.append((row.label, cells))
    return rows


def reliability_chart(bins: Sequence[Bin]) -> Markup | None:
    """Accuracy over confidence, of the bins with images."""
    points = [
        (row.confidence, row.accuracy)
        for row in bins
        if row.confidence is not None and row.accuracy is not None
    ]
    return line_chart("Reliability", {"": points}, ("confidence", "right"), (1.0, 1.0), True)


def mistakes(export: Path, data: Path) -> list[tuple[str, str, float, str]]:
    """Wrong answers on validation images: true class, answer, confidence, picture."""
    val = read_split(data, "val")
    return [
        (row.true, row.predicted, row.confidence, picture(val.images_NHWC[row.index]))
        for row in ExportResult.read(export).mistakes
    ]


def picture(image_HWC: npt.NDArray[np.uint8]) -> str:
    """An image as the data URI of an `img`."""
    factor = -(-LEAST_PIXELS // max(image_HWC.shape[:2]))
    pixels = np.ascontiguousarray(np.kron(image_HWC, np.ones((factor, factor, 1), np.uint8)))
    shown, buffer = pixels[..., 0] if pixels.shape[-1] == 1 else pixels, io.BytesIO()
    Image.fromarray(shown).save(buffer, format="PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def learning_curves(title: str, folder: Path) -> list[Markup]:
    """Loss and accuracy of a training by step, from its `history.json`; none if it had no step."""
    file = folder / History.FILE
    rows = read_json(file, History.SCHEMA)["steps"] if file.is_file() else []
    charts = []
    for name, top in (("loss", None), ("accuracy", 1.0)):
        points = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
        chart = line_chart(f"{title}: {name}", {name: points}, ("step", name), (None, top))
        charts += [] if chart is None else [chart]
    return charts
