"""A search space: which architectures there are, as data read from YAML.

A space is a sequence of GROUPS, each a list of CANDIDATES of which an architecture takes one: a
stage's channels, or one layer's operator with its settings. Candidates are what differs for the
network, so a skipped layer is one candidate whatever its hidden kernel: every tuple of candidate
indices is one architecture and the reverse. A group also has VARIABLES (operator, kernel,
expansion, ...), in which a candidate is a point; one that a skip hides is inactive there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.architecture import SKIP, Architecture, Block, Setting
from models.space_spec import SpaceError, SpaceSpec, StageSpec, check_spec, read_spec

__all__ = ["INACTIVE", "Group", "SearchSpace", "SpaceError", "Variable"]

INACTIVE = -1


@dataclass(frozen=True)
class Variable:
    """One thing that varies inside a group."""

    name: str
    options: tuple[Setting, ...]


@dataclass(frozen=True)
class Group:
    """One choice of an architecture.

    Attributes:
        name: such as `stage2.channels` or `stage2.layer1`.
        variables: what varies, in order.
        candidates: one row a candidate: per variable the option's index, or INACTIVE.
    """

    name: str
    variables: tuple[Variable, ...]
    candidates: tuple[tuple[int, ...], ...]

    def values(self, candidate: int) -> dict[str, Setting]:
        """The active variables' values of one candidate."""
        pairs = zip(self.variables, self.candidates[candidate], strict=True)
        return {v.name: v.options[option] for v, option in pairs if option != INACTIVE}

    def label(self, candidate: int) -> str:
        """A stable name of one candidate, by which distributions match between spaces."""
        return ",".join(f"{name}={value}" for name, value in self.values(candidate).items())


@dataclass(frozen=True)
class _Layer:
    stage: int
    stride: int
    group: int  # index of the layer's group


class SearchSpace:
    """All architectures of a space, for one image shape and number of classes.

    Args:
        spec: the space's description.
        image_shape: (channels, height, width) of the images; they are square.
        classes: how many classes there are.

    Raises:
        SpaceError: an operator or setting does not exist, or the images do not suit the space.
    """

    def __init__(self, spec: SpaceSpec, image_shape: tuple[int, int, int], classes: int) -> None:
        check_spec(spec, image_shape)
        self.spec, self.name = spec, spec.name
        self.image_shape, self.classes = image_shape, classes
        groups: list[Group] = []
        self._channel_groups: list[int] = []
        self._layers: list[_Layer] = []
        for number, stage in enumerate(spec.stages):
            name = f"stage{number + 1}"
            self._channel_groups.append(len(groups))
            widths = Variable("channels", tuple(stage.channels))
            groups.append(
                Group(
                    f"{name}.channels", (widths,), tuple((i,) for i in range(len(stage.channels)))
                )
            )
            for layer in range(stage.layers):
                self._layers.append(_Layer(number, stage.stride if layer == 0 else 1, len(groups)))
                groups.append(_layer_group(f"{name}.layer{layer + 1}", stage, first=layer == 0))
        self.groups: tuple[Group, ...] = tuple(groups)

    @classmethod
    def load(cls, path: Path, image_shape: tuple[int, int, int], classes: int) -> SearchSpace:
        """Read a space from YAML.

        Raises:
            SpaceError: the file is missing or breaks a rule; the message names the key.
        """
        return cls(read_spec(path), image_shape, classes)

    def count(self) -> int:
        """How many different architectures the space holds, exactly."""
        return math.prod(len(group.candidates) for group in self.groups)

    def architecture(self, choices: Sequence[int]) -> Architecture:
        """The architecture that takes candidate `choices[g]` in every group `g`."""
        spec = self.spec
        blocks: list[Block | None] = [self._stem()]
        channels, size = spec.stem.channels, blocks[0].out_size  # type: ignore[union-attr]
        for layer in self._layers:
            width_group = self._channel_groups[layer.stage]
            width = spec.stages[layer.stage].channels[choices[width_group]]
            block = self._block(layer, choices[layer.group], channels, width, size)
            blocks.append(block)
            if block is not None:
                channels, size = width, block.out_size
        blocks.append(self._head(channels, size))
        return Architecture(tuple(blocks))

    def choices(self, architecture: Architecture) -> tuple[int, ...]:
        """The candidate indices of an architecture: the inverse of `architecture`.

        Raises:
            SpaceError: the architecture is not in this space.
        """
        outside = SpaceError(f"architecture {architecture.id} is not in space '{self.name}'.")
        if len(architecture.blocks) != len(self._layers) + 2:
            raise outside
        found = [0] * len(self.groups)
        for layer, block in zip(self._layers, architecture.blocks[1:-1], strict=True):
            group = self.groups[layer.group]
            operator = SKIP if block is None else block.operator
            settings = {} if block is None else block.options
            wanted = {"operator": operator} | {f"{operator}.{k}": v for k, v in settings.items()}
            values = [group.values(c) for c in range(len(group.candidates))]
            if wanted not in values:
                raise outside
            found[layer.group] = values.index(wanted)
            if block is not None:
                widths = self.spec.stages[layer.stage].channels
                if block.out_channels not in widths:
                    raise outside
                found[self._channel_groups[layer.stage]] = widths.index(block.out_channels)
        if self.architecture(found) != architecture:
            raise outside
        return tuple(found)

    def index(self, architecture: Architecture) -> int:
        """The architecture's number, from 0 to `count() - 1`."""
        number = 0
        for group, choice in zip(self.groups, self.choices(architecture), strict=True):
            number = number * len(group.candidates) + choice
        return number

    def from_index(self, number: int) -> Architecture:
        """The architecture with this number.

        Raises:
            SpaceError: there is no such number.
        """
        if not 0 <= number < self.count():
            raise SpaceError(f"space '{self.name}' has no architecture number {number}.")
        choices: list[int] = []
        for group in reversed(self.groups):
            number, choice = divmod(number, len(group.candidates))
            choices.append(choice)
        return self.architecture(choices[::-1])

    def encode(self, architecture: Architecture) -> npt.NDArray[np.float32]:
        """One-hot over the candidates of every group, concatenated."""
        rows = [
            np.eye(len(group.candidates), dtype=np.float32)[choice]
            for group, choice in zip(self.groups, self.choices(architecture), strict=True)
        ]
        return np.concatenate(rows)

    def decode(self, code: npt.NDArray[np.float32]) -> Architecture:
        """The architecture that `encode` gave this code for."""
        ends = np.cumsum([len(group.candidates) for group in self.groups])[:-1]
        return self.architecture([int(part.argmax()) for part in np.split(code, ends)])

    def sample(self, rng: np.random.Generator) -> Architecture:
        """A uniformly random candidate in every group."""
        return self.architecture([int(rng.integers(len(g.candidates))) for g in self.groups])

    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """Change one group's candidate to another."""
        choices = list(self.choices(architecture))
        free = [i for i, group in enumerate(self.groups) if len(group.candidates) > 1]
        group = int(rng.choice(free))
        step = int(rng.integers(1, len(self.groups[group].candidates)))
        choices[group] = (choices[group] + step) % len(self.groups[group].candidates)
        return self.architecture(choices)

    def enumerate(self) -> Iterator[Architecture]:
        """Every architecture, in the order of `index`. Only for small spaces."""
        for choices in product(*(range(len(group.candidates)) for group in self.groups)):
            yield self.architecture(choices)

    def possible(self) -> tuple[tuple[Block, ...], ...]:
        """Per position (stem, layers, head) every block that some architecture puts there."""
        stem = self._stem()
        positions: list[tuple[Block, ...]] = [(stem,)]
        channels, size = {self.spec.stem.channels}, stem.out_size
        for layer in self._layers:
            widths = self.spec.stages[layer.stage].channels
            here: dict[Block, None] = {}
            for choice in range(len(self.groups[layer.group].candidates)):
                for before, width in self._shapes(layer, channels):
                    block = self._block(layer, choice, before, width, size)
                    if block is not None:
                        here[block] = None
            positions.append(tuple(here))
            channels = set(widths)
            size = -(-size // layer.stride)
        positions.append(tuple(self._head(width, size) for width in sorted(channels)))
        return tuple(positions)

    def blocks(self) -> tuple[Block, ...]:
        """Every distinct block the space can ask for: the rows of a latency table."""
        return tuple(dict.fromkeys(block for position in self.possible() for block in position))

    def extreme(self, cost: Callable[[Block], float], largest: bool = False) -> Architecture:
        """The architecture with the smallest (or largest) sum of block costs, exactly.

        Layers of a stage depend on each other only through channels, so a dynamic programme
        over (stage, channels) finds it without enumerating the space.
        """
        sign = -1.0 if largest else 1.0
        stem = self._stem()
        # best[channels] = (cost so far, choices so far)
        best: dict[int, tuple[float, tuple[int, ...]]] = {self.spec.stem.channels: (0.0, ())}
        size = stem.out_size
        for number, stage in enumerate(self.spec.stages):
            layers = [layer for layer in self._layers if layer.stage == number]
            after: dict[int, tuple[float, tuple[int, ...]]] = {}
            for index, width in enumerate(stage.channels):
                for before, (total, taken) in best.items():
                    channels, here, picked = before, size, []
                    for layer in layers:
                        price, choice = self._best(layer, channels, width, here, cost, sign)
                        total, channels = total + price, width
                        here = -(-here // layer.stride)
                        picked.append(choice)
                    row = (total, (*taken, index, *picked))
                    if width not in after or row < after[width]:
                        after[width] = row
            best = after
            size = -(-size // stage.stride)
        ends = [(t + sign * cost(self._head(c, size)), taken) for c, (t, taken) in best.items()]
        return self.architecture(min(ends)[1])

    def _best(
        self,
        layer: _Layer,
        channels: int,
        width: int,
        size: int,
        cost: Callable[[Block], float],
        sign: float,
    ) -> tuple[float, int]:
        rows = []
        for choice in range(len(self.groups[layer.group].candidates)):
            block = self._block(layer, choice, channels, width, size)
            rows.append((0.0 if block is None else sign * cost(block), choice))
        return min(rows)

    def _shapes(self, layer: _Layer, channels: set[int]) -> Iterable[tuple[int, int]]:
        widths = self.spec.stages[layer.stage].channels
        if layer.group == self._channel_groups[layer.stage] + 1:  # a stage's first layer
            return product(sorted(channels), widths)
        return zip(widths, widths, strict=True)

    def _stem(self) -> Block:
        stem = self.spec.stem
        channels, size, _ = self.image_shape
        settings = tuple(sorted(stem.settings.items()))
        return Block(stem.operator, channels, stem.channels, size, stem.stride, settings)

    def _head(self, channels: int, size: int) -> Block:
        settings = tuple(sorted(self.spec.head.settings.items()))
        return Block(self.spec.head.operator, channels, self.classes, size, 1, settings)

    def _block(
        self, layer: _Layer, choice: int, channels: int, width: int, size: int
    ) -> Block | None:
        values = self.groups[layer.group].values(choice)
        operator = str(values.pop("operator"))
        if operator == SKIP:
            return None
        settings = {name.removeprefix(f"{operator}."): value for name, value in values.items()}
        return Block(operator, channels, width, size, layer.stride, tuple(sorted(settings.items())))


def _layer_group(name: str, stage: StageSpec, first: bool) -> Group:
    operators = [*stage.operators, *([SKIP] if stage.skip and not first else [])]
    variables = [Variable("operator", tuple(operators))]
    for operator, settings in stage.operators.items():
        variables += [Variable(f"{operator}.{k}", tuple(v)) for k, v in settings.items()]
    candidates: list[tuple[int, ...]] = []
    for number, operator in enumerate(operators):
        axes = [
            range(len(v.options)) if v.name.startswith(f"{operator}.") else (INACTIVE,)
            for v in variables[1:]
        ]
        candidates += [(number, *point) for point in product(*axes)]
    return Group(name, tuple(variables), tuple(candidates))
