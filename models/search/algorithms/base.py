"""Interface of search algorithms: propose architectures, observe results, return the best.

An algorithm only accesses a `models.search.problem.Problem`. It has no random state (a generator is
always an argument), and its state is plain values, so that a search can be resumed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from core.settings import Named, Threaded
from models.search.problem import Problem, Scores, as_choices
from models.space.constrained import nearest_within
from models.space.distribution import Choices, Distribution, Vector
from models.space.limits import InfeasibleBudgetError

EvaluationMode = Literal["batch", "held_out", "no_images"]
"""How a step's architectures are evaluated: on a different held-out batch per step, to avoid
overfitting to a batch; on the same held-out images in every step with recalibrated batch norms, so
that steps are comparable; or without images. Values of different batches are never compared: the
finished search's `shortlist` is evaluated again on the same images."""
_SHOWN = 20


@dataclass(frozen=True)
class Result:
    """One evaluated architecture.

    Attributes:
        choices: the architecture's candidate numbers.
        nll: its mean cross-entropy on held-out images, in nats per image; None without images.
        excess: its `Problem.excess`.
    """

    choices: Choices
    nll: float | None
    excess: float

    @property
    def loss(self) -> float:
        """The NLL, for algorithms that require it."""
        assert self.nll is not None
        return self.nll


@dataclass
class Seen:
    """Every evaluated architecture within the budgets, with the sum and number of its values.

    A value is what the algorithm minimises: the NLL, or an indicator's negative; where every step
    has its own batch, less the step's mean, because batches differ more than architectures do.
    """

    sums: dict[Choices, tuple[float, int]] = field(default_factory=dict)

    def add(self, choices: Choices, value: float) -> None:
        """Add one result."""
        total, count = self.sums.get(choices, (0.0, 0))
        self.sums[choices] = (total + value, count + 1)

    def value(self, choices: Choices) -> float:
        """The mean value of an added architecture."""
        total, count = self.sums[choices]
        return total / count

    def best(self) -> list[Choices]:
        """Sorted by mean value, lowest first; ties in a fixed order."""
        return sorted(self.sums, key=lambda c: (self.value(c), c))

    def state(self) -> list[Any]:
        """Plain values."""
        return [[list(c), total, count] for c, (total, count) in self.sums.items()]

    @classmethod
    def restored(cls, state: Sequence[Any]) -> Seen:
        """Restore from `state`."""
        return cls({tuple(c): (float(total), int(count)) for c, total, count in state})


class AlgorithmSettings(Named):
    """Settings of one algorithm."""


class SampledSettings(AlgorithmSettings):
    """Settings of an algorithm that evaluates equally many architectures in every step."""

    fixed_samples: int = Field(4, ge=2)
    """Architectures per step."""


class SharedParams(Threaded):
    """The settings of the section `search` that all algorithms share."""

    algorithm: AlgorithmSettings
    """The algorithm's own."""
    steps: int = Field(60, ge=1)
    """Steps of proposing, evaluating and learning."""
    candidates: int = Field(12, ge=1)
    """Architectures passed to rank; fewer only if fewer meet the budgets."""
    batch: int = Field(256, ge=1)
    """Held-out images per step; at most the whole validation split (fp_nas, parsec, random)."""
    shortlist: int = Field(3, ge=1)
    """Architectures per candidate that are evaluated again at the end, on the same images, and
    ordered by that (fp_nas, parsec, random)."""
    fitness_images: int = Field(1000, ge=1)
    """Held-out images that are the same for all architectures: of the shortlist, and in every step
    of the other algorithms."""
    recalibration_batches: int = Field(2, ge=1)
    """Training batches of `batch` images for batch norm recalibration, before these images."""
    start_from: str = Field("models/inputs/start", min_length=1)
    """A saved `distribution.json` to start from, by names (fp_nas, parsec), or the folder that has
    it. `dvc.yaml` passes it to the stage. The default folder is empty: the uniform distribution."""
    latency_margin: float = Field(0.15, ge=0, lt=1)
    """Fraction of a latency budget the search leaves free, because predictions have an error.

    Reduced to the largest feasible margin if no architecture can leave so much.
    """
    checkpoint_every: int = Field(5, ge=1)
    """Steps between checkpoints."""


class Algorithm(ABC):
    """A search algorithm; by default it minimises the NLL, and its answer has the lowest ones.

    Args:
        problem: the search problem.
        params: the section `search`, with this algorithm's settings.
    """

    settings_type: ClassVar[type[AlgorithmSettings]]
    settings: AlgorithmSettings
    """Of type `settings_type`."""
    evaluation_mode: EvaluationMode = "batch"
    distribution: Distribution | None = None
    """The current sampling distribution; None if there is none."""
    start_weight: float | None = None
    """Share of `Problem.start` in the initial logits; None: no distribution to start from."""
    indicator: Scores | None = None
    """The indicator whose negative is minimised; None: the NLL is."""

    def __init__(self, problem: Problem, params: SharedParams) -> None:
        self.problem, self.params, self.settings = problem, params, params.algorithm
        self.step = 0
        self.samples = 0
        self.seen = Seen()
        self.judged: dict[Choices, float] = {}
        """NLL of the shortlist's architectures, all on the same images; nats per image."""

    @classmethod  # noqa: B027 - nothing by default
    def check_space(cls, sizes: Sequence[int], settings: Any) -> None:
        """Reject a space that this algorithm cannot search; called before any training.

        Args:
            sizes: number of candidates per group.
            settings: of type `settings_type`.

        Raises:
            ValueError: it cannot; the message has the way out.
        """

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.step >= self.params.steps

    def population(self) -> list[Choices]:
        """The current population: by default the best evaluated architectures."""
        return self.seen.best()[:_SHOWN]

    def shares(self) -> tuple[Vector, ...]:
        """Per group the probability, or frequency in the population, of each candidate."""
        if self.distribution is not None:
            return tuple(np.exp(group) for group in self.distribution.log_probabilities)
        counted = [np.zeros(size) for size in self.problem.sizes]
        population = self.population()
        for choices in population:
            for group, choice in zip(counted, choices, strict=True):
                group[choice] += 1.0 / len(population)
        return tuple(counted)

    def artifacts(self) -> dict[str, bytes]:
        """Additional output files of the algorithm, by name."""
        return {}

    @abstractmethod
    def propose(self, rng: np.random.Generator) -> list[Choices]:
        """The architectures to evaluate in this step, in order; repeats are allowed."""

    def observe(self, results: Sequence[Result]) -> list[float]:
        """Update from a step's results, in the order proposed.

        Returns:
            Each result's weight in the step; weights sum to 1.
        """
        weights = self.learn(results)
        values = [self.value(result) for result in results]
        centre = sum(values) / len(values) if self.evaluation_mode == "batch" else 0.0
        for result, value in zip(results, values, strict=True):
            if result.excess <= 0:
                self.seen.add(result.choices, value - centre)
        self.samples += len(results)
        self.step += 1
        return weights

    def value(self, result: Result) -> float:
        """The value to minimise: the NLL, or the indicator's negative."""
        if self.indicator is None:
            return result.loss
        return -float(self.indicator(as_choices([result.choices]))[0])

    def learn(self, results: Sequence[Result]) -> list[float]:
        """Update the algorithm's state, by default not; return the results' weights."""
        return [1.0 / len(results)] * len(results)

    def shortlist(self, count: int, rng: np.random.Generator) -> list[Choices]:
        """Up to `count` distinct architectures within the budgets, the most promising first.

        If every step has its own batch, they are evaluated again on the same images, and `answer`
        orders them by that.
        """
        return self.seen.best()[:count]

    def answer(self, count: int, rng: np.random.Generator) -> list[Choices]:
        """Up to `count` distinct architectures within the budgets; best first."""
        found = sorted(self.judged, key=lambda c: (self.judged[c], c))
        return self.fill_up(found or self.shortlist(count, rng), count, rng)

    def comparable_nll(self, choices: Choices) -> float | None:
        """The NLL on the images that are the same for all architectures; None if not evaluated."""
        if self.evaluation_mode == "held_out" and choices in self.seen.sums:
            return self.seen.value(choices)
        return self.judged.get(choices)

    def state(self) -> dict[str, Any]:
        """Everything `restore` needs, as plain values."""
        return {
            "step": self.step,
            "samples": self.samples,
            "seen": self.seen.state(),
            "judged": [[list(choices), nll] for choices, nll in self.judged.items()],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore from `state`."""
        self.step, self.samples = int(state["step"]), int(state["samples"])
        self.seen = Seen.restored(state["seen"])
        self.judged = {tuple(choices): float(nll) for choices, nll in state["judged"]}

    def random_feasible(self, rng: np.random.Generator) -> Choices:
        """Draw a random architecture within the budgets.

        Raises:
            InfeasibleBudgetError: none was found.
        """
        found, over = nearest_within(self.problem.groups, self.problem.excess, rng)
        if over > 0:
            raise InfeasibleBudgetError(
                "no architecture of the space that meets all budgets was found: the closest one "
                f"exceeds them by {over:.2%} of a budget. Raise one of the device's budgets by "
                "that much or add smaller options."
            )
        return found

    def fill_up(
        self,
        first: Sequence[Choices],
        count: int,
        rng: np.random.Generator,
        draw: Callable[[np.random.Generator], Choices] | None = None,
    ) -> list[Choices]:
        """`first` without repeats, then random architectures within the budgets, up to `count`.

        Args:
            first: all within the budgets.
            count: target number.
            rng: of the random ones.
            draw: draws one; None: from the whole space.
        """
        found = list(dict.fromkeys(first))[:count]
        # A small space may contain fewer than `count`: stop after enough draws without a new one.
        for _ in range(20 * count):
            if len(found) == count:
                break
            extra = (draw or self.random_feasible)(rng)
            if extra not in found:
                found.append(extra)
        return found
