"""Heat map in `search.png`: option probabilities, one row per group, one column per option.

A layer's candidate takes one option of each of its variables, and there may be dozens of
candidates; so the marginal probability (or frequency in a population) of every option of every
variable is shown, for factorised and joint distributions alike. Axes: G groups of candidates, O
options.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes

from models.space.architecture import Setting
from models.space.distribution import Vector
from models.space.groups import Group

_SMALL = 8
_LETTER = 0.075
"""Maximum width of a small character in inches."""


@dataclass(frozen=True)
class Columns:
    """The options of one variable, side by side."""

    variable: str
    values: tuple[Setting, ...] | None
    """The options of all groups; None if each has its own (such as channels), drawn from the first
    column on."""
    width: int
    """Number of columns."""

    @property
    def words(self) -> list[str]:
        """The label below each column."""
        return [""] * self.width if self.values is None else [*map(str, self.values)]

    def place(self, options: Sequence[Setting], option: Setting) -> int:
        """The column of a group's option."""
        return (options if self.values is None else self.values).index(option)


@dataclass(frozen=True)
class HeatMap:
    """Content of the heat map: groups with several candidates, variables with several options."""

    groups: tuple[Group, ...]
    blocks: tuple[Columns, ...]
    shares_GO: Vector
    """Probability of each option, which may be 0 because its operator is not taken; NaN if the
    group has no such option."""
    own_GO: list[list[str]]
    """Label of a cell if its column has none; otherwise empty."""

    @property
    def size(self) -> tuple[float, float]:
        """Width and height in inches at which all labels are readable."""
        rows, columns = self.shares_GO.shape
        names = max(len(group.name) for group in self.groups)
        above = max(len(block.variable) for block in self.blocks)
        below = max(len(word) for block in self.blocks for word in block.words)
        return (
            max(7.5, 0.24 * columns + _LETTER * names + 2),
            max(7.0, 0.2 * rows + _LETTER * (above + below) + 1),
        )

    @classmethod
    def of(cls, groups: Sequence[Group], shares: Sequence[Vector]) -> HeatMap:
        """Arrange the candidates' probabilities, one vector per group."""
        pairs = list(zip(groups, shares, strict=True))
        shown = [pair for pair in pairs if len(pair[0].candidates) > 1] or pairs
        kept = tuple(group for group, _ in shown)
        every = [_columns(name, kept) for name in _names(kept)]
        blocks = tuple([block for block in every if block.width > 1] or every)
        starts = np.cumsum([0, *(block.width for block in blocks)])
        shares_GO = np.full((len(kept), int(starts[-1])), np.nan)
        own_GO = [[""] * int(starts[-1]) for _ in kept]
        for at, (group, share) in enumerate(shown):
            options = {v.name: v.options for v in group.variables}
            for block, start in zip(blocks, starts, strict=False):
                for option in options.get(block.variable, ()):
                    place = start + block.place(options[block.variable], option)
                    shares_GO[at, place] = _share(group, share, block.variable, option)
                    own_GO[at][place] = "" if block.values is not None else str(option)
        return cls(kept, blocks, shares_GO, own_GO)


def _share(group: Group, share: Vector, variable: str, option: Setting) -> float:
    """Summed probability of the candidates with this option."""
    has = [c for c in range(len(share)) if group.values(c).get(variable) == option]
    return float(share[has].sum())


def _names(groups: Sequence[Group]) -> list[str]:
    """The distinct variables of all groups."""
    return list(dict.fromkeys(v.name for group in groups for v in group.variables))


def _columns(name: str, groups: Sequence[Group]) -> Columns:
    lists = [v.options for group in groups for v in group.variables if v.name == name]
    values, longest = list(dict.fromkeys(o for some in lists for o in some)), max(map(len, lists))
    if len(values) > 2 * longest:
        return Columns(name, None, longest)
    if not any(isinstance(value, str) for value in values):
        values.sort(key=float)
    return Columns(name, tuple(values), len(values))


def draw(axes: Axes, shown: HeatMap, title: str, meaning: str) -> None:
    """Draw the heat map; cells are labelled where columns are not. `meaning` is of the colours."""
    image = axes.imshow(shown.shares_GO, vmin=0, vmax=1, aspect="auto", cmap="viridis")
    axes.figure.colorbar(image, ax=axes, label=meaning)
    for at, row in enumerate(shown.own_GO):
        for place, word in enumerate(row):
            if not word:
                continue
            colour = "black" if shown.shares_GO[at, place] > 0.6 else "white"
            axes.text(place, at, word, ha="center", va="center", fontsize=7, color=colour)
    words = [word for block in shown.blocks for word in block.words]
    axes.set_xticks(range(len(words)), words, rotation=90, fontsize=_SMALL)
    names = [group.name for group in shown.groups]
    axes.set_yticks(range(len(names)), names, fontsize=_SMALL)
    _separate(axes, shown, names)
    axes.set(title=title, xlabel="option (in the cell where each choice has its own)")


def _separate(axes: Axes, shown: HeatMap, names: Sequence[str]) -> None:
    """Draw lines between variables, with their names above, and between stages."""
    edges = np.cumsum([0, *(block.width for block in shown.blocks)]) - 0.5
    for edge in edges[1:-1]:
        axes.axvline(edge, color="white", linewidth=4)
    for at, (above, below) in enumerate(pairwise(name.partition(".")[0] for name in names)):
        if above != below:
            axes.axhline(at + 0.5, color="white", linewidth=2)
    above_axes = axes.secondary_xaxis("top")
    above_axes.set_xticks(
        [(low + high) / 2 for low, high in pairwise(edges)],
        [block.variable for block in shown.blocks],
        rotation=90,
        fontsize=_SMALL,
    )
