"""Tables on terminals of any width: cells are folded, never truncated."""

from __future__ import annotations

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

WIDE = 240
"""Width in characters where the output is not a terminal."""
_UNBOUNDED = 1_000_000
_MIN_FOLDED = 12
"""Smallest width of a folded column; with less space no table is printed."""


def print_table(console: Console, table: Table) -> None:
    """Print a table if it fits, else one block per row with a line for every column.

    Columns with `overflow="fold"` may be folded; the others are never wrapped.
    """
    wide = wide_console(console)
    for column in table.columns:
        column.no_wrap = column.overflow != "fold"
    if _least_width(table) <= wide.width:
        wide.print(table)
        return
    if table.title:
        wide.print(table.title, style="italic")
    for cells in zip(*(list(column.cells) for column in table.columns), strict=True):
        first, *others = map(_text, cells)
        first.stylize("bold")
        wide.print(first, overflow="fold", highlight=False)
        for column, cell in zip(table.columns[1:], others, strict=True):
            if cell.plain:
                heading = " ".join(_text(column.header).plain.split())
                line = Text(f"{heading}: ", overflow="fold").append_text(cell)
                wide.print(Padding(line, (0, 0, 0, 2), expand=False), highlight=False)


def wide_console(console: Console) -> Console:
    """The console, or a wide one if it is not a terminal."""
    return console if console.is_terminal else Console(file=console.file, width=WIDE)


def _least_width(table: Table) -> int:
    """Width of the table with all foldable columns folded."""
    console = Console(width=_UNBOUNDED)
    whole = Measurement.get(console, console.options, table).maximum
    widths = [_width(column) for column in table.columns if column.overflow == "fold"]
    return whole - sum(width - min(width, _MIN_FOLDED) for width in widths)


def _width(column: Column) -> int:
    """Width of the longest line of a column."""
    lines = [line for cell in (column.header, *column.cells) for line in _text(cell).split("\n")]
    return max((line.cell_len for line in lines), default=0)


def _text(cell: RenderableType) -> Text:
    return cell.copy() if isinstance(cell, Text) else Text.from_markup(str(cell))
