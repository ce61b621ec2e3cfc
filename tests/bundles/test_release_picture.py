"""The release plot is readable with many and with nearly equal devices."""

import itertools

import matplotlib as mpl
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from bundles.release import STYLE, figure_of
from bundles.summary import BundleSummary
from tests.summaries import bundle_summary


def summary(name: str, number: int, measured: bool = True) -> BundleSummary:
    """A device close to the others in latency and accuracy."""
    accuracy, ms = 0.9 + 0.004 * (number % 4), 3.0 + 0.3 * number if measured else None
    return bundle_summary(
        name,
        accuracy={"float32": accuracy, "int8": None, "delivered": accuracy},
        latency_ms={"predicted": None, "measured": ms, "budget": ms},
        costs={"flops": 1_000_000 + number, "parameters": 1},
        budget={"latency_ms": ms + 0.1} if ms is not None else {"flops": 2_000_000},
        passed=number % 3 > 0,
    )


@pytest.mark.parametrize("count", [1, 10])
def test_the_legend_names_every_device_and_covers_neither_panels_nor_other_entries(count):
    names = [f"a-device-with-a-long-name-{number}" for number in range(count)]
    rows = {name: summary(name, n, measured=n % 4 > 0) for n, name in enumerate(names)}
    with mpl.rc_context(STYLE):
        figure = figure_of(rows)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        (legend,) = figure.legends
        texts = [text.get_text() for text in legend.get_texts()]
        for number, (name, row) in enumerate(rows.items(), start=1):
            held = ", held back" if not row.passed else ""
            (label,) = (text for text in texts if text.startswith(f"{number}  {name}: "))
            assert label.endswith(held)
        boxes = [text.get_window_extent(canvas.get_renderer()) for text in legend.get_texts()]
        assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
        box = legend.get_window_extent(canvas.get_renderer())
        assert not any(
            axes.get_tightbbox(canvas.get_renderer()).overlaps(box) for axes in figure.axes
        )
        drawn = {text.get_text() for axes in figure.axes for text in axes.texts}
        shown = sorted(int(number) for text in drawn for number in text.split(", "))
        assert shown == list(range(1, count + 1))
