"""Groups of candidates, and the layers of a space.

An architecture selects one CANDIDATE in each GROUP: input resolution, a stage's channels, or one
layer's operator with its settings. Candidates are distinct networks, so a skipped layer is a single
candidate: tuples of candidate indices and architectures correspond one to one. A candidate is a
point in the group's VARIABLES (operator, kernel, expansion, ...); variables of other operators are
INACTIVE.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

from models.space.architecture import SKIP, Block, Setting
from models.space.operators import canonical
from models.space.spec import StageSpec

INACTIVE = -1
RESOLUTION = "resolution"


@dataclass(frozen=True)
class Variable:
    """One variable of a group."""

    name: str
    options: tuple[Setting, ...]


@dataclass(frozen=True)
class Group:
    """One decision of an architecture.

    Attributes:
        name: such as `resolution`, `stage2.channels` or `stage2.layer1`.
        variables: in order.
        candidates: one row per candidate: option index per variable, or INACTIVE.
    """

    name: str
    variables: tuple[Variable, ...]
    candidates: tuple[tuple[int, ...], ...]

    def values(self, candidate: int) -> dict[str, Setting]:
        """Values of the active variables of one candidate."""
        pairs = zip(self.variables, self.candidates[candidate], strict=True)
        return {v.name: v.options[option] for v, option in pairs if option != INACTIVE}

    def label(self, candidate: int) -> str:
        """Stable name of a candidate, used to match distributions between spaces."""
        return ",".join(f"{name}={value}" for name, value in self.values(candidate).items())


@dataclass(frozen=True)
class Option:
    """The operator and settings of a layer's candidate, as stored in a Block."""

    operator: str
    settings: tuple[tuple[str, Setting], ...]

    def block(self, channels: int, width: int, size: int, stride: int) -> Block:
        """The block with `channels` inputs of `size` pixels and `width` outputs."""
        return Block(self.operator, channels, width, size, stride, self.settings)


@dataclass(frozen=True, eq=False)
class Menu:
    """Maps candidate indices of a layer's group to options and back; None is a skipped layer.

    Layers of a stage share one; it is compared by identity.
    """

    options: tuple[Option | None, ...]
    numbers: Mapping[Option | None, int]


@dataclass(frozen=True)
class Layer:
    """One searched layer.

    Attributes:
        stage: index of its stage.
        first: whether it is the first of the stage, which changes width and size.
        stride: 1 or 2.
        group: index of its group.
        menu: options of its group's candidates.
    """

    stage: int
    first: bool
    stride: int
    group: int
    menu: Menu


def single(name: str, variable: str, options: tuple[Setting, ...]) -> Group:
    """A group with a single variable, whose options are the candidates."""
    return Group(name, (Variable(variable, options),), tuple((i,) for i in range(len(options))))


def layer_group(name: str, stage: StageSpec, optional: bool) -> Group:
    """The group of one layer of a stage; an optional layer can be skipped."""
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
    """The menu of a layer's group in a stage."""
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
