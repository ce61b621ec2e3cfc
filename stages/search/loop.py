"""The search loop: propose, evaluate, observe. A pure function of its arguments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from models.architecture import Architecture
from models.distribution import Choices
from models.space import SearchSpace
from stages.common.budgets import Limit, total_excess
from stages.search.algorithms.base import Algorithm, Problem, Result
from stages.search.evaluation import Evaluate

# Separate the generators of one seed: a step's samples, and the final answer.
_PROPOSE, _ANSWER = 0, 1


@dataclass(frozen=True)
class Row:
    """One evaluated architecture: a line of `history.csv`.

    Attributes:
        step: counted from 0.
        architecture_id: the architecture's id.
        nll: mean cross-entropy on the step's batch, nats per image.
        weight: omega, its share in the step's update.
        excess: summed fractions by which budgets are passed.
        entropy: of the distribution it was drawn from, in nats.
        samples: how many architectures the step drew.
        choices: the architecture as the space numbers it, separated by spaces.
    """

    step: int
    architecture_id: str
    nll: float
    weight: float
    excess: float
    entropy: float
    samples: int
    choices: str


@dataclass(frozen=True)
class Snapshot:
    """A loop between two steps: what its checkpoint holds."""

    algorithm: dict[str, Any]
    rows: list[Row]

    def state(self) -> dict[str, Any]:
        """Plain values."""
        return {"algorithm": self.algorithm, "rows": [list(astuple(row)) for row in self.rows]}

    @classmethod
    def restored(cls, state: dict[str, Any]) -> Snapshot:
        """What `state` gave."""
        return cls(state["algorithm"], [Row(*row) for row in state["rows"]])


def problem_of(space: SearchSpace, limits: Sequence[Limit], images: int) -> Problem:
    """What an algorithm needs to know of a space and a device's budgets."""
    known: dict[Choices, float] = {}

    def excess(choices: Choices) -> float:
        if choices not in known:
            known[choices] = total_excess(space.architecture(choices), limits)
        return known[choices]

    return Problem(space.groups, excess, images)


def search(
    algorithm: Algorithm,
    architecture: Callable[[Choices], Architecture],
    evaluate: Evaluate,
    resume: Snapshot | None = None,
    after_step: Callable[[Snapshot], None] | None = None,
) -> list[Row]:
    """Run the algorithm to its last step.

    Args:
        algorithm: what proposes and learns; it is left in its final state.
        architecture: the architecture of a tuple of choices.
        evaluate: judges a step's architectures.
        resume: continue from here.
        after_step: is given the state after every step, to save or show.

    Returns:
        One row an evaluated architecture, in order.

    Raises:
        InfeasibleBudgetError: nothing within the budgets was found, before the first step.
    """
    params, rows = algorithm.params, list(resume.rows) if resume else []
    if resume is not None:
        algorithm.restore(resume.algorithm)
    else:  # an impossible search stops here, not after hours
        algorithm.random_feasible(np.random.default_rng([params.seed, _ANSWER]))
    while algorithm.step < params.steps:
        rows += one_step(algorithm, architecture, evaluate)
        if after_step is not None:
            after_step(Snapshot(algorithm.state(), rows))
    return rows


def one_step(
    algorithm: Algorithm, architecture: Callable[[Choices], Architecture], evaluate: Evaluate
) -> list[Row]:
    """Propose, evaluate, observe once; the step's rows."""
    step, entropy = algorithm.step, algorithm.distribution.entropy()
    # A generator of its own for every step: resuming needs no generator's state.
    proposed = algorithm.propose(np.random.default_rng([algorithm.params.seed, _PROPOSE, step]))
    architectures = [architecture(choices) for choices in proposed]
    results = [
        Result(choices, float(nll), float(algorithm.problem.excess(choices)))
        for choices, nll in zip(proposed, evaluate(step, architectures), strict=True)
    ]
    weights = algorithm.observe(results)
    return [
        Row(
            step=step,
            architecture_id=found.id,
            nll=result.nll,
            weight=weight,
            excess=result.excess,
            entropy=entropy,
            samples=len(results),
            choices=" ".join(map(str, result.choices)),
        )
        for found, result, weight in zip(architectures, results, weights, strict=True)
    ]


def answer(algorithm: Algorithm) -> list[Choices]:
    """The finished algorithm's candidates; the first is its own answer."""
    params = algorithm.params
    rng = np.random.default_rng([params.seed, _ANSWER])
    return algorithm.answer(params.candidates, rng)
