"""Markdown of measurements: tables, and a file whose sections are replaced one by one."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


def spread_of(values: Sequence[float], digits: int) -> str:
    """Mean and standard deviation of a sample; of one value itself."""
    mean = f"{statistics.fmean(values):.{digits}f}"
    if len(values) < 2:
        return mean
    return f"{mean} ± {statistics.stdev(values):.{digits}f}"


def verdict(what: str, value: float, goal: float) -> str:
    """One line: a ratio beside the most it should be."""
    return f"{what}: **{value:.3f}** (goal {goal} or less: {'met' if value <= goal else 'missed'})"


def replace_sections(path: Path, title: str, sections: dict[str, str]) -> None:
    """Write sections into a Markdown file; whatever else it holds stays as it is.

    Args:
        path: the file; it need not exist.
        title: its heading, where it is new.
        sections: text by heading.
    """
    before, content = f"# {title}", dict[str, str]()
    if path.is_file():
        before, *parts = path.read_text(encoding="utf-8").split("\n## ")
        content = {heading: text for heading, _, text in (part.partition("\n") for part in parts)}
    content |= sections
    whole = [before, *(f"## {heading}\n\n{text.strip()}" for heading, text in content.items())]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(part.strip() for part in whole) + "\n", encoding="utf-8")
