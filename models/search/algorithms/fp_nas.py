"""FP-NAS: probabilistic search with few samples (Yan et al., "FP-NAS", sections 3.1 to 3.4).

The number of samples adapts to the distribution's entropy, and the distribution is factorised over
the variables of each layer before it becomes joint.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from models.search.algorithms.gradient import GradientAscent, GradientSettings


class FpNasSettings(GradientSettings):
    """Few samples: an adaptive number, and a coarse-to-fine distribution."""

    name: Literal["fp_nas"] = "fp_nas"
    samples_per_nat: float = Field(0.25, gt=0)
    """lambda: architectures drawn per nat of the distribution's entropy."""
    min_samples: int = Field(3, ge=2)
    """Minimum architectures per step."""
    max_samples: int | None = Field(None, ge=2)
    """Maximum architectures per step; null: none but the entropy's own. That is at most the log of
    the number of architectures: with lambda 0.25 some 5 a step in `compact`, 26 in `fbnet`."""
    coarse_fraction: float = Field(0.5, ge=0, le=1)
    """Share of the steps with the factorised distribution, before it becomes joint."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_samples is not None and self.min_samples > self.max_samples:
            raise ValueError(
                f"min_samples ({self.min_samples}) must not exceed max_samples ({self.max_samples})"
            )
        return self


class FpNas(GradientAscent):
    """Adaptive sample count; factorised for `coarse_fraction` of the steps, then joint."""

    settings_type = FpNasSettings
    settings: FpNasSettings

    @property
    def coarse_steps(self) -> int:
        """Number of steps with the factorised distribution."""
        return round(self.settings.coarse_fraction * self.params.steps)

    def sample_count(self) -> int:
        """K_t = round(lambda * H), within the settings' bounds: more while it is flat."""
        count = round(self.settings.samples_per_nat * self.distribution.entropy())
        most = self.settings.max_samples
        count = max(count, self.settings.min_samples)
        return count if most is None else min(count, most)
