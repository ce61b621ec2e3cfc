"""The table of search algorithms. To add one, add a file here and a line below."""

from __future__ import annotations

from collections.abc import Mapping

from stages.search.algorithms.annealing import Annealing
from stages.search.algorithms.base import Algorithm
from stages.search.algorithms.evolution import Evolution
from stages.search.algorithms.exhaustive import Exhaustive
from stages.search.algorithms.fp_nas import FpNas
from stages.search.algorithms.hurricane import Hurricane
from stages.search.algorithms.parsec import Parsec
from stages.search.algorithms.random import RandomSearch

ALGORITHMS: Mapping[str, type[Algorithm]] = {
    algorithm.name: algorithm
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
