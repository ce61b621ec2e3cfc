"""What a search algorithm is: it proposes architectures, observes results, and answers.

An algorithm sees groups of candidates and one number for the budgets. It knows neither networks
nor images, holds no random state (a generator is always an argument), and its whole state is
plain values, so that a search resumes where it was.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from models.constrained import Excess, random_within
from models.distribution import Choices, Distribution
from models.space import Group
from stages.common.budgets import InfeasibleBudgetError

if TYPE_CHECKING:
    from stages.search.params import SearchParams


@dataclass(frozen=True)
class Problem:
    """What is searched.

    Attributes:
        groups: the space's groups; an architecture takes one candidate of each.
        excess: 0 within all budgets, otherwise the sum of the fractions they are passed by.
        images: how many held-out images each step's NLLs are means over.
    """

    groups: tuple[Group, ...]
    excess: Excess
    images: int


@dataclass(frozen=True)
class Result:
    """One evaluated architecture.

    Attributes:
        choices: the architecture, as the space numbers it.
        nll: its mean cross-entropy on the step's held-out batch, in nats per image.
        excess: what `Problem.excess` says of it.
    """

    choices: Choices
    nll: float
    excess: float


@dataclass
class Seen:
    """Every evaluated architecture within the budgets, with the mean of its NLLs."""

    sums: dict[Choices, tuple[float, int]] = field(default_factory=dict)

    def add(self, results: Sequence[Result]) -> None:
        """Take in a step's results."""
        for result in results:
            if result.excess <= 0:
                total, count = self.sums.get(result.choices, (0.0, 0))
                self.sums[result.choices] = (total + result.nll, count + 1)

    def best(self) -> list[Choices]:
        """From the lowest mean NLL on; ties in a fixed order."""
        return sorted(self.sums, key=lambda c: (self.sums[c][0] / self.sums[c][1], c))

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

    def __init__(self, problem: Problem, params: SearchParams) -> None:
        self.problem, self.params = problem, params
        self.step = 0
        self.samples = 0
        self.seen = Seen()

    @property
    @abstractmethod
    def distribution(self) -> Distribution:
        """The distribution architectures are drawn from now."""

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
        self.seen.add(results)
        self.samples += len(results)
        self.step += 1
        return weights

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
        found = random_within(self.problem.groups, self.problem.excess, rng)
        if found is None:
            raise InfeasibleBudgetError(
                "no architecture of the space meets all budgets together, in as many searches "
                "as were made. Raise one of the device's budgets or add smaller options."
            )
        return found

    def filled(
        self, first: Sequence[Choices], count: int, rng: np.random.Generator
    ) -> list[Choices]:
        """`first` without repeats, then random architectures within the budgets, up to `count`."""
        found = list(dict.fromkeys(first))[:count]
        # A small space may hold fewer than `count`: stop after enough draws bring nothing new.
        for _ in range(20 * count):
            if len(found) == count:
                break
            extra = self.random_feasible(rng)
            if extra not in found:
                found.append(extra)
        return found
