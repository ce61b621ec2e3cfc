"""Settings of the ranking benchmark, from `benchmarks/params.yaml`."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from ruamel.yaml import YAML

from core.settings import Params, bind

HERE = Path(__file__).resolve().parent
SPACE = HERE / "ranking.yaml"
SCHEMA = "netwright/benchmark/ranking"


class TruthParams(Params):
    """How each architecture is trained on its own."""

    architectures: int = Field(ge=4)
    """How many."""
    epochs: float = Field(gt=0)
    """Passes over the training split."""
    batch: int = Field(ge=2)
    """Images per step."""
    learning_rate: float = Field(gt=0)
    """Its highest value."""
    threads: int = Field(ge=1)
    """Processor threads."""


class RankingParams(Params):
    """The benchmark's params."""

    truth: TruthParams
    """Ground truth."""
    recalibration_batches: int = Field(ge=1)
    """Batches of 256 training images before any network is scored."""
    supernet_seconds: float = Field(gt=0)
    """Wall time that every strategy may train for."""
    supernet_threads: int = Field(ge=1)
    """Processor threads of that training."""
    bootstrap: int = Field(ge=1)
    """Resamples behind the intervals of tau."""


def read_params() -> RankingParams:
    """The section `ranking`.

    Raises:
        ParamsError: a key is unknown, missing or impossible.
    """
    content = YAML(typ="safe").load(HERE / "params.yaml")
    return bind(content["ranking"], "benchmarks/params.yaml: ranking", RankingParams)
