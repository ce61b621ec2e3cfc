"""What a person would say of a network, as numbers: the features of FOX-NAS's regressions.

Per stage: how many layers, how wide, their mean expansion and kernel, those of the first layer
(which changes channels and often the resolution), the share with squeeze-excite, products of
these, and the stage's multiply-accumulates. Widths and operators vary in this project's spaces,
which they do not in FOX-NAS's: width and multiply-accumulates are ours and stand for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from models.architecture import Architecture, Block
from models.costs import block_flops
from models.space import Group


def stage_sizes(groups: Iterable[Group]) -> tuple[int, ...]:
    """How many layers each stage of a space has, from its groups' names (`stage2.layer1`)."""
    words = [group.name.split(".") for group in groups]
    stages = [stage for stage, *rest in words if rest and rest[0].startswith("layer")]
    return tuple(len(list(layers)) for _, layers in groupby(stages))


def stage_features(architecture: Architecture, sizes: Sequence[int]) -> dict[str, float]:
    """The readable features of a network, by name, such as `stage2.depth`.

    Args:
        architecture: the network, of a space whose stages have so many layers.
        sizes: layers per stage, skipped ones counted, as `stage_sizes` says.
    """
    layers = list(architecture.layers)
    found: dict[str, float] = {"size": float(architecture.present[0].out_size)}
    for number, size in enumerate(sizes):
        here = [block for block in layers[:size] if block is not None]
        del layers[:size]
        found |= {f"stage{number + 1}.{name}": value for name, value in _stage(here).items()}
    return found


def _stage(blocks: Sequence[Block]) -> dict[str, float]:
    """One stage's features; all are 0 where it has no layer."""
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
