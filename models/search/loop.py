"""The search loop: propose, evaluate, observe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from core.checkpoint import Checkpoint
from core.progress import Progress
from models.search.algorithms.base import Algorithm, Result
from models.search.evaluation import Evaluate
from models.space.architecture import Architecture
from models.space.distribution import Choices
from models.space.space import SearchSpace

# Separate random streams of one seed: a step's samples, and the final answer.
_PROPOSE, _ANSWER = 0, 1


@dataclass(frozen=True)
class Row:
    """One evaluated architecture: a row of `history.csv`.

    Attributes:
        step: counted from 0.
        architecture_id: the architecture's id.
        nll: mean cross-entropy on held-out images, nats per image; None if the algorithm
            evaluates none.
        accuracy: top-1 accuracy on the same images, or None.
        value: what the algorithm minimises: the NLL, or an indicator's negative.
        weight: omega, its share in the step's update.
        excess: summed fractions by which budgets are exceeded.
        entropy: of the distribution it was drawn from, in nats; None if there is none.
        samples: number of architectures of the step.
        choices: the architecture's candidate numbers, separated by spaces.
    """

    step: int
    architecture_id: str
    nll: float | None
    accuracy: float | None
    value: float
    weight: float
    excess: float
    entropy: float | None
    samples: int
    choices: str


@dataclass(frozen=True)
class Snapshot:
    """State of the loop between two steps, as saved in checkpoints."""

    algorithm: dict[str, Any]
    rows: list[Row]

    def state(self) -> dict[str, Any]:
        """Plain values."""
        return {"algorithm": self.algorithm, "rows": [list(astuple(row)) for row in self.rows]}

    @classmethod
    def restored(cls, state: dict[str, Any]) -> Snapshot:
        """Restore from `state`."""
        return cls(state["algorithm"], [Row(*row) for row in state["rows"]])


def search(
    algorithm: Algorithm,
    architecture: Callable[[Choices], Architecture],
    evaluate: Evaluate,
    resume: Snapshot | None = None,
    after_step: Callable[[Snapshot], None] | None = None,
) -> list[Row]:
    """Run the algorithm to its last step; one row per evaluated architecture, in order.

    Args:
        algorithm: left in its final state.
        architecture: from a tuple of choices to the architecture.
        evaluate: evaluates a step's architectures.
        resume: state to continue from.
        after_step: called with the state after every step, to save or report.

    Raises:
        InfeasibleBudgetError: nothing within the budgets was found, before the first step.
    """
    rows = list(resume.rows) if resume else []
    if resume is not None:
        algorithm.restore(resume.algorithm)
    else:  # fail before the first step if nothing is feasible
        algorithm.random_feasible(np.random.default_rng([algorithm.params.seed, _ANSWER]))
    while not algorithm.finished:
        rows += one_step(algorithm, architecture, evaluate)
        if after_step is not None:
            after_step(Snapshot(algorithm.state(), rows))
    return rows


def one_step(
    algorithm: Algorithm, architecture: Callable[[Choices], Architecture], evaluate: Evaluate
) -> list[Row]:
    """Propose, evaluate, observe once; return the step's rows."""
    step, before = algorithm.step, algorithm.distribution
    # A separate generator per step: resuming needs no generator state.
    excess = algorithm.problem.excess
    proposed = algorithm.propose(np.random.default_rng([algorithm.params.seed, _PROPOSE, step]))
    architectures = [architecture(choices) for choices in proposed]
    no_images = algorithm.evaluation_mode == "no_images"
    found = [None] * len(proposed) if no_images else evaluate(step, architectures)
    results = [
        Result(choices, None if one is None else float(one.nll), float(excess(choices)))
        for choices, one in zip(proposed, found, strict=True)
    ]
    weights = algorithm.observe(results)
    return [
        Row(
            step=step,
            architecture_id=one.id,
            nll=result.nll,
            accuracy=None if score is None else float(score.accuracy),
            value=algorithm.value(result),
            weight=weight,
            excess=result.excess,
            entropy=None if before is None else before.entropy(),
            samples=len(results),
            choices=" ".join(map(str, result.choices)),
        )
        for one, score, result, weight in zip(architectures, found, results, weights, strict=True)
    ]


def answer(algorithm: Algorithm) -> list[Choices]:
    """The finished algorithm's candidates, best first."""
    params = algorithm.params
    rng = np.random.default_rng([params.seed, _ANSWER])
    return algorithm.answer(params.candidates, rng)


def run_search(
    algorithm: Algorithm,
    space: SearchSpace,
    evaluate: Evaluate,
    checkpoint: Checkpoint,
) -> list[Row]:
    """Run the search from the checkpoint, saving and reporting progress."""
    params = algorithm.params
    state = checkpoint.load()
    resume = None if state is None else Snapshot.restored(state)
    start = 0 if resume is None else int(resume.algorithm["step"])
    with Progress("search", params.steps, start) as progress:

        def after_step(snapshot: Snapshot) -> None:
            step = int(snapshot.algorithm["step"])
            if step % params.checkpoint_every == 0:
                checkpoint.save(snapshot.state())
            progress.update(step, summary(snapshot.rows))

        return search(algorithm, space.architecture, evaluate, resume, after_step)


def summary(rows: Sequence[Row]) -> dict[str, float]:
    """Values of the last step for its progress line."""
    last = [row for row in rows if row.step == rows[-1].step]
    values = [row.value if row.nll is None else row.nll for row in last]
    shown = {"value" if last[0].nll is None else "nll": sum(values) / len(values)}
    if last[0].entropy is not None:
        shown["entropy"] = last[0].entropy
    return shown | {
        "samples": len(rows),
        "over_budget": sum(row.excess for row in last) / len(last),
    }
