"""Vectorised latency prediction for many architectures.

Axes: N architectures, G groups.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from devices.latency.table import LatencyTable
from models.space.block_tables import ChoicesNG, block_table, check_choices, chunks
from models.space.space import SearchSpace
from models.space.stage_feature_tables import StageFeatureTables

Latencies = Callable[[ChoicesNG], npt.NDArray[np.float64]]
"""Maps choices (N, G) to milliseconds per image (N,)."""


def latencies(space: SearchSpace, table: LatencyTable, precision: str) -> Latencies:
    """Vectorised `budgets.predict_ms`.

    Raises:
        UserError: a block or the precision was not profiled.
    """
    # Also with the regression: raises if a block of the space was not measured.
    blocks = block_table(space, lambda _, block: table.block_cost(block.key, precision))
    if table.additive(precision):
        constant = table.corrections[precision].constant
        return lambda choices_NG: blocks.sums(choices_NG) + constant
    regression, tables = table.regressions[precision], StageFeatureTables(space)

    def predicted(choices_NG: ChoicesNG) -> npt.NDArray[np.float64]:
        check_choices(space, choices_NG)
        ms_N = np.empty(len(choices_NG))
        for part in chunks(len(choices_NG)):
            columns = tables.features(choices_NG[part])
            total = np.zeros(len(ms_N[part]))
            for name, coefficient in regression.coefficients.items():
                total += coefficient.ms * (columns[name] - coefficient.mean)
            ms_N[part] = regression.ms + total
        return ms_N

    return predicted


__all__ = ["Latencies", "latencies"]
