"""The section `rank` of `params.yaml`."""

from __future__ import annotations

from pydantic import Field, field_validator

from core.errors import nearest
from core.settings import Threaded
from models.search.rank.indicators import AGGREGATE, INDICATORS


class RankParams(Threaded):
    """How candidates are ranked, and how much compute evaluates the ranking."""

    images: int = Field(2000, ge=1)
    """At most this many validation images per candidate, spread evenly over the split."""
    recalibration_batches: int = Field(4, ge=1)
    """Training batches that each candidate's batch norms are recalibrated on."""
    batch: int = Field(256, ge=2)
    """Images per batch, in recalibration and evaluation."""
    indicator: str = "supernet_accuracy"
    """Indicator that ranks the candidates: supernet_accuracy, bn_indicator, bn_indicator_per_layer,
    accuracy_predictor (fitted on what the search evaluated), or aggregate."""
    aggregate: tuple[str, ...] = Field(
        ("supernet_accuracy", "bn_indicator_per_layer"), strict=False
    )
    """The indicators whose mean rank is `aggregate`; evaluated in every certificate."""
    truth_architectures: int = Field(4, ge=0)
    """Candidates trained from scratch as ground truth; 0 leaves the certificate empty."""
    truth_steps: int = Field(40, ge=1)
    """Training steps of each of them."""
    truth_batch: int = Field(64, ge=2)
    """Images per such step."""
    truth_learning_rate: float = Field(0.05, gt=0)
    """Highest learning rate of that training: SGD, momentum 0.9, warm-up, cosine decay."""
    bootstrap: int = Field(1000, ge=1)
    """Bootstrap resamples for the confidence intervals of tau."""

    @field_validator("indicator")
    @classmethod
    def _known(cls, name: str) -> str:
        known = (*INDICATORS, AGGREGATE)
        if name not in known:
            raise ValueError(f"unknown indicator.{nearest(name, known)}")
        return name

    @field_validator("aggregate")
    @classmethod
    def _several(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in INDICATORS:
                raise ValueError(f"unknown indicator.{nearest(name, INDICATORS)}")
        if len(names) < 2 or len(set(names)) < len(names):
            raise ValueError("an aggregate needs two or more different indicators")
        return names
