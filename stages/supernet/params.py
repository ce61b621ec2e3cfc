"""Params of the supernet stage."""

from __future__ import annotations

from pydantic import Field, field_validator

from stages.common.learning import LearningParams
from stages.common.params import nearest
from stages.supernet.strategies import STRATEGIES


class SupernetParams(LearningParams):
    """How the supernet is trained, and how much of it is looked at afterwards."""

    strategy: str
    """Which paths a step trains: a name in the table of strategies."""
    report_subnets: int = Field(8, ge=0)
    """Random networks whose validation accuracy goes into the history."""
    report_images: int = Field(1000, ge=1)
    """Validation images for each of them."""
    recalibration_batches: int = Field(4, ge=1)
    """Training batches for those networks' batch norms."""

    @field_validator("strategy")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in STRATEGIES:
            raise ValueError(f"no strategy '{name}'.{nearest(name, STRATEGIES)}")
        return name
