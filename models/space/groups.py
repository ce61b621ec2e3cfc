"""Groups of candidates, and the layers of a space.

An architecture selects one CANDIDATE in each GROUP: the scale (resolution and strides), a stage's
channels, or one layer's operator with its settings. Candidates are distinct networks, so a skipped
layer is a single candidate: tuples of candidate indices and architectures correspond one to one. A
candidate is a point in the group's VARIABLES (operator, kernel, expansion, ...); variables of other
operators are INACTIVE.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from operator import itemgetter

from models.space.architecture import SKIP, Block, Option, Setting
from models.space.spec import StageSpec

INACTIVE = -1
Row = tuple[int, ...]


@dataclass(frozen=True)
class Variable:
    """One variable of a group."""

    name: str
    options: tuple[Setting, ...]


@dataclass(frozen=True)
class Group:
    """One decision of an architecture."""

    name: str
    """Such as `resolution`, `scale`, `stage2.channels` or `stage2.layer1`."""
    variables: tuple[Variable, ...]
    candidates: tuple[Row, ...]
    """One row per candidate: option index per variable, or INACTIVE."""

    def values(self, candidate: int) -> dict[str, Setting]:
        """Values of the active variables of one candidate."""
        pairs = zip(self.variables, self.candidates[candidate], strict=True)
        return {v.name: v.options[option] for v, option in pairs if option != INACTIVE}

    def label(self, candidate: int) -> str:
        """Stable name of a candidate, used to match distributions between spaces."""
        return ",".join(f"{name}={value}" for name, value in self.values(candidate).items())


@dataclass(frozen=True, eq=False)
class Menu:
    """Maps candidate indices of a layer's group to options and back; None is a skipped layer.

    Layers of a stage share one; it is compared by identity.
    """

    options: tuple[Option | None, ...]
    numbers: Mapping[Option | None, int]


@dataclass(frozen=True)
class Layer:
    """One searched layer; stages and groups are given by their indices."""

    stage: int
    strides: tuple[int, ...]
    """By scale."""
    menu: Menu
    """Options of its group's candidates."""
    group: int
    width: int
    """The group of its output's width."""
    before: int | None
    """The group of its input's width if it is another one that is searched."""
    pairs: tuple[tuple[int, int], ...]
    """(input, output) widths by the choices in `before` and `width`."""
    sizes: tuple[int, ...]
    """Of its input, in pixels, by scale."""

    @cached_property
    def out_sizes(self) -> tuple[int, ...]:
        """Sizes of its output, in pixels, by scale."""
        return tuple(-(-size // s) for size, s in zip(self.sizes, self.strides, strict=True))

    def blocks(self) -> tuple[Block, ...]:
        """All blocks that it may be."""
        pairs = self.pairs if self.before is None else sorted(self.pairs, key=itemgetter(0))
        return tuple(
            option.block(*pair, size, stride)
            for option in self.menu.options
            if option is not None
            for pair in pairs
            for size, stride in dict.fromkeys(zip(self.sizes, self.strides, strict=True))
        )


def single(name: str, variable: str, options: tuple[Setting, ...]) -> Group:
    """A group with a single variable, whose options are the candidates."""
    return Group(name, (Variable(variable, options),), tuple((i,) for i in range(len(options))))


def layer_group(name: str, stage: StageSpec, optional: bool) -> Group:
    """The group of one layer of a stage; an optional layer can be skipped."""
    names = [*stage.operators, *([SKIP] if optional else [])]
    variables = [Variable("operator", tuple(names))]
    for operator, spec in stage.operators.items():
        variables += [Variable(f"{operator}.{k}", tuple(v)) for k, v in spec.settings.items()]
    candidates: list[Row] = []
    for number, operator in enumerate(names):
        axes = [
            range(len(v.options)) if v.name.startswith(f"{operator}.") else (INACTIVE,)
            for v in variables[1:]
        ]
        candidates += [(number, *point) for point in product(*axes)]
    return Group(name, tuple(variables), tuple(candidates))


def menu(stage: StageSpec, optional: bool) -> Menu:
    """The menu of a `layer_group` of a stage, in the order of its candidates."""
    options: list[Option | None] = [o for name in stage.operators for o in stage.options(name)]
    options += [None] if optional else []
    return Menu(tuple(options), {option: number for number, option in enumerate(options)})


def single_steps(group: Group) -> tuple[tuple[int, ...], ...]:
    """Neighbours of every candidate of a group: candidates one step of one variable away.

    A numeric variable moves to an adjacent option, a categorical one (operator, activation) to any
    other. A new operator keeps the values of settings with the same name where possible; its
    other settings take their first option.
    """
    numbers = {row: number for number, row in enumerate(group.candidates)}
    near = (
        {numbers[there] for at in range(len(row)) for there in _steps(group, row, at)}
        for row in group.candidates
    )
    return tuple(tuple(sorted(found)) for found in near)


def _steps(group: Group, row: Row, at: int) -> list[Row]:
    """The rows reached by a step of variable `at`."""
    options, current = group.variables[at].options, row[at]
    if current == INACTIVE:
        return []
    if group.variables[at].name == "operator":
        others = [option for option in range(len(options)) if option != current]
        return [_with_operator(group, row, at, option) for option in others]
    if any(isinstance(option, str) for option in options):
        moved = [option for option in range(len(options)) if option != current]
    else:
        moved = [option for option in (current - 1, current + 1) if 0 <= option < len(options)]
    return [(*row[:at], option, *row[at + 1 :]) for option in moved]


def _with_operator(group: Group, row: Row, at: int, option: int) -> Row:
    """The row after changing variable `at` to another operator, with valid settings."""
    operator = str(group.variables[at].options[option])
    kept = {
        variable.name.partition(".")[2]: variable.options[chosen]
        for variable, chosen in zip(group.variables, row, strict=True)
        if chosen != INACTIVE
    }
    found = []
    for number, variable in enumerate(group.variables):
        owner, _, setting = variable.name.partition(".")
        if number == at:
            found.append(option)
        elif owner != operator or not setting:
            found.append(INACTIVE)
        else:
            value = kept.get(setting)
            found.append(variable.options.index(value) if value in variable.options else 0)
    return tuple(found)
