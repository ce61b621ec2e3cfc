"""A search space, read from YAML.

A space is a sequence of GROUPS; an architecture selects one CANDIDATE in each (`groups`): the scale
if resolution or strides are searched, a stage's channels, or a layer's operator with its settings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from itertools import groupby, product
from pathlib import Path
from typing import Protocol

import numpy as np

from models.space.architecture import RESIZE, Architecture, Block, Option
from models.space.extreme import Best, BlockCost, Extreme
from models.space.file import read_spec
from models.space.groups import Group, Layer, layer_group, menu, single
from models.space.operators import canonical, cells
from models.space.operators.base import OperatorError
from models.space.scale import Scale, scale_group, scales
from models.space.spec import SpaceError, SpaceSpec, StageSpec


class Dataset(Protocol):
    """What a space depends on of a data set."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the square images."""

    @property
    def classes(self) -> Sequence[str]:
        """Class names."""


class SearchSpace:
    """A search space for images of a shape (channels, height, width) and a number of classes.

    Attributes:
        groups: the decisions of an architecture.
        layers: the searched layers, ordered as `Architecture.layers`.
        scales: the resolutions and strides, the candidates of group 0 if there are several.
        fronts: by scale the blocks before the first layer: optional resize, and stem.

    Raises:
        SpaceError: the space does not support the images.
    """

    def __init__(self, spec: SpaceSpec, image_shape: tuple[int, int, int], classes: int) -> None:
        self.scales = scales(spec, image_shape[1])
        _check_images(spec, image_shape, self.scales)
        self.spec, self.name = spec, spec.name
        self.image_shape, self.classes = image_shape, classes
        self.private_weights = spec.weights == "private"
        self._head = spec.head.option
        self.fronts = [self._front(scale) for scale in self.scales]
        self.groups: tuple[Group, ...] = ()
        self.layers: tuple[Layer, ...] = ()
        group = scale_group(spec, image_shape[1])
        self._scaled = group is not None
        if group is not None:
            self.groups = (group,)
        for number, stage in enumerate(spec.stages):
            self._add(number, stage)

    def _add(self, number: int, stage: StageSpec) -> None:
        """Add the groups and layers of the next stage."""
        last = self.layers[-1] if self.layers else None
        before = self.spec.stages[number - 1].channels if last else [self.spec.stem.channels]
        sizes = last.out_sizes if last else tuple(front[-1].out_size for front in self.fronts)
        name, width = f"stage{number + 1}", len(self.groups)
        groups = [single(f"{name}.channels", "channels", tuple(stage.channels))]
        kinds = {o: (layer_group("", stage, o), menu(stage, o)) for o in (False, True)}
        layers: list[Layer] = []
        for at in range(stage.layers):
            group, options = kinds[at >= stage.fixed_layers]
            groups.append(replace(group, name=f"{name}.layer{at + 1}"))
            pairs = product(before, stage.channels) if at == 0 else ((w, w) for w in stage.channels)
            layers.append(
                Layer(
                    stage=number,
                    strides=tuple(1 if at else scale.stages[number] for scale in self.scales),
                    menu=options,
                    group=width + 1 + at,
                    width=width,
                    before=last.width if at == 0 and last else None,
                    pairs=tuple(pairs),
                    sizes=layers[-1].out_sizes if layers else sizes,
                )
            )
        self.groups += tuple(groups)
        self.layers += tuple(layers)

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

    def count(self) -> int:
        """Exact number of distinct architectures."""
        return math.prod(len(group.candidates) for group in self.groups)

    def architecture(self, choices: Sequence[int]) -> Architecture:
        """The architecture with candidate `choices[g]` in every group `g`."""
        scale = choices[0] if self._scaled else 0
        front = self.fronts[scale]
        blocks: list[Block | None] = [*front]
        channels, size = front[-1].out_channels, front[-1].out_size
        for layer in self.layers:
            option = layer.menu.options[choices[layer.group]]
            if option is None:
                blocks.append(None)
                continue
            width = self.spec.stages[layer.stage].channels[choices[layer.width]]
            block = option.block(channels, width, size, layer.strides[scale])
            blocks.append(block)
            channels, size = width, block.out_size
        blocks.append(self.head(channels, size))
        return Architecture(tuple(blocks))

    def choices(self, architecture: Architecture) -> tuple[int, ...]:
        """Candidate indices of an architecture; the inverse of `architecture`.

        Raises:
            SpaceError: the architecture is not in this space.
        """
        try:
            found = self._find(architecture)
        except (KeyError, ValueError):  # a block that is no candidate, or another number of blocks
            found = None
        if found is None or self.architecture(found) != architecture:
            raise SpaceError(f"architecture {architecture.id} is not in space '{self.name}'.")
        return found

    def _find(self, architecture: Architecture) -> tuple[int, ...]:
        """Choices that may match the architecture."""
        found = [0] * len(self.groups)
        blocks = architecture.blocks[len(self.fronts[0]) : -1]
        if self._scaled:
            found[0] = self._find_scale(architecture.blocks[: -len(blocks) - 1], blocks)
        for layer, block in zip(self.layers, blocks, strict=True):
            option = None if block is None else Option(block.operator, block.settings)
            found[layer.group] = layer.menu.numbers[option]
            if block is not None:
                widths = self.spec.stages[layer.stage].channels
                found[layer.width] = widths.index(block.out_channels)
        return tuple(found)

    def _find_scale(self, front: tuple[Block | None, ...], blocks: tuple[Block | None, ...]) -> int:
        """The candidate of group 0 with this front and with the strides of these layers."""
        pairs = [*zip(self.layers, blocks, strict=True)]
        for number, known in enumerate(self.fronts):
            same = (b is None or b.stride == layer.strides[number] for layer, b in pairs)
            if known == front and all(same):
                return number
        raise ValueError("no scale of this space")

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw a uniformly random candidate in every group."""
        return self.architecture([int(rng.integers(len(g.candidates))) for g in self.groups])

    def possible(self) -> tuple[tuple[Block, ...], ...]:
        """All possible blocks per position (resize, stem, layers, head).

        Layers with equal blocks share one tuple, so the memory of a stage does not grow with its
        depth.
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
        for number, front in enumerate(self.fronts):
            taken = (number,) if self._scaled else ()
            best: Best = {front[-1].out_channels: (programme.total(front), taken)}
            for stage, layers in groupby(self.layers, key=lambda layer: layer.stage):
                widths = self.spec.stages[stage].channels
                best = programme.stage(best, list(layers), widths, number)
            size = self.layers[-1].out_sizes[number]
            ends += [
                (programme.total([self.head(channels, size)], total), choices)
                for channels, (total, choices) in best.items()
            ]
        return self.architecture(min(ends)[1])

    @cached_property
    def _possible(self) -> tuple[tuple[Block, ...], ...]:
        positions = [tuple(dict.fromkeys(at)) for at in zip(*self.fronts, strict=True)]
        known: dict[tuple[object, ...], tuple[Block, ...]] = {}
        for layer in self.layers:
            alike = (layer.menu, layer.strides, layer.pairs, layer.sizes)
            if alike not in known:
                known[alike] = layer.blocks()
            positions.append(known[alike])
        sizes = dict.fromkeys(self.layers[-1].out_sizes)
        widths = sorted(self.spec.stages[-1].channels)
        positions.append(tuple(self.head(width, size) for width in widths for size in sizes))
        return tuple(positions)

    def _front(self, scale: Scale) -> tuple[Block, ...]:
        """The blocks before the first layer: optional resize, and stem."""
        stem, (channels, size, _) = self.spec.stem, self.image_shape
        resize: list[Block] = []
        if scale.resolution is not None:
            settings = canonical(RESIZE, {"to": scale.resolution})
            resize = [Block(RESIZE, channels, channels, size, 1, settings)]
            size = scale.resolution
        return *resize, stem.option.block(channels, stem.channels, size, scale.stem)

    def head(self, channels: int, size: int) -> Block:
        """The last block, for the channels and size of its input."""
        return self._head.block(channels, self.classes, size, 1)


def _check_images(
    spec: SpaceSpec, image_shape: tuple[int, int, int], known: Sequence[Scale]
) -> None:
    channels, height, width = image_shape
    smallest, largest = spec.sizes
    if height != width or not smallest <= height <= largest:
        raise SpaceError(
            f"space '{spec.name}' is for square images of {smallest} to {largest} pixels, "
            f"not {height}x{width}. Change data.size or choose another space."
        )
    above = [resolution for resolution in spec.resolutions or () if resolution > height]
    if above:
        raise SpaceError(
            f"space '{spec.name}' searches resolutions up to {max(above)} pixels, and images of "
            f"{height} are never enlarged. Raise data.size to {max(above)}, or remove "
            f"{', '.join(map(str, above))} from the space's resolutions."
        )
    try:
        for stride in {scale.stem for scale in known}:
            cells(spec.stem.option.block(channels, spec.stem.channels, height, stride))
    except OperatorError as error:
        raise SpaceError(f"space '{spec.name}', stem: {error} Use another stem.") from error
