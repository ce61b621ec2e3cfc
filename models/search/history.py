"""`history.csv`: one row per evaluated architecture."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence

from models.search.loop import Row
from models.space.architecture import Architecture
from models.space.space import SearchSpace

COLUMNS = (
    "step", "architecture_id", "nll", "accuracy", "value", "omega", "latency_ms", "flops",
    "parameters", "size_mb", "memory_mb", "excess", "entropy", "samples", "choices",
)  # fmt: skip


def history_csv(
    rows: Sequence[Row],
    space: SearchSpace,
    costs: Callable[[Architecture], dict[str, float | None]],
) -> bytes:
    """The evaluated architectures in order, as CSV; fields not measured are empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        cost = costs(space.architecture([int(word) for word in row.choices.split()]))
        writer.writerow(
            [
                row.step,
                row.architecture_id,
                _number(row.nll),
                _number(row.accuracy),
                f"{row.value:.6f}",
                f"{row.weight:.6f}",
                "" if cost["latency_ms"] is None else cost["latency_ms"],
                cost["flops"],
                cost["parameters"],
                cost["size_mb"],
                "" if cost["memory_mb"] is None else cost["memory_mb"],
                f"{row.excess:.6f}",
                _number(row.entropy),
                row.samples,
                row.choices,
            ]
        )
    return text.getvalue().encode()


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"
