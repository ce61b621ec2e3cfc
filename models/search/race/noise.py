"""What a race's repeats and controls say: noise of training, and the lead over random networks.

Axes: P pairs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95


def seed_noise(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Standard deviation of the difference of two trainings that differ in their seed alone.

    The root mean square of the pairs' differences; None without pairs.
    """
    if not pairs:
        return None
    return float(np.sqrt(np.mean([(first - second) ** 2 for first, second in pairs])))


@dataclass(frozen=True)
class Lead:
    """By how much a winner's accuracy is above that of random networks of the band.

    Attributes:
        points: difference from their mean, percentage points.
        low: of the 95% interval; None if there are too few random networks.
        high: likewise.
        controls: how many of them.
        steps: trained for.
    """

    points: float
    low: float | None
    high: float | None
    controls: int
    steps: int

    def describe(self) -> str:
        """In words; a negative lead is behind."""
        text = f"ahead of random in the band by {self.points:.2f} points"
        if self.low is None or self.high is None:
            plural = "s" * (self.controls > 1)
            return f"{text} ({self.controls} random network{plural}: too few for an interval)"
        verdict = "" if self.low > 0 or self.high < 0 else ", undecided"
        return f"{text} ({self.low:.2f} to {self.high:.2f}{verdict})"


def lead(
    winner: float, controls: Mapping[str, Sequence[float]], device: str, steps: int
) -> Lead | None:
    """The lead of a device's winner over its controls, as accuracies after equally many steps.

    A network's accuracy varies about its device's mean by the same standard deviation on all
    devices, which is pooled over their controls; the winner's own noise is taken to be as large.
    So the interval is Student's, of `winner - mean(controls)` with the variance s^2 (1 + 1/n).

    Args:
        winner: its accuracy, a fraction.
        controls: accuracies by device; the same network may be a control of several.
        device: whose winner.
        steps: trained for.

    Returns:
        None if the device has no control.
    """
    own = controls.get(device, ())
    if not own:
        return None
    points = 100 * (winner - float(np.mean(own)))
    freedom = sum(max(0, len(values) - 1) for values in controls.values())
    if freedom == 0:
        return Lead(points, None, None, len(own), steps)
    from scipy.stats import t  # imported lazily: takes a second

    squares = sum(float(np.sum((np.array(v) - np.mean(v)) ** 2)) for v in controls.values() if v)
    deviation = 100 * math.sqrt(squares / freedom * (1 + 1 / len(own)))
    half = float(t.ppf(0.5 + CONFIDENCE / 2, freedom)) * deviation
    return Lead(points, points - half, points + half, len(own), steps)
