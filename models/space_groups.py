"""What a space's choices are made of: groups of candidates, and the layers that take them.

An architecture takes one CANDIDATE in each GROUP: the image's resolution, a stage's channels, or
one layer's operator with its settings. Candidates are what differs for the network, so a skipped
layer is one candidate whatever its hidden kernel: every tuple of candidate indices is one
architecture and the reverse. A group also has VARIABLES (operator, kernel, expansion, ...), in
which a candidate is a point; one that a skip hides is inactive there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

from models.architecture import SKIP, Block, Setting
from models.operators import canonical
from models.space_spec import StageSpec

INACTIVE = -1
RESOLUTION = "resolution"


@dataclass(frozen=True)
class Variable:
    """One thing that varies inside a group."""

    name: str
    options: tuple[Setting, ...]


@dataclass(frozen=True)
class Group:
    """One choice of an architecture.

    Attributes:
        name: such as `resolution`, `stage2.channels` or `stage2.layer1`.
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
class Option:
    """What a layer's candidate puts there: an operator with its settings, as a Block has them."""

    operator: str
    settings: tuple[tuple[str, Setting], ...]

    def block(self, channels: int, width: int, size: int, stride: int) -> Block:
        """The block that reads `channels` channels of `size` pixels and writes `width`."""
        return Block(self.operator, channels, width, size, stride, self.settings)


@dataclass(frozen=True, eq=False)
class Menu:
    """The candidates of a layer's group, by number and back; None is the layer left out.

    Layers of a stage share one; it is equal to itself alone.
    """

    options: tuple[Option | None, ...]
    numbers: Mapping[Option | None, int]


@dataclass(frozen=True)
class Layer:
    """One searched layer.

    Attributes:
        stage: its stage's number, from 0 on.
        first: whether it is the stage's first, which changes width and size.
        stride: 1 or 2.
        group: the number of its group.
        menu: what its group's candidates mean.
    """

    stage: int
    first: bool
    stride: int
    group: int
    menu: Menu


def single(name: str, variable: str, options: tuple[Setting, ...]) -> Group:
    """A group of one variable, whose options are the candidates."""
    return Group(name, (Variable(variable, options),), tuple((i,) for i in range(len(options))))


def layer_group(name: str, stage: StageSpec, optional: bool) -> Group:
    """The group of one layer of a stage; an optional layer may be left out."""
    names = [*stage.operators, *([SKIP] if optional else [])]
    variables = [Variable("operator", tuple(names))]
    for operator, spec in stage.operators.items():
        variables += [Variable(f"{operator}.{k}", tuple(v)) for k, v in spec.settings.items()]
    candidates: list[tuple[int, ...]] = []
    for number, operator in enumerate(names):
        axes = [
            range(len(v.options)) if v.name.startswith(f"{operator}.") else (INACTIVE,)
            for v in variables[1:]
        ]
        candidates += [(number, *point) for point in product(*axes)]
    return Group(name, tuple(variables), tuple(candidates))


def menu(group: Group, stage: StageSpec) -> Menu:
    """What each candidate of the group of one of a stage's layers puts there."""
    options: list[Option | None] = []
    for candidate in range(len(group.candidates)):
        values = group.values(candidate)
        name = str(values.pop("operator"))
        if name == SKIP:
            options.append(None)
            continue
        operator = stage.operators[name].operator or name
        settings = {key.removeprefix(f"{name}."): value for key, value in values.items()}
        options.append(Option(operator, canonical(operator, settings)))
    return Menu(tuple(options), {option: number for number, option in enumerate(options)})
