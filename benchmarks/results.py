"""Markdown of measurements: tables, and a file whose sections are replaced one by one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)


def verdict(what: str, value: float, goal: float) -> str:
    """One line: a ratio beside the most it should be."""
    return f"{what}: **{value:.3f}** (goal {goal} or less: {'met' if value <= goal else 'missed'})"


def replace_sections(path: Path, title: str, sections: dict[str, str]) -> None:
    """Write sections into a Markdown file; those it has besides stay as they are.

    Args:
        path: the file; it need not exist.
        title: its heading.
        sections: text by heading.
    """
    content: dict[str, str] = {}
    if path.is_file():
        for part in path.read_text(encoding="utf-8").split("\n## ")[1:]:
            heading, _, text = part.partition("\n")
            content[heading] = text.strip()
    content |= sections
    body = "\n\n".join(f"## {heading}\n\n{text.strip()}" for heading, text in content.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# {title}\n\n{body}\n", encoding="utf-8")
