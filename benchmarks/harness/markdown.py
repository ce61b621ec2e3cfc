"""Markdown of measurements: tables, and a page whose sections are replaced one by one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


def number(value: float | None, form: str) -> str:
    """A formatted number; a dash where it was not measured."""
    return "-" if value is None else format(value, form)


def verdict(what: str, value: float, goal: float) -> str:
    """One line: a ratio beside the most it should be."""
    return f"{what}: **{value:.3f}** (goal {goal} or less: {'met' if value <= goal else 'missed'})"


def write_sections(path: Path | None, title: str, sections: dict[str, str]) -> None:
    """Print sections (text by heading); replace them in a Markdown file, whose rest stays."""
    for heading, text in sections.items():
        print(f"\n## {heading}\n\n{text}", flush=True)
    if path is None:
        return
    before, content = f"# {title}", dict[str, str]()
    if path.is_file():
        before, *parts = path.read_text(encoding="utf-8").split("\n## ")
        content = {heading: text for heading, _, text in (part.partition("\n") for part in parts)}
    content |= sections
    whole = [before, *(f"## {heading}\n\n{text.strip()}" for heading, text in content.items())]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(part.strip() for part in whole) + "\n", encoding="utf-8")
