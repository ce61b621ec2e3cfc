"""Reading any CSV of features and a target: what can be used, and what was left out and why.

Whatever is wrong with a table raises `UserError`. Axes: N rows, F features.
"""

from __future__ import annotations

import csv
import difflib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.harness.presets import shown_space
from core.errors import UserError
from models.predict.fit import Examples
from models.predict.predictor import Values
from models.space.stage_features import stage_features, stage_sizes

COLUMN = "choices"


def with_features(cells: Table, file: Path) -> tuple[Table, list[str]]:
    """The table with a column for every feature of its networks, and those columns' names."""
    space = shown_space(file)
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


MISSING = {"", "na", "n/a", "nan", "null", "none", "-", "?", "inf", "-inf", "+inf", "infinity"}
WORDS = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}
DELIMITERS = ",;\t|"
_COPY = 1 - 1e-12  # of a correlation


@dataclass(frozen=True)
class Table:
    """A CSV file's cells by column, as they stand there."""

    path: Path
    columns: Mapping[str, Sequence[str]]

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(next(iter(self.columns.values())))


def read_table(path: Path) -> Table:
    """Read a CSV file with a header; the delimiter is the header's."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        delimiter = max(DELIMITERS, key=text.partition("\n")[0].count)
        lines = [line for line in csv.reader(io.StringIO(text), delimiter=delimiter) if line]
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {error.reason}.") from error
    except csv.Error as error:
        raise UserError(f"{path} is no CSV: {error}.") from error
    if len(lines) < 2:
        raise UserError(f"{path} has no rows below its header.")
    names = [name.strip() or f"column {at + 1}" for at, name in enumerate(lines[0])]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"{path} has two columns '{twice}'. Rename or remove one.")
    for at, line in enumerate(lines[1:], 2):
        if len(line) != len(names):
            raise UserError(
                f"{path}, line {at}: {len(line)} cells, and the header has {len(names)}."
            )
    point = "," if delimiter != "," else "."  # the decimal point
    cells = zip(*lines[1:], strict=True)
    columns = ([x.strip().replace(point, ".") for x in column] for column in cells)
    return Table(path, dict(zip(names, columns, strict=True)))


def examples_of(
    table: Table, target: str, features: Sequence[str] | None = None
) -> tuple[Examples, list[str]]:
    """What of a table can be learnt from, and what was left out and why, in words.

    Without `features` every column of numbers is one that neither numbers the rows nor repeats the
    target or another.
    """
    for name in (target, *(features or ())):
        if name not in table.columns:
            match = difflib.get_close_matches(name, table.columns, n=1)
            hint = f" Did you mean '{match[0]}'?" if match else ""
            names = ", ".join(table.columns)
            raise UserError(f"{table.path} has no column '{name}'.{hint} It has: {names}.")
    if target in (features or ()):
        raise UserError(f"'{target}' is the target: it cannot be a feature as well.")
    notes: list[str] = []
    columns: dict[str, Values] = {}
    for name in dict.fromkeys(features or [name for name in table.columns if name != target]):
        try:
            columns[name] = _column(table, name, features is not None)
        except UserError as error:
            if features:
                raise
            notes.append(f"column '{name}' is no feature: {error}")
    target_N = _numbers(table, target)
    whole_N = ~np.isnan([target_N, *columns.values()]).any(0)
    if not whole_N.all():
        lost = int((~whole_N).sum())
        notes.append(f"{lost} of {table.rows} rows were left out: a number is missing there.")
    if not whole_N.any():
        raise UserError(f"no row has both '{target}' and all features.")
    columns, target_N = {name: x[whole_N] for name, x in columns.items()}, target_N[whole_N]
    if np.ptp(target_N) == 0:
        raise UserError(f"'{target}' is {target_N[0]:g} in every row: nothing to predict.")
    kept = _informative(columns, target_N, features is not None, notes)
    return Examples(tuple(kept), np.column_stack([*kept.values()]), target, target_N), notes


def _numbers(table: Table, name: str) -> Values:
    """A column as numbers, NaN where one is missing."""
    found = np.full(table.rows, np.nan)
    for row, cell in enumerate(table.columns[name]):
        word = cell.lower()
        if word in MISSING:
            continue
        try:
            value = WORDS[word] if word in WORDS else float(cell)
        except ValueError:
            raise UserError(
                f"'{cell}' in column '{name}' (row {row + 1} below the header) is not a number."
            ) from None
        found[row] = value if math.isfinite(value) else np.nan
    return found


def _column(table: Table, name: str, named: bool) -> Values:
    """A feature's numbers; an error where the column cannot be a feature."""
    column_N = _numbers(table, name)
    gap = float(np.isnan(column_N).mean())
    if named and gap == 1:
        raise UserError(f"column '{name}' holds no number at all.")
    if not named and gap > 0.5:
        raise UserError(f"{gap:.0%} of its cells are empty.")
    if not named and table.rows > 3 and (np.diff(column_N) == 1).all():
        raise UserError("it numbers the rows.")
    return column_N


def _informative(
    columns: dict[str, Values], target_N: Values, named: bool, notes: list[str]
) -> dict[str, Values]:
    """The columns that are neither constant nor copies of another or of the target."""
    kept: dict[str, Values] = {}
    units: dict[str, Values] = {}  # of the kept columns
    goal_N = _unit(target_N)
    for name, column_N in columns.items():
        if np.ptp(column_N) == 0:
            notes.append(f"column '{name}' is no feature: it is {column_N[0]:g} in every row.")
            continue
        unit_N = _unit(column_N)
        copy = next((other for other, x in units.items() if abs(float(x @ unit_N)) > _COPY), None)
        if copy is not None:
            notes.append(f"column '{name}' is no feature: it says the same as '{copy}'.")
        elif not named and abs(float(goal_N @ unit_N)) > _COPY:
            notes.append(f"column '{name}' is no feature: it is the target in another unit.")
        else:
            kept[name], units[name] = column_N, unit_N
    if not kept:
        raise UserError("no column is left to predict from: " + " ".join(notes))
    return kept


def _unit(column_N: Values) -> Values:
    """A column that varies, centred and of length 1: products of two are their correlation."""
    centred_N = column_N - column_N.mean()
    # Scaled first, so that squares of very large or small numbers stay numbers.
    centred_N = centred_N / np.abs(centred_N).max()
    found_N: Values = centred_N / math.sqrt(float(centred_N @ centred_N))
    return found_N
