"""Line charts as inline SVG, in the page's own colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from markupsafe import Markup

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 62, 10, 10, 36
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
"""Colour-blind safe, after Okabe and Ito."""


def line_chart(
    title: str,
    series: Mapping[str, Points],
    axes: tuple[str, str],
    ends: tuple[float | None, float | None] = (None, None),
    diagonal: bool = False,
) -> Markup | None:
    """Draw lines over a common x axis that starts at 0; None without a point.

    Args:
        title: for readers that do not see the picture.
        series: points by name.
        axes: names of the x and the y axis.
        ends: of the x and the y axis; None: the largest value.
        diagonal: whether to draw the line from (0, 0) to the upper right corner.
    """
    points = [point for row in series.values() for point in row]
    if not points:
        return None
    right = ends[0] or max(x for x, _ in points) or 1.0
    top = ends[1] or max(y for _, y in points) or 1.0
    parts = [_frame(right, top, axes)]
    if diagonal:
        corners = f"{_x(0, 1):.1f},{_y(0, 1):.1f} {_x(1, 1):.1f},{_y(1, 1):.1f}"
        parts.append(f'<polyline points="{corners}" stroke="currentColor" stroke-dasharray="4"/>')
    for number, (name, row) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        places = " ".join(f"{_x(x, right):.1f},{_y(min(y, top), top):.1f}" for x, y in row)
        parts.append(f'<polyline points="{places}" stroke="{colour}" stroke-width="2"/>')
        if len(series) > 1:
            across = LEFT + 8 + number * 100
            parts.append(f'<text x="{across}" y="{TOP + 10}" fill="{colour}">{escape(name)}</text>')
    return Markup(  # every text in it is escaped
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" fill="none">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def _x(value: float, right: float) -> float:
    return LEFT + value / right * (WIDTH - LEFT - RIGHT)


def _y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM)


def _frame(right: float, top: float, axes: tuple[str, str]) -> str:
    """The axes with their ends and names."""
    low, high, left, end = _y(0, 1), _y(1, 1), _x(0, 1), _x(1, 1)
    texts = (
        (left, low + 14, "middle", "0"),
        (end, low + 14, "end", f"{right:.4g}"),
        ((left + end) / 2, low + 28, "middle", axes[0]),
        (left - 5, low, "end", "0"),
        (left - 5, high + 8, "end", f"{top:.3g}"),
        (left - 5, (low + high) / 2, "end", axes[1]),
    )
    lines = f'<path d="M{left} {high}V{low}H{end}" stroke="currentColor" opacity=".5"/>'
    return lines + "".join(
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="currentColor">'
        f"{escape(text)}</text>"
        for x, y, anchor, text in texts
    )
