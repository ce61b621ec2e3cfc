"""Whether an accuracy on some images is better than chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

ERROR_RATE = 0.001
"""Of each of the two one-sided tests."""


class Chance(NamedTuple):
    """The mean accuracy of some networks against that of always predicting the largest class.

    Networks evaluated on the same images have dependent errors, so the tests count every image
    once.
    """

    accuracy: float
    level: float
    """The share of the largest class."""
    images: int

    @classmethod
    def of(cls, accuracies: Sequence[float], labels_N: npt.NDArray[np.int64]) -> Chance:
        """Accuracies on images with these labels."""
        level = float(np.bincount(labels_N).max() / len(labels_N))
        return cls(sum(accuracies) / len(accuracies), level, len(labels_N))

    @property
    def verdict(self) -> Literal["better", "not better", "undecided"]:
        """By one-sided exact binomial tests.

        Better: significantly above chance. Not better: neither, and significantly below half-way
        from chance to perfect. Undecided: neither, because there are few images.
        """
        from scipy.stats import binom  # imported lazily: takes a second

        right = round(self.accuracy * self.images)
        if binom.sf(right - 1, self.images, self.level) < ERROR_RATE:
            return "better"
        below = binom.cdf(right, self.images, (1 + self.level) / 2) < ERROR_RATE
        return "not better" if below else "undecided"

    def __str__(self) -> str:
        return (
            f"a mean accuracy of {self.accuracy:.3f} on {self.images:,} validation images, where "
            f"chance (always the largest class) is {self.level:.3f}"
        )
