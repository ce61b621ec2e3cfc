"""The search stage's output; equal searches give equal bytes."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from core.files import rounded, write_bytes, write_json
from models.search.algorithms.base import Algorithm
from models.search.candidates import Candidate, Candidates, Costs
from models.search.loop import Row, answer
from models.search.picture import search_png
from models.search.start import Start
from models.space.architecture import Architecture
from models.space.distribution import SCHEMA, Choices
from models.space.limits import Limit
from models.space.space import SearchSpace


@dataclass(frozen=True)
class FinishedSearch:
    """A finished search."""

    algorithm: Algorithm
    rows: Sequence[Row]
    space: SearchSpace
    """The device's."""
    left_out: Sequence[str]
    """Operators that it leaves out."""
    costs: Callable[[Architecture], Costs]
    """Predicted on the device."""
    limits: Sequence[Limit]
    """The device's budgets, the latency budget reduced by the margin."""
    margin: float | None
    """Fraction of the latency budget left free; None without one."""
    start: Start

    def candidates(self) -> Candidates:
        """The algorithm's answer."""
        return Candidates(
            algorithm=self.algorithm.settings.name,
            space=self.space.name,
            left_out=tuple(self.left_out),
            candidates=tuple(self._candidate(choices) for choices in answer(self.algorithm)),
            latency_margin=rounded(self.margin),
            sampled_architectures=self.algorithm.samples,
            judged_architectures=len(self.algorithm.judged),
        )

    def _candidate(self, choices: Choices) -> Candidate:
        architecture, drawn_from = self.space.architecture(choices), self.algorithm.distribution
        return Candidate(
            architecture=architecture,
            architecture_id=architecture.id,
            log_probability=None if drawn_from is None else rounded(drawn_from.log_prob(choices)),
            costs=self.costs(architecture),
            nll=self.algorithm.comparable_nll(choices),
        )

    def write(self, out: Path) -> None:
        """Write candidates, history, start, picture, and what only some algorithms have."""
        algorithm = self.algorithm
        self.candidates().write(out)
        if algorithm.distribution is not None:
            write_json(out / "distribution.json", SCHEMA, algorithm.distribution.to_json())
        write_bytes(out / "history.csv", history_csv(self.rows, self.space, self.costs))
        for name, content in algorithm.artifacts().items():
            write_bytes(out / name, content)
        picture = search_png(self.rows, self.space, algorithm, self.costs, self.limits)
        write_bytes(out / "search.png", picture)
        write_json(
            out / "start.json", "netwright/start/1", self.start.report(algorithm.start_weight)
        )


COLUMNS = (
    "step", "architecture_id", "nll", "accuracy", "value", "omega", "latency_ms", "flops",
    "parameters", "size_mb", "memory_mb", "excess", "entropy", "samples", "choices",
)  # fmt: skip
ROUNDED = ("nll", "accuracy", "value", "omega", "excess", "entropy")


def history_csv(
    rows: Sequence[Row],
    space: SearchSpace,
    costs: Callable[[Architecture], dict[str, float | None]],
) -> bytes:
    """The evaluated architectures in order, as CSV; fields not measured are empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        cost = costs(space.architecture([int(word) for word in row.choices.split()]))
        values = asdict(row) | {"omega": row.weight}
        numbers = {n: "" if x is None else f"{x:.6f}" for n, x in values.items() if n in ROUNDED}
        known = values | cost | numbers
        writer.writerow({name: known[name] for name in COLUMNS})
    return text.getvalue().encode()
