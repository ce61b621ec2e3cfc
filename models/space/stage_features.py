"""Interpretable features of a network, after the regression features of FOX-NAS.

Per stage: depth, width, mean expansion and kernel, expansion and kernel of the first layer (which
changes channels and often the resolution), share of layers with squeeze-excite, products of these,
and MACs. Width and MACs are additions to FOX-NAS, whose spaces have fixed widths and operators.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from models.space.architecture import Architecture, Block
from models.space.costs import block_flops
from models.space.space import Group


def stage_sizes(groups: Iterable[Group]) -> tuple[int, ...]:
    """Number of layers per stage, from the groups' names (`stage2.layer1`)."""
    words = [group.name.split(".") for group in groups]
    stages = [stage for stage, *rest in words if rest and rest[0].startswith("layer")]
    return tuple(len(list(layers)) for _, layers in groupby(stages))


def stage_features(architecture: Architecture, sizes: Sequence[int]) -> dict[str, float]:
    """Features of a network by name, such as `stage2.depth`.

    Args:
        architecture: the network.
        sizes: layers per stage including skipped ones; see `stage_sizes`.
    """
    layers = list(architecture.layers)
    found: dict[str, float] = {"size": float(architecture.present[0].out_size)}
    for number, size in enumerate(sizes):
        present = [block for block in layers[:size] if block is not None]
        del layers[:size]
        found |= {f"stage{number + 1}.{name}": value for name, value in _stage(present).items()}
    return found


def _stage(blocks: Sequence[Block]) -> dict[str, float]:
    """Features of one stage; all 0 if it has no layer."""
    depth = len(blocks)
    expansions, kernels, excited = (
        [float(block.options.get(name, default)) for block in blocks]
        for name, default in (("expansion", 1), ("kernel", 1), ("squeeze_excite", 0))
    )
    width = float(blocks[0].out_channels) if blocks else 0.0
    return {
        "depth": float(depth),
        "width": width,
        "expansion": _mean(expansions),
        "kernel": _mean(kernels),
        "first expansion": expansions[0] if blocks else 0.0,
        "first kernel": kernels[0] if blocks else 0.0,
        "squeeze-excite": _mean(excited),
        "depth x expansion": sum(expansions),
        "depth x kernel": sum(kernels),
        "depth x width": depth * width,
        "million MACs": sum(block_flops(block) for block in blocks) / 1e6,
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
