"""The section `search` of `params.yaml`."""

from __future__ import annotations

from typing import Annotated

from core.settings import OneOf
from models.search.algorithms import ALGORITHMS
from models.search.algorithms.base import AlgorithmSettings, SharedParams
from models.search.algorithms.fp_nas import FpNasSettings


class SearchParams(SharedParams):
    """How architectures are searched; the same for every device."""

    algorithm: Annotated[
        AlgorithmSettings,
        OneOf("algorithm", [algorithm.settings_type for algorithm in ALGORITHMS.values()]),
    ] = FpNasSettings()
    """Name of the algorithm, or its name and settings: `{name: evolution, population: 48}`."""
