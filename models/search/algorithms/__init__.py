"""The table of search algorithms. To add one, add a file here and a line below."""

from __future__ import annotations

from collections.abc import Mapping

from models.search.algorithms.annealing import Annealing
from models.search.algorithms.base import Algorithm
from models.search.algorithms.evolution import Evolution
from models.search.algorithms.exhaustive import Exhaustive
from models.search.algorithms.fp_nas import FpNas
from models.search.algorithms.hurricane import Hurricane
from models.search.algorithms.parsec import Parsec
from models.search.algorithms.random import RandomSearch

ALGORITHMS: Mapping[str, type[Algorithm]] = {
    algorithm.settings_type.entry(): algorithm
    for algorithm in (
        FpNas,
        Parsec,
        RandomSearch,
        Evolution,
        Exhaustive,
        Annealing,
        Hurricane,
    )
}

__all__ = ["ALGORITHMS", "Algorithm"]
