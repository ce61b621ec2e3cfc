"""The report's part on metrics, mistakes and learning curves."""

import base64
import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from core.files import write_json
from models.quality.evaluation import evaluate_quality
from pipelines.report.charts import HEIGHT, WIDTH, line_chart
from pipelines.report.quality import (
    LARGEST_MATRIX,
    confusion_rows,
    learning_curves,
    picture,
    reliability_chart,
)


def drawn(classes: int, images: int = 300):
    rng = np.random.default_rng(0)
    labels_N = rng.integers(classes, size=images)
    logits_NK = rng.normal(size=(images, classes))
    logits_NK[np.arange(images), labels_N] += 2
    names = tuple(f"class {k}" for k in range(classes))
    return evaluate_quality((logits_NK, labels_N), (logits_NK, labels_N), names)


def points_of(chart) -> list[list[tuple[float, float]]]:
    """The lines of a chart, as parsed XML."""
    lines = ElementTree.fromstring(chart).iter("polyline")
    return [[tuple(map(float, p.split(","))) for p in line.get("points").split()] for line in lines]


def test_the_matrix_has_every_image_once_and_marks_the_diagonal():
    quality = drawn(4)
    rows = confusion_rows(quality)
    assert [label for label, _ in rows] == [row.label for row in quality.classes]
    assert sum(cell.images for _, cells in rows for cell in cells) == quality.images
    right = sum(cell.images for _, cells in rows for cell in cells if cell.right)
    assert right / quality.images == pytest.approx(quality.accuracy, abs=1e-6)
    for _, cells in rows:
        assert sum(cell.share for cell in cells) == pytest.approx(1)


def test_many_classes_have_no_matrix():
    assert confusion_rows(drawn(LARGEST_MATRIX)) is not None
    assert confusion_rows(drawn(LARGEST_MATRIX + 1)) is None


def test_a_chart_is_well_formed_has_its_points_inside_and_escapes_its_names():
    series = {"<a>": [(0.0, 1.0), (50.0, 2.0)], "b": [(100.0, 4.0)]}
    chart = line_chart("one & two", series, ("step", "loss"))
    first, second = points_of(chart)
    assert len(first) == 2
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in (*first, *second))
    assert first[0][1] > first[1][1] > second[0][1], "larger values are higher"
    assert "<a>" not in chart
    assert line_chart("nothing", {"a": []}, ("x", "y")) is None


def test_reliability_starts_no_line_where_no_image_is():
    quality = drawn(3)
    _, line = points_of(reliability_chart(quality.bins))
    assert len(line) == sum(row.images > 0 for row in quality.bins)


@pytest.mark.parametrize("shape", [(8, 8, 1), (40, 30, 3), (200, 200, 3)])
def test_a_picture_shows_the_pixels_enlarged_by_a_whole_factor(shape):
    image_HWC = np.random.default_rng(0).integers(256, size=shape).astype(np.uint8)
    kind, content = picture(image_HWC).split(",")
    assert kind == "data:image/png;base64"
    found = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
    factor = found.shape[0] // shape[0]
    assert max(found.shape) >= 96
    assert np.array_equal(found[::factor, ::factor].reshape(shape), image_HWC)


def test_learning_curves_are_those_of_the_history(tmp_path):
    assert learning_curves("Training", tmp_path) == []
    rows = [{"step": step, "loss": 3 / step, "accuracy": step / 10} for step in range(1, 6)]
    write_json(tmp_path / "history.json", "netwright/history/1", {"steps": rows, "epochs": 1})
    loss, accuracy = learning_curves("Training", tmp_path)
    assert re.search(r"<title>Training: loss</title>", loss)
    ((*_, last),) = points_of(accuracy)
    ((first, *_),) = points_of(loss)
    assert len(points_of(loss)[0]) == 5
    assert first[1] < 20, "the largest loss is at the top"
    assert last[1] > HEIGHT / 3, "the axis of the accuracy ends at 1"
