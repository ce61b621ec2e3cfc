"""Picture of a search space: layers from top to bottom, options side by side."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from core.errors import UserError
from models.space.space import SearchSpace
from pipelines.show.space_table import Row, build_rows, format_count, format_images, format_values

FORMATS = (".png", ".svg")
_LINE = 0.2  # height of a line of text, inches
_PIXELS, _CHANNELS, _OPTIONS = 1.6, 2.9, 4.0  # left edge of each column, inches
_WIDTH = 13.5  # inches
_BOXES = 4  # options per line
_SKIPPED = "skipped"


def check_picture(file: Path) -> None:
    """Raise UserError if the picture's suffix is unknown, or its folder does not exist."""
    if file.suffix not in FORMATS:
        raise UserError(f"--picture {file}: the suffix must be {' or '.join(FORMATS)}.")
    if not file.absolute().parent.is_dir():
        raise UserError(f"--picture {file}: there is no folder {file.parent}.")


def space_picture(space: SearchSpace, suffix: str) -> bytes:
    """Draw a space as `.png` or `.svg`, reproducibly."""
    shown = build_rows(space)
    heights = [-(-len(_boxes(row)) // _BOXES) * _box_height(row) for row in shown]
    # No pyplot: it keeps global state and looks for a display.
    figure = Figure(figsize=(_WIDTH, sum(heights) + 0.8))
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.01, 0.01, 0.98, 0.98))
    axes.set(xlim=(0, _WIDTH), ylim=(sum(heights) + 0.7, -0.1))
    axes.set_axis_off()
    _headings(axes, space)
    names = dict.fromkeys(name for row in shown for name in row.options)
    colours = {name: mpl.colormaps["tab20"](2 * n % 20 + 1) for n, name in enumerate(names)}
    top = 0.7
    for row, height in zip(shown, heights, strict=True):
        _draw(axes, row, top, height, colours)
        top += height
    buffer = io.BytesIO()
    metadata = {"Software": None} if suffix == ".png" else {"Date": None}
    with mpl.rc_context({"svg.hashsalt": "netwright"}):
        figure.savefig(buffer, format=suffix[1:], dpi=100, metadata=metadata)
    return buffer.getvalue()


def _headings(axes: Axes, space: SearchSpace) -> None:
    title = f"{space.name}: {format_count(space.count())} architectures for {format_images(space)}"
    axes.text(0.05, 0.1, title, size=13, weight="bold", va="center")
    for x, text in (
        (0.05, "layers"),
        (_PIXELS, "pixels"),
        (_CHANNELS, "channels"),
        (_OPTIONS, "one of"),
    ):
        axes.text(x, 0.5, text, size=9, color="dimgray", va="center")


def _draw(axes: Axes, row: Row, top: float, height: float, colours: Mapping[str, object]) -> None:
    middle = top + height / 2
    strides = " or ".join(map(str, row.strides))
    stride = "" if row.strides == (1,) else f" /{strides}"
    axes.text(0.05, middle, row.name.replace(" ", "\n", 1), size=9, va="center")
    axes.text(_PIXELS, middle, _lines(row.pixels) + stride, size=9, va="center")
    axes.text(_CHANNELS, middle, _lines(row.channels), size=9, va="center")
    boxes = _boxes(row)
    width, tall = (_WIDTH - _OPTIONS - 0.1) / min(_BOXES, len(boxes)), _box_height(row)
    for number, (name, lines) in enumerate(boxes.items()):
        below, beside = divmod(number, _BOXES)
        left, high = _OPTIONS + beside * width, top + below * tall
        box = FancyBboxPatch(
            (left + 0.08, high + 0.1),
            width - 0.16,
            tall - 0.2,
            boxstyle="round,pad=0.03",
            facecolor=colours.get(name, "white"),
            edgecolor="gray",
            linestyle="--" if name == _SKIPPED else "-",
        )
        axes.add_patch(box)
        text = "\n".join([name, *lines])
        axes.text(left + width / 2, high + tall / 2, text, size=8, ha="center", va="center")


def _box_height(row: Row) -> float:
    return _LINE * (2 + max(map(len, _boxes(row).values())))


def _boxes(row: Row) -> dict[str, list[str]]:
    """The lines of settings per operator, and a box for a skipped layer."""
    boxes = {
        name: [f"{key} {format_values(values)}" for key, values in settings.items()]
        for name, settings in row.options.items()
    }
    return boxes | ({_SKIPPED: []} if row.optional else {})


def _lines(values: Sequence[int]) -> str:
    """Numbers, three per line."""
    if len(values) > 9:
        return format_values(values).replace(" (", "\n(")
    return "\n".join(" ".join(map(str, values[at : at + 3])) for at in range(0, len(values), 3))
