"""The search stage's output; equal searches give equal bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.files import rounded, write_bytes, write_json
from models.search.algorithms.base import Algorithm
from models.search.candidates import Candidate, Candidates, Costs
from models.search.history import history_csv
from models.search.loop import Row, answer
from models.search.picture import search_png
from models.search.start import Start
from models.space.architecture import Architecture
from models.space.distribution import SCHEMA, Choices
from models.space.limits import Limit
from models.space.space import SearchSpace


@dataclass(frozen=True)
class FinishedSearch:
    """A finished search.

    Attributes:
        algorithm: in its final state.
        rows: the evaluated architectures.
        space: the device's search space.
        left_out: operators that it leaves out.
        costs: predicted costs of an architecture on the device.
        limits: the device's budgets, the latency budget reduced by the margin.
        margin: fraction of the latency budget left free; None without one.
        start: the initial distribution.
    """

    algorithm: Algorithm
    rows: Sequence[Row]
    space: SearchSpace
    left_out: Sequence[str]
    costs: Callable[[Architecture], Costs]
    limits: Sequence[Limit]
    margin: float | None
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
        )

    def _candidate(self, choices: Choices) -> Candidate:
        architecture, drawn_from = self.space.architecture(choices), self.algorithm.distribution
        return Candidate(
            architecture=architecture,
            architecture_id=architecture.id,
            log_probability=None if drawn_from is None else rounded(drawn_from.log_prob(choices)),
            costs=self.costs(architecture),
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
