"""PARSEC: probabilistic search with a fixed number of samples (Casale et al., section 3).

FP-NAS with its knobs off: the joint distribution from the first step, and as many samples in
every step. Everything else is the same code.
"""

from __future__ import annotations

from stages.search.algorithms.fp_nas import FpNas


class Parsec(FpNas):
    """`fixed_samples` a step from one categorical per group."""

    name = "parsec"

    @property
    def stops_when_sharp(self) -> bool:
        """It takes all its steps."""
        return False

    @property
    def learns_from_all(self) -> bool:
        """A step of gradient ascent from the step's samples."""
        return False

    @property
    def coarse_steps(self) -> int:
        """There is no factorised phase."""
        return 0

    def sample_count(self) -> int:
        """The same in every step."""
        return self.params.fixed_samples
