"""The learning rate and the size of the images over a training: pure functions of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

ScheduleName = Literal["cosine", "linear", "trapezoid"]
SMALLEST = 8
"""Height and width of the smallest resized images, in pixels."""
_MULTIPLE = 4
"""Sizes are multiples of this many pixels: each new size costs the kernels a warm-up."""


@dataclass(frozen=True)
class Schedule:
    """The learning rate: linear warm-up to the peak, then a decay to zero.

    - cosine: SGDR without restarts (Loshchilov and Hutter 2017, section 3).
    - linear: from the warm-up's end; with a long warm-up the triangle of one cycle (Smith and Topin
      2018, "Super-convergence").
    - trapezoid: constant, then a linear cool-down in the last steps (Hägele et al. 2024, "Scaling
      Laws and Compute-Optimal Training Beyond Fixed Training Durations", section 3). Up to the
      cool-down it does not depend on the number of steps after the warm-up.

    Attributes:
        warmup_fraction: share of the steps in which the rate rises.
        cooldown_fraction: share of the steps in which the trapezoid's rate falls.
    """

    name: ScheduleName = "cosine"
    warmup_fraction: float = 0.1
    cooldown_fraction: float = 0.2

    def rate(self, peak: float, step: int, steps: int) -> float:
        """The learning rate of a step, counted from 0."""
        warmup = round(self.warmup_fraction * steps)
        if step < warmup:
            return peak * (step + 1) / warmup
        if self.name == "trapezoid":
            cooldown = max(1, min(round(self.cooldown_fraction * steps), steps - warmup))
            return peak * min(1.0, (steps - step) / cooldown)
        progress = (step - warmup) / max(1, steps - warmup)
        if self.name == "linear":
            return peak * (1 - progress)
        return peak * 0.5 * (1 + math.cos(math.pi * progress))


COSINE = Schedule()


@dataclass(frozen=True)
class Resizing:
    """Progressive resizing: smaller images first, growing linearly to full size.

    (Howard 2018, DAWNBench; FFCV, Leclerc et al. 2023.) A step on images of half the height and
    width costs about a quarter.

    Attributes:
        start: height and width in the first step, as a share of the full size; 1 disables it.
        full_from: share of the steps after which images have full size.
    """

    start: float = 1.0
    full_from: float = 0.5

    def pixels(self, step: int, steps: int, full: int) -> int:
        """Height and width in a step."""
        progress = step / max(1.0, self.full_from * steps)
        if self.start == 1 or progress >= 1:
            return full
        wanted = full * (self.start + (1 - self.start) * progress)
        return min(full, max(SMALLEST, _MULTIPLE * round(wanted / _MULTIPLE)))
