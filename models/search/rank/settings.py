"""The section `rank` of `params.yaml`."""

from __future__ import annotations

from pydantic import Field, field_validator

from core.errors import nearest
from core.settings import Threaded
from models.search.rank.indicators import AGGREGATE, INDICATORS


class RankParams(Threaded):
    """How candidates are ranked."""

    images: int | None = Field(None, ge=1)
    """At most this many validation images per candidate, spread evenly over the split; null: all of
    them."""
    recalibration_batches: int = Field(4, ge=1)
    """Training batches that each candidate's batch norms are recalibrated on."""
    batch: int = Field(256, ge=2)
    """Images per batch, in recalibration and evaluation."""
    indicator: str = "supernet_log_likelihood"
    """Indicator that ranks the candidates: supernet_log_likelihood (the negative NLL),
    supernet_accuracy, bn_indicator, bn_indicator_per_layer, accuracy_predictor (fitted on what the
    search evaluated), or aggregate."""
    aggregate: tuple[str, ...] = Field(
        ("supernet_log_likelihood", "bn_indicator_per_layer"), strict=False
    )
    """The indicators whose mean rank is `aggregate`, which is recorded in any case."""

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
