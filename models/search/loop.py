"""The search loop: propose, evaluate, observe; at the end order a shortlist on the same images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
        step: counted from 0; the number of steps for the shortlist, evaluated after the last one.
        architecture_id: the architecture's id.
        nll: mean cross-entropy on held-out images, nats per image; None if the algorithm
            evaluates none.
        accuracy: top-1 accuracy on the same images, or None.
        value: what the algorithm minimises: the NLL, or an indicator's negative.
        weight: omega, its share in the step's update; None in the shortlist.
        excess: summed fractions by which budgets are exceeded.
        entropy: of the distribution it was drawn from, in nats; None if there is none.
        samples: number of architectures of the step, or of the shortlist.
        choices: the architecture's candidate numbers, separated by spaces.
    """

    step: int
    architecture_id: str
    nll: float | None
    accuracy: float | None
    value: float
    weight: float | None
    excess: float
    entropy: float | None
    samples: int
    choices: str


@dataclass(frozen=True)
class Snapshot:
    """State of the loop between two steps, as saved in checkpoints."""

    algorithm: dict[str, Any]
    rows: list[Row]

    @property
    def done(self) -> int:
        """Finished steps and architectures of the shortlist."""
        return int(self.algorithm["step"]) + len(self.algorithm["judged"])

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
    judge: Evaluate,
    resume: Snapshot | None = None,
    after_step: Callable[[Snapshot], None] | None = None,
) -> list[Row]:
    """Run the algorithm to its answer; one row per evaluation, in order.

    Args:
        algorithm: left in its final state.
        architecture: from a tuple of choices to the architecture.
        evaluate: evaluates a step's architectures.
        judge: evaluates architectures on images that are always the same.
        resume: state to continue from.
        after_step: called with the state after every step, and after every architecture of the
            shortlist, to save or report.

    Raises:
        InfeasibleBudgetError: nothing within the budgets was found, before the first step.
    """
    rows = list(resume.rows) if resume else []
    if resume is not None:
        algorithm.restore(resume.algorithm)
    else:  # fail before the first step if nothing is feasible
        algorithm.random_feasible(_answer_rng(algorithm))
    while not algorithm.finished:
        rows += one_step(algorithm, architecture, evaluate)
        if after_step is not None:
            after_step(Snapshot(algorithm.state(), rows))
    for row in judge_shortlist(algorithm, architecture, judge):
        rows.append(row)
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


def judge_shortlist(
    algorithm: Algorithm, architecture: Callable[[Choices], Architecture], judge: Evaluate
) -> Iterator[Row]:
    """Evaluate the rest of the finished search's shortlist on the same images, one after another.

    Only where every step had its own batch: the others compared their architectures already.
    """
    if algorithm.evaluation_mode != "batch":
        return
    rng = _answer_rng(algorithm)
    found = algorithm.shortlist(shortlist_size(algorithm), rng)
    shortlist = algorithm.fill_up(found, max(len(found), algorithm.params.candidates), rng)
    for choices in shortlist:
        if choices in algorithm.judged:
            continue
        network = architecture(choices)
        (result,) = judge(algorithm.step, [network])
        algorithm.judged[choices] = float(result.nll)
        yield Row(
            step=algorithm.step,
            architecture_id=network.id,
            nll=float(result.nll),
            accuracy=float(result.accuracy),
            value=float(result.nll),
            weight=None,
            excess=float(algorithm.problem.excess(choices)),
            entropy=None,
            samples=len(shortlist),
            choices=" ".join(map(str, choices)),
        )


def shortlist_size(algorithm: Algorithm) -> int:
    """The most architectures that are evaluated again after the last step."""
    params = algorithm.params
    return params.candidates * params.shortlist if algorithm.evaluation_mode == "batch" else 0


def answer(algorithm: Algorithm) -> list[Choices]:
    """The finished algorithm's candidates, best first."""
    return algorithm.answer(algorithm.params.candidates, _answer_rng(algorithm))


def _answer_rng(algorithm: Algorithm) -> np.random.Generator:
    return np.random.default_rng([algorithm.params.seed, _ANSWER])


def run_search(
    algorithm: Algorithm,
    space: SearchSpace,
    evaluate: Evaluate,
    judge: Evaluate,
    checkpoint: Checkpoint,
) -> list[Row]:
    """Run the search from the checkpoint, saving and reporting progress."""
    params = algorithm.params
    state = checkpoint.load()
    resume = None if state is None else Snapshot.restored(state)
    total = params.steps + shortlist_size(algorithm)
    with Progress("search", total, 0 if resume is None else resume.done) as progress:

        def after_step(snapshot: Snapshot) -> None:
            if snapshot.done % params.checkpoint_every == 0:
                checkpoint.save(snapshot.state())
            progress.update(snapshot.done, summary(snapshot.rows))

        rows = search(algorithm, space.architecture, evaluate, judge, resume, after_step)
        if params.steps + len(algorithm.judged) < total:  # a shorter shortlist
            progress.update(total, summary(rows))
        return rows


def summary(rows: Sequence[Row]) -> dict[str, float]:
    """Values of the last step for its progress line."""
    last = [row for row in rows if row.step == rows[-1].step]
    values = [row.value if row.nll is None else row.nll for row in last]
    shown = {"value" if last[0].nll is None else "nll": sum(values) / len(values)}
    if last[0].entropy is not None:
        shown["entropy"] = last[0].entropy
    return shown | {"evaluated": len(rows)}
