"""The readable features of the networks of a table, whose column `choices` says which they are."""

from __future__ import annotations

from pathlib import Path

from benchmarks.predictors.table import Table
from core.errors import UserError
from models.space.file import read_spec
from models.space.space import SearchSpace
from models.space.stage_features import stage_features, stage_sizes

COLUMN = "choices"


def with_features(cells: Table, file: Path) -> tuple[Table, list[str]]:
    """The table with a column for every feature of its networks, and those columns' names.

    Raises:
        UserError: there is no column `choices`, or a row of it is no network of the space.
        SpaceError: the space cannot be read.
    """
    spec = read_spec(file)
    images = spec.shown_images
    shape = (images.channels, images.size, images.size)
    space = SearchSpace(spec, shape, images.classes)
    if COLUMN not in cells.columns:
        raise UserError(f"{cells.path} has no column '{COLUMN}': leave --space out.")
    sizes = stage_sizes(space.groups)
    rows = []
    for number, text in enumerate(cells.columns[COLUMN], 1):
        words = text.split()
        fits = len(words) == len(space.groups) and all(
            word.isdecimal() and int(word) < len(group.candidates)
            for word, group in zip(words, space.groups, strict=True)
        )
        if not fits:
            raise UserError(
                f"row {number} below the header: choices '{text}' are no network of space "
                f"'{space.name}'."
            )
        rows.append(stage_features(space.architecture([*map(int, words)]), sizes))
    found = {name: [repr(row[name]) for row in rows] for name in rows[0]}
    return Table(cells.path, {**cells.columns, **found}), [*found]
