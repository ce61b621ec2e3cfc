"""Numbers of a network that go with its accuracy, for any architecture of a space.

Axes: N architectures, G groups, F numbers.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from models.space.architecture import Block
from models.space.block_tables import ChoicesNG, PositionCost, block_table
from models.space.costs import Cost, flops, parameters
from models.space.distribution import Vector
from models.space.operators import cells
from models.space.space import SearchSpace

Numbers = Callable[[ChoicesNG], Vector]
"""Numeric features of many architectures: choices (N, G) to (N, F)."""
_IDENTITY = "identity"


def _is_layer(block: Block) -> int:
    return int(block.operator != _IDENTITY and bool(cells(block)))


layers = Cost(_is_layer, constant=-2)
"""Number of searched layers that are neither skipped nor an identity.

Unlike `models.space.costs.depth`, the 1x1 convolution of an identity that changes the shape is no
layer: among networks of equal cost that number says more about the accuracy.
"""


def network_numbers(space: SearchSpace) -> Numbers:
    """Layers, log FLOPs, log parameters, and layers of every stage, (N, 3 + stages)."""
    tables = (layers.table(space), flops.table(space), parameters.table(space))
    stages = range(len(space.spec.stages))
    by_stage = [block_table(space, _layers_of_stage(space, stage)) for stage in stages]

    def numbers(choices_NG: ChoicesNG) -> Vector:
        layers_N, macs_N, weights_N = (table(choices_NG) for table in tables)
        columns = [layers_N, np.log(macs_N), np.log(weights_N)]
        columns += [table.join(choices_NG) for table in by_stage]
        return np.stack(columns, axis=1).astype(np.float64)

    return numbers


def _layers_of_stage(space: SearchSpace, stage: int) -> PositionCost:
    """1 for every layer of a stage, as a cost of blocks by their position."""
    before = len(space.fronts[0])
    at = {before + n for n, layer in enumerate(space.layers) if layer.stage == stage}
    return lambda position, block: _is_layer(block) if position in at else 0
