"""A device's latency model as a cost of architectures.

Axes: N architectures, G groups.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np
import numpy.typing as npt

from devices.latency.table import LatencyTable
from models.space.architecture import Architecture, Block
from models.space.block_tables import ChoicesNG, chunks
from models.space.costs import Cost, CostTable
from models.space.space import SearchSpace
from models.space.stage_features import StageFeatureTables, stage_features


@dataclass(frozen=True)
class RegressionCost(Cost):
    """Milliseconds of a network from its features; `of_block` only estimates a block's share.

    A block that was not measured is an error here, too.
    """

    _: KW_ONLY
    latency: LatencyTable
    precision: str

    def __call__(self, architecture: Architecture) -> float:
        """The cost of one architecture."""
        super().__call__(architecture)
        features = stage_features(architecture, self.latency.stages)
        return float(self.latency.regress(features, self.precision))

    def table(self, space: SearchSpace) -> CostTable:
        """The cost of many architectures of a space at once, equal to that of each one."""
        super().table(space)
        tables = StageFeatureTables(space)

        def predict(choices_NG: ChoicesNG) -> npt.NDArray[np.float64]:
            ms_N = np.empty(len(choices_NG))
            for part in chunks(len(choices_NG)):
                columns = tables.features(choices_NG[part])
                ms_N[part] = self.latency.regress(columns, self.precision)
            return ms_N

        return predict


def latency_cost(table: LatencyTable, precision: str) -> Cost:
    """Milliseconds per image of networks in a precision, by the model that the table uses.

    Raises (also by the cost):
        UserError: a block or the precision was not profiled.
    """

    def of_block(block: Block) -> float:
        return table.block_cost(block.key, precision)

    if table.additive(precision):
        return Cost(of_block, constant=table.correction(precision).constant)
    return RegressionCost(of_block, exact=False, latency=table, precision=precision)


def predict_ms(table: LatencyTable, architecture: Architecture, precision: str) -> float:
    """Milliseconds per image of an architecture; see `latency_cost`."""
    return float(latency_cost(table, precision)(architecture))
