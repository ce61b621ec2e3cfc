"""Interpretable features of networks, after the regression features of FOX-NAS.

Per stage: depth, width, size of its output, mean expansion and kernel, expansion and kernel of the
first layer (which changes channels and often the resolution), share of layers with squeeze-excite,
products of these, and MACs. Width, size and MACs are additions to FOX-NAS, whose spaces have fixed
widths, strides and operators.

They are sums over a stage's layers or properties of its first layer, which is never skipped, so
one formula serves a single network and, from look-up tables, millions of a space.
Axes: N architectures, G groups.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from models.space.architecture import Architecture, Block, Option
from models.space.block_tables import ChoicesNG, Lookup, block_table, check_choices, lookup
from models.space.costs import block_flops
from models.space.groups import Group, Layer
from models.space.space import SearchSpace

Columns = dict[str, npt.NDArray[np.float64]]


def stage_sizes(groups: Iterable[Group]) -> tuple[int, ...]:
    """Layers per stage with optional ones, from the groups' names (`stage2.layer1`)."""
    words = [group.name.split(".") for group in groups]
    stages = [stage for stage, *rest in words if rest and rest[0].startswith("layer")]
    return tuple(len(list(layers)) for _, layers in groupby(stages))


def stage_features(architecture: Architecture, sizes: Sequence[int]) -> dict[str, float]:
    """Features of one network by name, such as `stage2.depth`; `sizes` as of `stage_sizes`."""
    layers = list(architecture.layers)
    found: dict[str, Any] = {"size": architecture.present[0].out_size}
    for number, size in enumerate(sizes, 1):
        stage = layers[:size]
        del layers[:size]
        first = next(block for block in stage if block is not None)
        rows = [(*_settings(b), 0 if b is None else block_flops(b)) for b in stage]
        found |= _stage(f"stage{number}", (first.out_channels, first.out_size), rows)
    return {name: float(value) for name, value in found.items()}


class StageFeatureTables:
    """Look-up tables for `stage_features` of a space."""

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        sizes = [front[0].out_size for front in space.fronts]
        self._size = lookup([(0, len(sizes))], sizes)
        flops = block_table(space, lambda _, block: block_flops(block)).positions
        flops = flops[-len(space.layers) - 1 : -1]
        self._stages: list[tuple[str, tuple[Lookup, Lookup], list[tuple[Lookup, ...]]]] = []
        pairs = zip(space.layers, flops, strict=True)
        for number, same in groupby(pairs, key=lambda pair: pair[0].stage):
            layers, widths = list(same), space.spec.stages[number].channels
            width = lookup([(layers[0][0].width, len(widths))], widths)
            size = lookup([(0, len(sizes))], layers[0][0].out_sizes)
            rows = [_lookups(*pair) for pair in layers]
            self._stages.append((f"stage{number + 1}", (width, size), rows))

    def features(self, choices_NG: ChoicesNG) -> Columns:
        """Every feature by name, (N,), equal to `stage_features` of each architecture."""
        check_choices(self.space, choices_NG)
        found: dict[str, Any] = {"size": self._size.read(choices_NG)}
        for name, shape, layers in self._stages:
            rows = [tuple(table.read(choices_NG) for table in layer) for layer in layers]
            found |= _stage(name, [table.read(choices_NG) for table in shape], rows)
        return {
            name: np.broadcast_to(np.asarray(x, dtype=np.float64), (len(choices_NG),))
            for name, x in found.items()
        }


def _stage(name: str, shape: Sequence[Any], layers: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    """Features of one stage, of numbers or of arrays (N,): exact, as values are integers.

    `shape` is its width and the size of its output; a layer is given by its `_settings` and MACs.
    """
    width, size = shape
    depth, expansions, kernels, excited, macs = (sum(x) for x in zip(*layers, strict=True))
    found = {
        "depth": depth,
        "width": width,
        "size": size,
        "expansion": expansions / depth,
        "kernel": kernels / depth,
        "first expansion": layers[0][1],
        "first kernel": layers[0][2],
        "squeeze-excite": excited / depth,
        "depth x expansion": expansions,
        "depth x kernel": kernels,
        "depth x width": depth * width,
        "million MACs": macs / 1e6,
    }
    return {f"{name}.{feature}": value for feature, value in found.items()}


def _settings(layer: Block | Option | None) -> tuple[float, float, float, float]:
    """Presence, expansion, kernel and squeeze-excite of a layer; all 0 if it is skipped."""
    if layer is None:
        return (0, 0, 0, 0)
    settings: Mapping[str, Any] = dict(layer.settings)
    expansion, kernel = settings.get("expansion", 1), settings.get("kernel", 1)
    return (1, float(expansion), float(kernel), float(settings.get("squeeze_excite", 0)))


def _lookups(layer: Layer, flops: Lookup) -> tuple[Lookup, ...]:
    """Tables of a layer's values, by its candidate."""
    options = layer.menu.options
    columns = zip(*map(_settings, options), strict=True)
    return *(lookup([(layer.group, len(options))], column) for column in columns), flops
