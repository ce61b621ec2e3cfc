"""A search space, read from YAML.

A space is a sequence of GROUPS; an architecture selects one CANDIDATE in each (`space_groups`): the
input resolution if searchable, a stage's channels, or a layer's operator with its settings.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from models.space.architecture import RESIZE, Architecture, Block
from models.space.extreme import Best, BlockCost, Extreme
from models.space.file import read_spec
from models.space.groups import (
    INACTIVE,
    RESOLUTION,
    Group,
    Layer,
    Option,
    Variable,
    layer_group,
    menu,
    single,
)
from models.space.operators import canonical
from models.space.rules import check_images, check_spec
from models.space.spec import SpaceError, SpaceSpec

__all__ = ["INACTIVE", "Group", "SearchSpace", "SpaceError", "Variable"]


class Dataset(Protocol):
    """What a space depends on of a data set."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the square images."""

    @property
    def classes(self) -> Sequence[str]:
        """Class names."""


class SearchSpace:
    """A search space for one image shape and number of classes.

    Args:
        spec: content of the space's file.
        image_shape: (channels, height, width) of the square images.
        classes: number of classes.

    Raises:
        SpaceError: the spec is invalid, or the space does not support the images.
    """

    def __init__(self, spec: SpaceSpec, image_shape: tuple[int, int, int], classes: int) -> None:
        check_spec(spec)
        check_images(spec, image_shape)
        self.spec, self.name = spec, spec.name
        self.image_shape, self.classes = image_shape, classes
        self.private_weights = spec.weights == "private"
        self._resolutions = tuple(spec.resolutions or ())
        self._fronts = [self._front(resolution) for resolution in self._resolutions or (None,)]
        self._head_settings = canonical(spec.head.operator, spec.head.settings)
        groups: list[Group] = []
        if self._resolutions:
            groups.append(single(RESOLUTION, RESOLUTION, self._resolutions))
        self._channel_groups: list[int] = []
        self._layers: list[Layer] = []
        for number, stage in enumerate(spec.stages):
            name = f"stage{number + 1}"
            self._channel_groups.append(len(groups))
            groups.append(single(f"{name}.channels", "channels", tuple(stage.channels)))
            menus = {}  # one for optional layers, one for the others
            for at in range(stage.layers):
                optional = at >= stage.fixed_layers
                group = layer_group(f"{name}.layer{at + 1}", stage, optional)
                if optional not in menus:
                    menus[optional] = menu(group, stage)
                stride = stage.stride if at == 0 else 1
                self._layers.append(Layer(number, at == 0, stride, len(groups), menus[optional]))
                groups.append(group)
        self.groups: tuple[Group, ...] = tuple(groups)
        self._widths = [tuple(stage.channels) for stage in spec.stages]
        self._numbers = [{width: i for i, width in enumerate(widths)} for widths in self._widths]

    @classmethod
    def load(cls, path: Path, image_shape: tuple[int, int, int], classes: int) -> SearchSpace:
        """Read a space from YAML.

        Raises:
            SpaceError: the file is missing or invalid; the message names lines and keys.
        """
        return cls(read_spec(path), image_shape, classes)

    @classmethod
    def read(cls, path: Path, data: Dataset) -> SearchSpace:
        """Read a space for the images and classes of a data set.

        Raises:
            SpaceError: see `load`.
        """
        return cls.load(path, data.image_shape, len(data.classes))

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The searched layers, ordered as `Architecture.layers`."""
        return tuple(self._layers)

    def count(self) -> int:
        """Exact number of distinct architectures."""
        return math.prod(len(group.candidates) for group in self.groups)

    def architecture(self, choices: Sequence[int]) -> Architecture:
        """The architecture with candidate `choices[g]` in every group `g`."""
        front = self._fronts[choices[0] if self._resolutions else 0]
        blocks: list[Block | None] = [*front]
        channels, size = front[-1].out_channels, front[-1].out_size
        for layer in self._layers:
            option = layer.menu.options[choices[layer.group]]
            if option is None:
                blocks.append(None)
                continue
            width = self._widths[layer.stage][choices[self._channel_groups[layer.stage]]]
            block = option.block(channels, width, size, layer.stride)
            blocks.append(block)
            channels, size = width, block.out_size
        blocks.append(self._head(channels, size))
        return Architecture(tuple(blocks))

    def choices(self, architecture: Architecture) -> tuple[int, ...]:
        """Candidate indices of an architecture; the inverse of `architecture`.

        Raises:
            SpaceError: the architecture is not in this space.
        """
        found = self._find(architecture)
        if found is None or self.architecture(found) != architecture:
            raise SpaceError(f"architecture {architecture.id} is not in space '{self.name}'.")
        return found

    def index(self, architecture: Architecture) -> int:
        """Index of the architecture, from 0 to `count() - 1`."""
        number = 0
        for group, choice in zip(self.groups, self.choices(architecture), strict=True):
            number = number * len(group.candidates) + choice
        return number

    def from_index(self, number: int) -> Architecture:
        """The architecture with this index.

        Raises:
            SpaceError: the index is out of range.
        """
        if not 0 <= number < self.count():
            raise SpaceError(f"space '{self.name}' has no architecture number {number}.")
        choices: list[int] = []
        for group in reversed(self.groups):
            number, choice = divmod(number, len(group.candidates))
            choices.append(choice)
        return self.architecture(choices[::-1])

    def encode(self, architecture: Architecture) -> npt.NDArray[np.float32]:
        """Concatenated one-hot encoding of the candidates of all groups."""
        starts = np.cumsum([0, *(len(group.candidates) for group in self.groups)])
        code = np.zeros(starts[-1], dtype=np.float32)
        code[starts[:-1] + np.array(self.choices(architecture))] = 1.0
        return code

    def decode(self, code: npt.NDArray[np.float32]) -> Architecture:
        """The inverse of `encode`."""
        ends = np.cumsum([len(group.candidates) for group in self.groups])[:-1]
        return self.architecture([int(part.argmax()) for part in np.split(code, ends)])

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw a uniformly random candidate in every group."""
        return self.architecture([int(rng.integers(len(g.candidates))) for g in self.groups])

    def enumerate(self) -> Iterator[Architecture]:
        """Iterate over all architectures in the order of `index`. Only for small spaces."""
        for choices in product(*(range(len(group.candidates)) for group in self.groups)):
            yield self.architecture(choices)

    def possible(self) -> tuple[tuple[Block, ...], ...]:
        """All possible blocks per position (resize, stem, layers, head).

        Positions with equal blocks share one tuple, so the memory of a stage does not grow with
        its depth.
        """
        return self._possible

    def blocks(self) -> tuple[Block, ...]:
        """All distinct blocks of the space: the rows of a latency table."""
        distinct = {id(position): position for position in self._possible}.values()
        return tuple(dict.fromkeys(block for position in distinct for block in position))

    def extreme(self, cost: BlockCost, largest: bool = False, peak: bool = False) -> Architecture:
        """The architecture with the smallest (or largest) cost, exactly.

        Args:
            cost: of one block.
            largest: maximise instead of minimise.
            peak: a network's cost is the maximum over its blocks instead of the sum.
        """
        programme = Extreme(cost, largest, peak)
        ends: list[tuple[float, tuple[int, ...]]] = []
        for number, front in enumerate(self._fronts):
            size, taken = front[-1].out_size, (number,) if self._resolutions else ()
            best: Best = {front[-1].out_channels: (programme.total(front), taken)}
            for stage, widths in enumerate(self._widths):
                layers = [layer for layer in self._layers if layer.stage == stage]
                best, size = programme.stage(best, layers, widths, size)
            ends += [
                (programme.total([self._head(channels, size)], total), choices)
                for channels, (total, choices) in best.items()
            ]
        return self.architecture(min(ends)[1])

    @cached_property
    def _possible(self) -> tuple[tuple[Block, ...], ...]:
        positions = [tuple(dict.fromkeys(at)) for at in zip(*self._fronts, strict=True)]
        channels: Sequence[int] = [self.spec.stem.channels]
        sizes = list(dict.fromkeys(stem.out_size for stem in positions[-1]))
        later: tuple[Block, ...] = ()
        for number, layer in enumerate(self._layers):
            widths = self._widths[layer.stage]
            again = number > 1 and self._layers[number - 2].stage == layer.stage
            if not again:  # from the third layer of a stage on, blocks repeat
                pairs = (
                    product(channels, widths) if layer.first else zip(widths, widths, strict=True)
                )
                later = _blocks_of(layer, list(pairs), sizes)
            positions.append(later)
            channels, sizes = (
                sorted(widths),
                list(dict.fromkeys(-(-s // layer.stride) for s in sizes)),
            )
        positions.append(tuple(self._head(w, size) for w in channels for size in sizes))
        return tuple(positions)

    def _find(self, architecture: Architecture) -> tuple[int, ...] | None:
        """Choices that may match the architecture; None if a block matches no candidate."""
        front = 2 if self._resolutions else 1
        blocks = architecture.blocks[front:-1]
        if len(blocks) != len(self._layers):
            return None
        found = [0] * len(self.groups)
        if self._resolutions:
            resize = architecture.blocks[0]
            if resize is None or resize.out_size not in self._resolutions:
                return None
            found[0] = self._resolutions.index(resize.out_size)
        for layer, block in zip(self._layers, blocks, strict=True):
            option = None if block is None else Option(block.operator, block.settings)
            if option not in layer.menu.numbers:
                return None
            found[layer.group] = layer.menu.numbers[option]
            if block is not None:
                if block.out_channels not in self._numbers[layer.stage]:
                    return None
                width = self._numbers[layer.stage][block.out_channels]
                found[self._channel_groups[layer.stage]] = width
        return tuple(found)

    def _front(self, resolution: int | None) -> tuple[Block, ...]:
        """The blocks before the first layer: optional resize, and stem."""
        stem, (channels, size, _) = self.spec.stem, self.image_shape
        resize: list[Block] = []
        if resolution is not None:
            settings = canonical(RESIZE, {"to": resolution})
            resize, size = [Block(RESIZE, channels, channels, size, 1, settings)], resolution
        settings = canonical(stem.operator, stem.settings)
        return *resize, Block(stem.operator, channels, stem.channels, size, stem.stride, settings)

    def _head(self, channels: int, size: int) -> Block:
        return Block(self.spec.head.operator, channels, self.classes, size, 1, self._head_settings)


def _blocks_of(
    layer: Layer, pairs: Sequence[tuple[int, int]], sizes: Sequence[int]
) -> tuple[Block, ...]:
    """All blocks of a layer, over pairs of (input, output) channels and input sizes."""
    return tuple(
        option.block(channels, width, size, layer.stride)
        for option in layer.menu.options
        if option is not None
        for channels, width in pairs
        for size in sizes
    )
