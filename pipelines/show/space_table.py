"""`netwright space`: number of architectures, variables, layers and cost ranges of a space."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from core.errors import UserError, nearest
from models.space import costs
from models.space.architecture import RESIZE, Architecture, Block, Setting
from models.space.distribution import Distribution
from models.space.file import PRESETS, read_spec
from models.space.space import SearchSpace
from pipelines.tables import print_table

LISTED = 8
"""Largest number of values that are listed; of more, only the first and the last are shown."""


@dataclass(frozen=True)
class Row:
    """Consecutive layers with the same options, or the resize, the stem, or the head."""

    name: str
    pixels: tuple[int, ...]
    """Heights of the input, over all resolutions and strides."""
    strides: tuple[int, ...]
    channels: tuple[int, ...]
    options: Mapping[str, Mapping[str, Sequence[Setting]]]
    """Options per operator and setting."""
    optional: bool
    candidates: int
    """Number of candidates of each layer."""


def open_space(
    name: str, size: int | None, channels: int | None, classes: int | None
) -> SearchSpace:
    """Open a preset by its name, or a YAML file; None takes the value that the space's file gives.

    Raises:
        UserError: there is no such preset.
        SpaceError: the file is invalid, or does not fit the images.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml") and path.name == name:
        path = PRESETS / f"{name}.yaml"
        if not path.is_file():
            known = [file.stem for file in PRESETS.glob("*.yaml")]
            raise UserError(
                f"no search space '{name}'.{nearest(name, known)} For your own space, give the "
                "path of its YAML file."
            )
    spec = read_spec(path)
    shown = spec.shown_images
    side = size or shown.size
    return SearchSpace(spec, (channels or shown.channels, side, side), classes or shown.classes)


def print_space(console: Console, space: SearchSpace) -> None:
    """Print a space: its size, layers, variables and costs."""
    title = f"space '{escape(space.name)}' for {format_images(space)}"
    count = f"{title}: {format_count(space.count())} architectures"
    console.print(count, highlight=False, soft_wrap=True)
    for table in (layer_table(space), variables_table(space), cost_table(space)):
        console.print()
        print_table(console, table)
    logits = [Distribution(space.groups, form).size for form in ("factorised", "joint")]
    console.print(
        f"\nthe distribution has {logits[0]:,} parameters (factorised) or {logits[1]:,} (joint);"
        f" candidate weights are {space.spec.weights} in the supernet",
        highlight=False,
        soft_wrap=True,
    )


def build_rows(space: SearchSpace) -> list[Row]:
    """The rows from input to logits; consecutive layers with the same options are one row."""
    spec, found = space.spec, []
    at = {position: blocks for position, blocks in enumerate(space.possible())}
    front = len(at) - len(space.layers) - 1
    if front == 2:
        sizes = sorted({block.out_size for block in at[0]})
        found.append(_fixed(RESIZE, at[0], {"to": sizes}))
    found.append(_fixed("stem", at[front - 1], {k: [v] for k, v in spec.stem.settings.items()}))
    alike = groupby(enumerate(space.layers), key=lambda pair: (pair[1].menu, pair[1].strides))
    for _, same in alike:
        pairs = list(same)
        position, layer = pairs[0][0] + front, pairs[0][1]
        stage = spec.stages[layer.stage]
        first = sum(1 for other in space.layers[: pairs[0][0]] if other.stage == layer.stage) + 1
        last = first + len(pairs) - 1
        numbers = f"layer {first}" if first == last else f"layers {first} to {last}"
        found.append(
            Row(
                f"stage{layer.stage + 1} {numbers}",
                _pixels(at[position]),
                tuple(sorted(set(layer.strides))),
                tuple(stage.channels),
                {name: given.settings for name, given in stage.operators.items()},
                None in layer.menu.numbers,
                len(layer.menu.options),
            )
        )
    found.append(_fixed("head", at[len(at) - 1], {k: [v] for k, v in spec.head.settings.items()}))
    return found


def layer_table(space: SearchSpace) -> Table:
    """Table of the layers and their options."""
    names = ("pixels", "stride", "channels", "operators and settings")
    folded = (Column(name, overflow="fold") for name in names)
    ends = Column("optional", justify="center"), Column("candidates", justify="right")
    table = Table("layers", *folded, *ends, box=None, pad_edge=False)
    for row in build_rows(space):
        table.add_row(
            row.name,
            format_values(row.pixels),
            format_values(row.strides),
            format_values(row.channels),
            escape("\n".join(f"{name}: {text}" for name, text in format_operators(row))),
            "yes" if row.optional else "",
            f"{row.candidates:,}",
        )
    return table


def format_operators(row: Row) -> Iterator[tuple[str, str]]:
    """Each operator of a row with its settings as text."""
    for name, settings in row.options.items():
        words = ", ".join(f"{key} {format_values(values)}" for key, values in settings.items())
        yield name, words or "no settings"


def variables_table(space: SearchSpace) -> Table:
    """Table of the variables of an architecture, over all layers."""
    table = Table("variable", Column("options", overflow="fold"), box=None, pad_edge=False)
    layers = [len(space.layers), sum(stage.fixed_layers for stage in space.spec.stages)]
    if layers[0] != layers[1]:
        table.add_row("depth", f"{layers[1]} to {layers[0]} layers")
    for name, values in find_variables(space).items():
        table.add_row(escape(name), escape(format_values(values)))
    return table


def find_variables(space: SearchSpace) -> dict[str, list[Setting]]:
    """Each variable with more than one option in any group, with all its options."""
    found: dict[str, dict[Setting, None]] = {}
    for group in space.groups:
        for variable in group.variables:
            if len(variable.options) > 1:
                found.setdefault(variable.name, {}).update(dict.fromkeys(variable.options))
    return {name: sorted(values, key=_sort_key) for name, values in found.items()}


def cost_table(space: SearchSpace) -> Table:
    """The exact smallest and largest value of each cost."""
    right = (Column(heading, justify="right") for heading in ("smallest", "largest"))
    table = Table("cost", *right, box=None, pad_edge=False)

    def add(
        name: str,
        of_block: Callable[[Block], int],
        of_network: Callable[[Architecture], int],
        peak: bool = False,
    ) -> None:
        ends = (space.extreme(of_block, largest, peak) for largest in (False, True))
        table.add_row(name, *(f"{of_network(architecture):,}" for architecture in ends))

    memory = costs.block_activation_bytes, costs.peak_activation_bytes
    with _one_thread():
        add("multiply-accumulates", costs.block_flops, costs.flops)
        add("parameters", costs.block_parameters, costs.parameters)
        add("peak activation memory, bytes", *memory, peak=True)
    return table


def format_values(values: Sequence[Setting]) -> str:
    """Values as text: all of a few, the first and the last of many."""
    if len(values) > LISTED:
        return f"{values[0]} to {values[-1]} ({len(values)} values)"
    return " ".join(map(str, values))


def format_images(space: SearchSpace) -> str:
    """The images and classes of a space as text."""
    channels, size, _ = space.image_shape
    return f"{size}x{size}x{channels} images of {space.classes:,} classes"


def format_count(number: int) -> str:
    """A count: all digits below 10**15, else in scientific notation."""
    if number < 10**15:
        return f"{number:,}"
    power = len(str(number)) - 1
    return f"{number // 10 ** (power - 2) / 100:.2f}e{power}"


@contextmanager
def _one_thread() -> Iterator[None]:
    """Set torch to one thread: for tensors this small, its threads only add overhead."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _fixed(name: str, blocks: Sequence[Block], settings: Mapping[str, Sequence[Setting]]) -> Row:
    widths = tuple(dict.fromkeys(block.out_channels for block in blocks))
    options = {blocks[0].operator: settings}
    many = len(blocks) if name == RESIZE else 1
    strides = tuple(sorted({block.stride for block in blocks}))
    return Row(name, _pixels(blocks), strides, widths, options, False, many)


def _pixels(blocks: Sequence[Block]) -> tuple[int, ...]:
    return tuple(sorted({block.size for block in blocks}))


def _sort_key(value: Setting) -> tuple[bool, float, str]:
    """Sort key: numbers before strings."""
    return isinstance(value, str), 0.0 if isinstance(value, str) else value, str(value)
