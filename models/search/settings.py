"""The section `search` of `params.yaml`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from core.settings import Threaded, nearest
from models.search.algorithms import ALGORITHMS
from models.search.algorithms.annealing import AnnealingSettings
from models.search.algorithms.evolution import EvolutionSettings
from models.search.algorithms.exhaustive import ExhaustiveSettings
from models.search.algorithms.hurricane import HurricaneSettings
from models.search.weights import WeightsSettings

LEARN_WEIGHTS = ("fp_nas", "parsec")
"""Algorithms that can train the supernet on their samples."""


class SearchParams(Threaded):
    """How architectures are searched; the same for every device."""

    algorithm: str = "fp_nas"
    """Name in the algorithm table: fp_nas, parsec, random, evolution, exhaustive, annealing,
    hurricane."""
    steps: int = Field(60, ge=1)
    """Steps of proposing, evaluating and learning."""
    batch: int = Field(256, ge=1)
    """Held-out images per step; at most the whole validation split (fp_nas, parsec, random)."""
    fitness_images: int = Field(1000, ge=1)
    """Held-out images of the other algorithms, the same in every step."""
    recalibration_batches: int = Field(2, ge=1)
    """Training batches of `batch` images for batch norm recalibration (the other algorithms)."""
    learn_from: Literal["step", "all"] = "step"
    """What fp_nas learns from in each step: the step's samples, by gradient ascent, as in the
    paper; or all evaluations so far, by a regression."""
    learning_rate: float = Field(0.7, gt=0)
    """Step of plain gradient ascent on the distribution's logits (parsec; fp_nas from `step`)."""
    inverse_temperature: float = Field(0.3, gt=0)
    """beta: scales the batch's log-likelihood, `-images * NLL`; 1 as in PARSEC (as above)."""
    control_variate: bool = True
    """Subtract the samples' mean gradient (expectation 0) from the estimate to reduce variance."""
    cost_weight: float = Field(10.0, ge=0)
    """eta: weight of the hinge on each budget, per fraction by which it is exceeded."""
    stop_when_sharp: bool = False
    """End before `steps` once the entropy is at most that of `candidates` equally likely networks:
    ranking them is more accurate than more samples (fp_nas)."""
    start_from: str = Field("stages/search/uniform.json", min_length=1)
    """A saved `distribution.json` to start from, by names (fp_nas, parsec). `dvc.yaml` passes the
    file to the stage. The default is the uniform distribution."""
    start_weight: float = Field(0.5, ge=0, le=1)
    """Factor of the start's logits; smaller values let the search move further from the start."""
    latency_margin: float = Field(0.15, ge=0, lt=1)
    """Fraction of a latency budget the search leaves free, because predictions have an error.

    Reduced to the largest feasible margin if no architecture can leave so much.
    """
    samples_per_nat: float = Field(0.25, gt=0)
    """lambda: architectures drawn per nat of the distribution's entropy (fp_nas)."""
    min_samples: int = Field(3, ge=2)
    """Minimum architectures per step (fp_nas)."""
    max_samples: int = Field(16, ge=2)
    """Maximum architectures per step (fp_nas)."""
    fixed_samples: int = Field(4, ge=2)
    """Architectures per step (all but fp_nas)."""
    coarse_fraction: float = Field(0.5, ge=0, le=1)
    """Share of the steps with the factorised distribution, before it becomes joint (fp_nas)."""
    evolution: EvolutionSettings = EvolutionSettings()
    """Settings of the algorithm `evolution`, and of the evolutions inside `hurricane`."""
    exhaustive: ExhaustiveSettings = ExhaustiveSettings()
    """Settings of the algorithm `exhaustive`; others do not read them."""
    annealing: AnnealingSettings = AnnealingSettings()
    """Settings of the algorithm `annealing`; others do not read them."""
    hurricane: HurricaneSettings = HurricaneSettings()
    """Settings of the algorithm `hurricane`; others do not read them."""
    weights: WeightsSettings = WeightsSettings()
    """Whether and how the supernet is trained alternately with the distribution."""
    candidates: int = Field(12, ge=1)
    """Architectures passed to rank; fewer only if fewer meet the budgets."""
    checkpoint_every: int = Field(5, ge=1)
    """Steps between checkpoints."""

    @field_validator("algorithm")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in ALGORITHMS:
            raise ValueError(f"unknown algorithm.{nearest(name, ALGORITHMS)}")
        return name

    @model_validator(mode="after")
    def _weights_suit(self) -> Self:
        if self.weights.learn and self.algorithm not in LEARN_WEIGHTS:
            raise ValueError(
                f"weights.learn is for {' and '.join(LEARN_WEIGHTS)}, whose samples come from a "
                f"distribution; set it to false for '{self.algorithm}'"
            )
        return self

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_samples > self.max_samples:
            raise ValueError(
                f"min_samples ({self.min_samples}) must not exceed max_samples ({self.max_samples})"
            )
        return self
