"""Place plot labels so that they overlap neither each other nor the markers.

Every label has candidate positions. Labels are moved in turn to the position of least cost,
given the others, until no label moves. The result is deterministic.

Axes: P positions, B boxes, S points of a line, 2 is x and y, 4 is left, bottom, right and top.
Lengths are pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.float64]

_ANGLES = np.radians([-90, 0, 180, 90, -45, -135, 45, 135, -68, -112, -22, 202, 22, 158, 68, 112])
"""Directions from a marker in order of preference: below, right, left, above."""
_RINGS = 9
_GAP = 9.0
"""Distance from the centre of a marker to an adjacent label."""
_PASSES = 20
_ALONG = np.linspace(0.05, 1.0, 20)
"""Relative positions of the sampled points of a leader line."""
_HIDES_LABEL, _LEAVES, _HIDES_MARK, _FAR = 20.0, 20.0, 12.0, 8.0
"""Cost per pixel: over another label, outside the panel, over a marker, of distance."""
_CROSSES, _OVER_MARK = 200.0, 30.0
"""Cost per sampled point of a leader line in another label, or on a marker."""


@dataclass(frozen=True)
class Positions:
    """Candidate positions of one label.

    Attributes:
        boxes_P4: its rectangle in each position.
        far_P: distance in excess of the nearest position.
        ties_PS2: sampled points of the leader line to its marker, NaN on the marker itself;
            empty without a leader line.
    """

    boxes_P4: Pixels
    far_P: Pixels
    ties_PS2: Pixels


def around(x: float, y: float, width: float, height: float) -> Positions:
    """Return positions around a marker, in rings."""
    radius_R = _GAP + np.arange(_RINGS) * 0.6 * height
    cos_A, sin_A = np.cos(_ANGLES), np.sin(_ANGLES)
    middle_x = x + np.outer(radius_R + width / 2, cos_A).ravel()
    middle_y = y + np.outer(radius_R + height / 2, sin_A).ravel()
    half_4 = np.array([-width, -height, width, height]) / 2
    boxes_P4 = np.stack([middle_x, middle_y, middle_x, middle_y], axis=1) + half_4
    mark_2 = np.array([x, y])
    ends_P2 = np.clip(mark_2, boxes_P4[:, :2], boxes_P4[:, 2:])
    ties_PS2 = mark_2 + _ALONG[:, None] * (ends_P2 - mark_2)[:, None]
    ties_PS2[np.hypot(*np.moveaxis(ties_PS2 - mark_2, -1, 0)) < _GAP + 1] = np.nan  # on the marker
    return Positions(boxes_P4, np.repeat(radius_R - _GAP, len(_ANGLES)), ties_PS2)


def along(x: float, bottom: float, top: float, width: float, height: float) -> Positions:
    """Return positions on both sides of a vertical line, top and right first."""
    count = max(1, int((top - bottom) // height))
    step, aside = height / 4, 4.0
    found = [
        (left, high - height, left + width, high)
        for high in top - 4 - step * np.arange(4 * count - 3)
        for left in (x + aside, x - aside - width)
    ]
    far_P = np.repeat(step * np.arange(4 * count - 3), 2) / 4
    return Positions(np.array(found), far_P, np.zeros((len(found), 0, 2)))


def settle(labels: Sequence[Positions], marks_B4: Pixels, bounds_4: Pixels) -> list[int]:
    """Return the index of each label's position.

    The result depends on the order, so every label is first once; the lowest total cost wins.

    Args:
        labels: candidate positions of each label.
        marks_B4: boxes of the markers to keep visible.
        bounds_4: box of the panel.
    """
    fixed = [_fixed_cost(positions, marks_B4, bounds_4) for positions in labels]
    orders = [[*range(first, len(labels)), *range(first)] for first in range(len(labels))]
    outcomes = [_settle_in_order(labels, fixed, order) for order in orders]
    return min(outcomes, key=lambda outcome: outcome[0])[1] if outcomes else []


def _settle_in_order(
    labels: Sequence[Positions], fixed: Sequence[Pixels], order: Sequence[int]
) -> tuple[float, list[int]]:
    """Return the total cost and all positions for one order of the labels."""
    chosen: dict[int, int] = {}
    for _ in range(_PASSES):
        before, total = dict(chosen), 0.0
        for number in order:
            others = [(labels[n], at) for n, at in chosen.items() if n != number]
            cost_P = fixed[number] + _overlap_cost(labels[number], others)
            chosen[number] = int(cost_P.argmin())
            total += float(cost_P.min())
        if chosen == before:
            break
    return total, [chosen[number] for number in range(len(labels))]


def _fixed_cost(positions: Positions, marks_B4: Pixels, bounds_4: Pixels) -> Pixels:
    """Return the cost of each position without other labels, shape (P,)."""
    boxes_P4 = positions.boxes_P4
    areas_P = (boxes_P4[:, 2:] - boxes_P4[:, :2]).prod(-1)
    cost_P: Pixels = (
        _FAR * positions.far_P
        + _HIDES_MARK * overlaps(boxes_P4, marks_B4).sum(1)
        + _LEAVES * (areas_P - overlaps(boxes_P4, bounds_4[None])[:, 0])
        + _OVER_MARK * _inside(positions.ties_PS2[:, :, None], marks_B4).sum((1, 2))
    )
    return cost_P


def _overlap_cost(positions: Positions, others: Sequence[tuple[Positions, int]]) -> Pixels:
    """Return the cost of each position from other labels and their lines, shape (P,)."""
    boxes_B4 = np.array([one.boxes_P4[at] for one, at in others]).reshape(-1, 4)
    ties_T2 = np.concatenate([np.zeros((0, 2)), *(one.ties_PS2[at] for one, at in others)])
    hidden_P = overlaps(positions.boxes_P4, boxes_B4).sum(1)
    over_P = _inside(positions.ties_PS2[:, :, None], boxes_B4).sum((1, 2))
    under_P = _inside(ties_T2, positions.boxes_P4[:, None]).sum(1)
    cost_P: Pixels = _HIDES_LABEL * hidden_P + _CROSSES * (over_P + under_P)
    return cost_P


def _inside(points: Pixels, boxes: Pixels) -> npt.NDArray[np.bool_]:
    """Return whether points (..., 2) lie in rectangles (..., 4)."""
    return np.asarray(((points > boxes[..., :2]) & (points < boxes[..., 2:])).all(-1))


def overlaps(boxes_P4: Pixels, others_B4: Pixels) -> Pixels:
    """Return the pairwise overlap areas of rectangles, shape (P, B)."""
    low = np.maximum(boxes_P4[:, None, :2], others_B4[None, :, :2])
    high = np.minimum(boxes_P4[:, None, 2:], others_B4[None, :, 2:])
    shared: Pixels = np.maximum(high - low, 0.0).prod(-1)
    return shared
