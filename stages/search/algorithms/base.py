"""What a search algorithm is: it proposes architectures, observes results, and answers.

An algorithm sees groups of candidates and one number for the budgets. It knows neither networks
nor images (`stages.search.problem` has all it may be told), holds no random state (a generator is
always an argument), and its whole state is plain values, so that a search resumes where it was.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from models.constrained import nearest_within
from models.distribution import Choices, Distribution, Vector
from stages.common.budgets import InfeasibleBudgetError
from stages.search.problem import Problem

if TYPE_CHECKING:
    from stages.search.params import SearchParams

Judged = Literal["batch", "held_out", "unseen"]
"""On what a step's architectures are judged: a held-out batch of the step's own, so that no batch
is learnt by heart; the same held-out images in every step, with recalibrated batch norms, so that
results of different steps compare; or no image at all."""
_SHOWN = 20


@dataclass(frozen=True)
class Result:
    """One evaluated architecture.

    Attributes:
        choices: the architecture, as the space numbers it.
        nll: its mean cross-entropy on held-out images, in nats per image; None where the algorithm
            asked for none.
        excess: what `Problem.excess` says of it.
    """

    choices: Choices
    nll: float | None
    excess: float

    @property
    def loss(self) -> float:
        """The NLL, for algorithms that ask for it."""
        assert self.nll is not None
        return self.nll


@dataclass
class Seen:
    """Every evaluated architecture within the budgets, with the mean of its values.

    A value is what the algorithm minimises: the NLL, or an indicator's negative.
    """

    sums: dict[Choices, tuple[float, int]] = field(default_factory=dict)

    def add(self, choices: Choices, value: float) -> None:
        """Take in one result."""
        total, count = self.sums.get(choices, (0.0, 0))
        self.sums[choices] = (total + value, count + 1)

    def value(self, choices: Choices) -> float:
        """The mean value of one that was added."""
        total, count = self.sums[choices]
        return total / count

    def best(self) -> list[Choices]:
        """From the lowest mean value on; ties in a fixed order."""
        return sorted(self.sums, key=lambda c: (self.value(c), c))

    def state(self) -> list[Any]:
        """Plain values."""
        return [[list(c), total, count] for c, (total, count) in self.sums.items()]

    @classmethod
    def restored(cls, state: Sequence[Any]) -> Seen:
        """What `state` gave."""
        return cls({tuple(c): (float(total), int(count)) for c, total, count in state})


class Algorithm(ABC):
    """One search.

    Args:
        problem: what is searched.
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
        """Refuse a space that this algorithm cannot search; asked before anything is trained.

        Args:
            sizes: how many candidates each group has.
            params: the section `search`.

        Raises:
            ValueError: it cannot; the message has the way out.
        """

    @property
    def judged(self) -> Judged:
        """On what it wants its architectures judged."""
        return "batch"

    @property
    def finished(self) -> bool:
        """Whether another step would bring nothing; always so after `steps` of them."""
        return self.step >= self.params.steps

    @property
    def distribution(self) -> Distribution | None:
        """The distribution architectures are drawn from now; None where there is none."""
        return None

    def population(self) -> list[Choices]:
        """The architectures it has in view now: by default the best evaluated ones."""
        return self.seen.best()[:_SHOWN]

    def shares(self) -> tuple[Vector, ...]:
        """Per group how likely, or in the population how frequent, each candidate is."""
        if self.distribution is not None:
            return tuple(np.exp(group) for group in self.distribution.log_probabilities)
        counted = [np.zeros(size) for size in self.problem.sizes]
        population = self.population()
        for choices in population:
            for group, choice in zip(counted, choices, strict=True):
                group[choice] += 1.0 / len(population)
        return tuple(counted)

    def artifacts(self) -> dict[str, bytes]:
        """Files of its own to lie beside the candidates, by name."""
        return {}

    @abstractmethod
    def propose(self, rng: np.random.Generator) -> list[Choices]:
        """The architectures to evaluate in this step, in order; repeats are allowed."""

    @abstractmethod
    def answer(self, count: int, rng: np.random.Generator) -> list[Choices]:
        """Up to `count` distinct architectures within the budgets; the first is THE answer."""

    def observe(self, results: Sequence[Result]) -> list[float]:
        """Learn from a step's results, in the order proposed.

        Returns:
            Each result's weight in the step; weights add up to 1.
        """
        weights = self.learn(results)
        for result in results:
            if result.excess <= 0:
                self.seen.add(result.choices, self.value(result))
        self.samples += len(results)
        self.step += 1
        return weights

    def value(self, result: Result) -> float:
        """What the algorithm minimises: the NLL by default."""
        return result.loss

    @abstractmethod
    def learn(self, results: Sequence[Result]) -> list[float]:
        """Update what the algorithm believes; the results' weights, which add up to 1."""

    def state(self) -> dict[str, Any]:
        """Everything `restore` needs, as plain values."""
        return {"step": self.step, "samples": self.samples, "seen": self.seen.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` gave."""
        self.step, self.samples = int(state["step"]), int(state["samples"])
        self.seen = Seen.restored(state["seen"])

    def random_feasible(self, rng: np.random.Generator) -> Choices:
        """A random architecture within the budgets.

        Raises:
            InfeasibleBudgetError: none was found.
        """
        found, over = nearest_within(self.problem.groups, self.problem.excess, rng)
        if over > 0:
            raise InfeasibleBudgetError(
                "no architecture of the space meets all budgets together, in as many searches "
                f"as were made: the nearest one seen passes them by {over:.2%} of a budget. Raise "
                "one of the device's budgets by that much or add smaller options."
            )
        return found

    def filled(
        self,
        first: Sequence[Choices],
        count: int,
        rng: np.random.Generator,
        draw: Callable[[np.random.Generator], Choices] | None = None,
    ) -> list[Choices]:
        """`first` without repeats, then random architectures within the budgets, up to `count`.

        Args:
            first: all within the budgets.
            count: how many are wished.
            rng: of the random ones.
            draw: gives one of them; None draws from the whole space.
        """
        found = list(dict.fromkeys(first))[:count]
        # A small space may hold fewer than `count`: stop after enough draws bring nothing new.
        for _ in range(20 * count):
            if len(found) == count:
                break
            extra = (draw or self.random_feasible)(rng)
            if extra not in found:
                found.append(extra)
        return found
