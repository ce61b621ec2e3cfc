"""A space's file, architectures by number, random choices of large spaces, and int8's rule."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import numpy.typing as npt

from models.space.architecture import Architecture, Block
from models.space.operators import has_gate
from models.space.space import SearchSpace

SPACE_FILE = """\
name: mine
sizes: [8, 64]
images: {size: 32, channels: 1, classes: 5}
resolutions: [12, 16]
weights: shared
stem: {operator: conv, channels: 4, stride: 2, settings: {kernel: 3}}
stages:
  - layers: 3
    stride: 2
    min_layers: 2
    channels: [4, 8]
    operators:
      mbconv:
        kernel: [3, 5]
        expansion: [2]
        squeeze_excite: [0, 1]
      shufflenet_unit: {kernel: [3]}
  - {layers: 1, stride: 1, channels: [8],
     operators: {identity: {}, other: {operator: conv, kernel: [1]}}}
head: {operator: classifier, settings: {width: 16}}
"""
"""A space of everything that a file can say."""


def architecture_at(space: SearchSpace, number: int) -> Architecture:
    """The architecture with this number, counted in the order of `all_architectures`."""
    choices: list[int] = []
    for group in reversed(space.groups):
        number, choice = divmod(number, len(group.candidates))
        choices.append(choice)
    assert number == 0
    return space.architecture(choices[::-1])


def all_architectures(space: SearchSpace) -> Iterator[Architecture]:
    """All architectures of a small space; the last group varies first."""
    for choices in product(*(range(len(group.candidates)) for group in space.groups)):
        yield space.architecture(choices)


def sample_choices(
    space: SearchSpace, count: int, rng: np.random.Generator
) -> npt.NDArray[np.int32]:
    """Choices of `count` uniformly random architectures, (N, G)."""
    draws = [rng.integers(len(g.candidates), size=count, dtype=np.int32) for g in space.groups]
    return np.stack(draws, axis=1)


def suits_int8(block: Block) -> bool:
    """Whether a block keeps its accuracy and speed in int8."""
    return not has_gate(block) and block.options.get("activation") not in ("hard_swish", "silu")
