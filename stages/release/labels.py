"""Where labels go, so that they hide neither each other nor the marks they stand beside.

Every label has places where it may stand. One after the other takes the place that costs least,
given where the others are, until nobody moves any more: the same labels always settle alike.

Axes: P places, B boxes, S points of a line, 2 is x and y, 4 is left, bottom, right and top. Lengths
are pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.float64]

_ANGLES = np.radians([-90, 0, 180, 90, -45, -135, 45, 135, -68, -112, -22, 202, 22, 158, 68, 112])
"""Directions from a mark, those first that are preferred: below, right, left, above."""
_RINGS = 9
_GAP = 9.0
"""From the middle of a mark to a label beside it."""
_PASSES = 20
_ALONG = np.linspace(0.05, 1.0, 20)
"""Where on the way from a mark to its label the line between them is looked at."""
_HIDES_LABEL, _LEAVES, _HIDES_MARK, _FAR = 20.0, 20.0, 12.0, 8.0
"""What a pixel costs: of another label, outside the panel, of a mark, of distance."""
_CROSSES, _OVER_MARK = 200.0, 30.0
"""What a point of a line costs that lies in another label, or on a mark."""


@dataclass(frozen=True)
class Places:
    """Where one label may stand.

    Attributes:
        boxes_P4: its rectangle in each place.
        far_P: how much further away each is than the nearest.
        ties_PS2: points of the line that ties it to its mark, NaN where on the mark itself; none
            where it has no such line.
    """

    boxes_P4: Pixels
    far_P: Pixels
    ties_PS2: Pixels


def around(x: float, y: float, width: float, height: float) -> Places:
    """Places around a mark, in rings; the label's side or corner points to the mark."""
    radius_R = _GAP + np.arange(_RINGS) * 0.6 * height
    cos_A, sin_A = np.cos(_ANGLES), np.sin(_ANGLES)
    middle_x = x + np.outer(radius_R + width / 2, cos_A).ravel()
    middle_y = y + np.outer(radius_R + height / 2, sin_A).ravel()
    half_4 = np.array([-width, -height, width, height]) / 2
    boxes_P4 = np.stack([middle_x, middle_y, middle_x, middle_y], axis=1) + half_4
    mark_2 = np.array([x, y])
    ends_P2 = np.clip(mark_2, boxes_P4[:, :2], boxes_P4[:, 2:])
    ties_PS2 = mark_2 + _ALONG[:, None] * (ends_P2 - mark_2)[:, None]
    ties_PS2[np.hypot(*np.moveaxis(ties_PS2 - mark_2, -1, 0)) < _GAP + 1] = np.nan  # on the mark
    return Places(boxes_P4, np.repeat(radius_R - _GAP, len(_ANGLES)), ties_PS2)


def along(x: float, bottom: float, top: float, width: float, height: float) -> Places:
    """Places on both sides of a vertical line, the highest and right ones first."""
    count = max(1, int((top - bottom) // height))
    step, aside = height / 4, 4.0
    found = [
        (left, high - height, left + width, high)
        for high in top - 4 - step * np.arange(4 * count - 3)
        for left in (x + aside, x - aside - width)
    ]
    far_P = np.repeat(step * np.arange(4 * count - 3), 2) / 4
    return Places(np.array(found), far_P, np.zeros((len(found), 0, 2)))


def settle(labels: Sequence[Places], marks_B4: Pixels, bounds_4: Pixels) -> list[int]:
    """The number of each label's place.

    Whoever chooses first has the best of it, so everybody once does, and the cheapest outcome wins.

    Args:
        labels: where each may stand.
        marks_B4: what they should not hide.
        bounds_4: what they should not leave.
    """
    fixed = [_alone(places, marks_B4, bounds_4) for places in labels]
    orders = [[*range(first, len(labels)), *range(first)] for first in range(len(labels))]
    outcomes = [_settled(labels, fixed, order) for order in orders]
    return min(outcomes, key=lambda outcome: outcome[0])[1] if outcomes else []


def _settled(
    labels: Sequence[Places], fixed: Sequence[Pixels], order: Sequence[int]
) -> tuple[float, list[int]]:
    """All places and what they cost, when labels choose in this order."""
    chosen: dict[int, int] = {}
    for _ in range(_PASSES):
        before, total = dict(chosen), 0.0
        for number in order:
            others = [(labels[n], at) for n, at in chosen.items() if n != number]
            cost_P = fixed[number] + _disturbed(labels[number], others)
            chosen[number] = int(cost_P.argmin())
            total += float(cost_P.min())
        if chosen == before:
            break
    return total, [chosen[number] for number in range(len(labels))]


def _alone(places: Places, marks_B4: Pixels, bounds_4: Pixels) -> Pixels:
    """What each place costs, wherever other labels are, shape (P,)."""
    boxes_P4 = places.boxes_P4
    areas_P = (boxes_P4[:, 2:] - boxes_P4[:, :2]).prod(-1)
    cost_P: Pixels = (
        _FAR * places.far_P
        + _HIDES_MARK * overlaps(boxes_P4, marks_B4).sum(1)
        + _LEAVES * (areas_P - overlaps(boxes_P4, bounds_4[None])[:, 0])
        + _OVER_MARK * _inside(places.ties_PS2[:, :, None], marks_B4).sum((1, 2))
    )
    return cost_P


def _disturbed(places: Places, others: Sequence[tuple[Places, int]]) -> Pixels:
    """What each place costs because of labels that stand already, and their lines, shape (P,)."""
    boxes_B4 = np.array([one.boxes_P4[at] for one, at in others]).reshape(-1, 4)
    ties_T2 = np.concatenate([np.zeros((0, 2)), *(one.ties_PS2[at] for one, at in others)])
    hidden_P = overlaps(places.boxes_P4, boxes_B4).sum(1)
    over_P = _inside(places.ties_PS2[:, :, None], boxes_B4).sum((1, 2))
    under_P = _inside(ties_T2, places.boxes_P4[:, None]).sum(1)
    cost_P: Pixels = _HIDES_LABEL * hidden_P + _CROSSES * (over_P + under_P)
    return cost_P


def _inside(points: Pixels, boxes: Pixels) -> npt.NDArray[np.bool_]:
    """Whether points (..., 2) lie in rectangles (..., 4)."""
    return np.asarray(((points > boxes[..., :2]) & (points < boxes[..., 2:])).all(-1))


def overlaps(boxes_P4: Pixels, others_B4: Pixels) -> Pixels:
    """The area that each two rectangles share, shape (P, B)."""
    low = np.maximum(boxes_P4[:, None, :2], others_B4[None, :, :2])
    high = np.minimum(boxes_P4[:, None, 2:], others_B4[None, :, 2:])
    shared: Pixels = np.maximum(high - low, 0.0).prod(-1)
    return shared
