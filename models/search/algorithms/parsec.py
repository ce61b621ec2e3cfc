"""PARSEC: probabilistic search with a fixed number of samples (Casale et al., section 3).

FP-NAS with the joint distribution from the first step and a fixed number of samples per step.
"""

from __future__ import annotations

from models.search.algorithms.fp_nas import FpNas


class Parsec(FpNas):
    """`fixed_samples` per step from one categorical per group."""

    name = "parsec"

    @property
    def stops_when_sharp(self) -> bool:
        """Always False: it runs all steps."""
        return False

    @property
    def learns_from_all(self) -> bool:
        """Always False: gradient ascent from the step's samples."""
        return False

    @property
    def coarse_steps(self) -> int:
        """Always 0: there is no factorised phase."""
        return 0

    def sample_count(self) -> int:
        """`fixed_samples` in every step."""
        return self.params.fixed_samples
