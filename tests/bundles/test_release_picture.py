"""Label placement of the release plot for nearly equal devices."""

import random
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from bundles.picture.labels import overlaps
from bundles.picture.panel import Panel
from bundles.picture.picture import draw


def fleet(count: int, spread: float, seed: int) -> dict[str, dict[str, Any]]:
    """Return devices with nearly equal networks, and close or equal budgets."""
    rng = random.Random(seed)
    found = {}
    for number in range(count):
        ms, accuracy = 0.07 + rng.uniform(0, spread / 50), 0.905 + rng.uniform(0, spread / 250)
        other = {"precision": "int8", "latency_ms": ms + 0.004, "accuracy": accuracy - 0.001}
        found[f"{'warehouse-camera' if number % 3 else 'cpu'}-{number}"] = {
            "accuracy": {"delivered": accuracy},
            "latency_ms": {"measured": ms},
            "costs": {"flops": 1e6},
            "budget": {"latency_ms": rng.choice([0.09, 0.09, 0.091, 0.1]), "flops": None},
            "precision": "float32",
            "passed": number != 1,
            "candidates": [other],
        }
    return found


def test_equal_summaries_give_equal_bytes() -> None:
    assert draw(fleet(4, 0.1, seed=0)) == draw(fleet(4, 0.1, seed=0))


@pytest.mark.parametrize(("count", "spread"), [(3, 0.5), (8, 0.5)])
def test_no_label_lies_on_another_or_leaves_its_panel(
    count: int, spread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    summaries = fleet(count, spread, seed=count)
    boxes, original = [], Panel.label

    def label(panel: Panel) -> Any:
        notes = original(panel)
        renderer = FigureCanvasAgg(panel.figure).get_renderer()
        boxes.extend(note.get_window_extent(renderer).extents for note in notes)
        boxes.append(panel.axes.bbox.extents)
        return notes

    monkeypatch.setattr(Panel, "label", label)
    draw(summaries)
    *labels, panel = np.array(boxes)
    labels_B4 = np.array(labels)
    budgets = len({one["budget"]["latency_ms"] for one in summaries.values()})
    assert len(labels_B4) == count + budgets
    shared_BB = overlaps(labels_B4, labels_B4)
    areas_B = np.diag(shared_BB)
    assert (shared_BB - np.diag(areas_B)).max() == 0
    np.testing.assert_allclose(overlaps(labels_B4, panel[None])[:, 0], areas_B)
