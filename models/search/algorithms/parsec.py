"""PARSEC: probabilistic search with a fixed number of samples (Casale et al., section 3)."""

from __future__ import annotations

from typing import Literal

from models.search.algorithms.base import SampledSettings
from models.search.algorithms.gradient import GradientAscent, GradientSettings


class ParsecSettings(GradientSettings, SampledSettings):
    """A fixed number of samples from one categorical per group."""

    name: Literal["parsec"] = "parsec"


class Parsec(GradientAscent):
    """The joint distribution from the first step."""

    settings_type = ParsecSettings
    settings: ParsecSettings
    coarse_steps = 0

    def sample_count(self) -> int:
        """`fixed_samples` in every step."""
        return self.settings.fixed_samples
