"""Interface of search algorithms: propose architectures, observe results, return the best.

An algorithm only accesses a `models.search.problem.Problem`: groups of candidates and an excess
over the budgets, neither networks nor images. It has no random state (a generator is always an
argument), and its state is plain values, so that a search can be resumed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from models.search.problem import Problem
from models.space.constrained import nearest_within
from models.space.distribution import Choices, Distribution, Vector
from models.space.limits import InfeasibleBudgetError

if TYPE_CHECKING:
    from models.search.settings import SearchParams

EvaluationMode = Literal["batch", "held_out", "no_images"]
"""How a step's architectures are evaluated: on a different held-out batch per step, to avoid
overfitting to a batch; on the same held-out images in every step with recalibrated batch norms, so
that steps are comparable; or without images."""
_SHOWN = 20


@dataclass(frozen=True)
class Result:
    """One evaluated architecture.

    Attributes:
        choices: the architecture's candidate numbers.
        nll: its mean cross-entropy on held-out images, in nats per image; None if the algorithm
            requires none.
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
    """Every evaluated architecture within the budgets, with the mean of its values.

    A value is what the algorithm minimises: the NLL, or an indicator's negative.
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


class Algorithm(ABC):
    """A search algorithm.

    Args:
        problem: the search problem.
        params: the section `search`.
    """

    name: ClassVar[str]
    reads_start: ClassVar[bool] = False
    """Whether it starts from `Problem.start`."""

    def __init__(self, problem: Problem, params: SearchParams) -> None:
        self.problem, self.params = problem, params
        self.step = 0
        self.samples = 0
        self.seen = Seen()

    @classmethod  # noqa: B027 - nothing by default
    def check_space(cls, sizes: Sequence[int], params: SearchParams) -> None:
        """Reject a space that this algorithm cannot search; called before any training.

        Args:
            sizes: number of candidates per group.
            params: the section `search`.

        Raises:
            ValueError: it cannot; the message has the way out.
        """

    @property
    def evaluation_mode(self) -> EvaluationMode:
        """How its architectures are evaluated."""
        return "batch"

    @property
    def finished(self) -> bool:
        """Whether the search is finished; always after `steps` steps."""
        return self.step >= self.params.steps

    @property
    def distribution(self) -> Distribution | None:
        """The current sampling distribution; None if there is none."""
        return None

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

    @abstractmethod
    def answer(self, count: int, rng: np.random.Generator) -> list[Choices]:
        """Up to `count` distinct architectures within the budgets; best first."""

    def observe(self, results: Sequence[Result]) -> list[float]:
        """Update from a step's results, in the order proposed.

        Returns:
            Each result's weight in the step; weights sum to 1.
        """
        weights = self.learn(results)
        for result in results:
            if result.excess <= 0:
                self.seen.add(result.choices, self.value(result))
        self.samples += len(results)
        self.step += 1
        return weights

    def value(self, result: Result) -> float:
        """The value to minimise: the NLL by default."""
        return result.loss

    @abstractmethod
    def learn(self, results: Sequence[Result]) -> list[float]:
        """Update the algorithm's state; return the results' weights, which sum to 1."""

    def state(self) -> dict[str, Any]:
        """Everything `restore` needs, as plain values."""
        return {"step": self.step, "samples": self.samples, "seen": self.seen.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore from `state`."""
        self.step, self.samples = int(state["step"]), int(state["samples"])
        self.seen = Seen.restored(state["seen"])

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
