"""`models.space.stage_features` vectorised over millions of architectures.

A stage's features are sums over its layers or properties of its first layer, which is never
skipped; so all are computed from look-up tables of the choices. Axes: N architectures, G groups.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.space.block_tables import BlockTable, ChoicesNG, Lookup, check_choices, lookup
from models.space.cost_tables import flops_table, layer_positions
from models.space.groups import Layer, Option
from models.space.space import SearchSpace

Columns = dict[str, npt.NDArray[np.float64]]


@dataclass(frozen=True)
class _Stage:
    """Look-up tables of one stage, one per layer."""

    name: str
    width: Lookup
    present: tuple[Lookup, ...]
    expansion: tuple[Lookup, ...]
    kernel: tuple[Lookup, ...]
    excited: tuple[Lookup, ...]
    flops: tuple[Lookup, ...]


class StageFeatureTables:
    """Look-up tables for `stage_features` of a space.

    Args:
        space: the search space.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        front, _ = layer_positions(space)
        stems = [block.out_size for block in space.possible()[0]]
        self._size = lookup([(0, len(stems))], stems)
        flops = flops_table(space)
        self._stages = [
            _stage(space, number, flops, front) for number in range(len(space.spec.stages))
        ]

    def features(self, choices_NG: ChoicesNG) -> Columns:
        """Every feature by name, (N,), equal to `stage_features` of each architecture.

        Raises:
            SpaceError: `choices_NG` is not of this space.
        """
        check_choices(self.space, choices_NG)
        columns: Columns = {"size": _sum((self._size,), choices_NG)}
        for stage in self._stages:
            depth = _sum(stage.present, choices_NG)
            expansions = _sum(stage.expansion, choices_NG)
            kernels = _sum(stage.kernel, choices_NG)
            width = _sum((stage.width,), choices_NG)
            found = {
                "depth": depth,
                "width": width,
                "expansion": expansions / depth,
                "kernel": kernels / depth,
                "first expansion": _sum(stage.expansion[:1], choices_NG),
                "first kernel": _sum(stage.kernel[:1], choices_NG),
                "squeeze-excite": _sum(stage.excited, choices_NG) / depth,
                "depth x expansion": expansions,
                "depth x kernel": kernels,
                "depth x width": depth * width,
                "million MACs": _sum(stage.flops, choices_NG) / 1e6,
            }
            columns |= {f"{stage.name}.{name}": column for name, column in found.items()}
        return columns


def _sum(tables: tuple[Lookup, ...], choices_NG: ChoicesNG) -> npt.NDArray[np.float64]:
    """Sum of look-ups, (N,); exact in any order, as values are integers."""
    total_N = np.zeros(len(choices_NG))
    for table in tables:
        total_N += table.read(choices_NG)
    return total_N


def _stage(space: SearchSpace, number: int, flops: BlockTable, front: int) -> _Stage:
    layers = [(at, layer) for at, layer in enumerate(space.layers, front) if layer.stage == number]
    groups = {group.name: place for place, group in enumerate(space.groups)}
    widths = space.spec.stages[number].channels

    def tables(setting: str, default: float) -> tuple[Lookup, ...]:
        return tuple(_setting(layer, setting, default) for _, layer in layers)

    return _Stage(
        f"stage{number + 1}",
        lookup([(groups[f"stage{number + 1}.channels"], len(widths))], widths),
        tables("", 1),
        tables("expansion", 1),
        tables("kernel", 1),
        tables("squeeze_excite", 0),
        tuple(flops.positions[at] for at, _ in layers),
    )


def _setting(layer: Layer, name: str, default: float) -> Lookup:
    """Value of a setting for every candidate of a layer; 0 if skipped."""

    def value(option: Option | None) -> float:
        return 0.0 if option is None else float(dict(option.settings).get(name, default))

    options = layer.menu.options
    return lookup([(layer.group, len(options))], [value(option) for option in options])


__all__ = ["Columns", "StageFeatureTables"]
