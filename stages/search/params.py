"""The section `search` of `params.yaml`."""

from __future__ import annotations

from typing import Self

from pydantic import Field, field_validator, model_validator

from stages.common.params import Params, nearest
from stages.search.algorithms import ALGORITHMS


class SearchParams(Params):
    """How architectures are searched for; the same for every device."""

    algorithm: str
    """Name in the algorithm table: fp_nas, parsec, random."""
    steps: int = Field(ge=1)
    """Updates of the distribution; each scores its samples on one held-out batch."""
    batch: int = Field(ge=1)
    """Held-out images per step; at most the whole validation split."""
    learning_rate: float = Field(gt=0)
    """Step of plain gradient ascent on the distribution's logits."""
    inverse_temperature: float = Field(gt=0)
    """beta: scales the batch's log-likelihood, `-images * NLL`; 1 is PARSEC's form."""
    control_variate: bool = True
    """Subtract the samples' mean gradient (expectation 0) from the estimate: far less noise."""
    cost_weight: float = Field(ge=0)
    """eta: weight of the hinge on each budget, per fraction of the budget passed."""
    latency_margin: float = Field(0.0, ge=0, lt=1)
    """Fraction of a latency budget the search leaves free, because predictions err.

    A wish: where no architecture can leave so much, the search leaves what it can.
    """
    samples_per_nat: float = Field(gt=0)
    """lambda: architectures drawn per nat of the distribution's entropy (fp_nas)."""
    min_samples: int = Field(ge=2)
    """Fewest architectures a step (fp_nas)."""
    max_samples: int = Field(ge=2)
    """Most architectures a step (fp_nas)."""
    fixed_samples: int = Field(ge=2)
    """Architectures a step (parsec, random)."""
    coarse_fraction: float = Field(ge=0, le=1)
    """Share of the steps with the factorised distribution, before it becomes joint (fp_nas)."""
    candidates: int = Field(ge=1)
    """Architectures handed to rank; fewer only if the budgets leave fewer."""
    checkpoint_every: int = Field(ge=1)
    """Steps between checkpoints."""
    threads: int = Field(ge=1)
    """Threads of this stage; results depend on it."""
    seed: int = Field(ge=0)
    """Seed of samples and held-out batches."""

    @field_validator("algorithm")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in ALGORITHMS:
            raise ValueError(f"there is no such algorithm.{nearest(name, ALGORITHMS)}")
        return name

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_samples > self.max_samples:
            raise ValueError(
                f"min_samples ({self.min_samples}) must not exceed max_samples ({self.max_samples})"
            )
        return self
