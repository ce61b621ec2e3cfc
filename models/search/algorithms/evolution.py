"""Regularised evolution (Real et al. 2019) over slices of a supernet (SPOS, Guo et al. 2020).

The population is filled with random architectures within the budgets. Then every step adds children
and removes the OLDEST members regardless of fitness. Parents are selected by tournament. A child is
a mutation of its parent, or a mutated crossover of two parents; a child over a budget is repaired
by random changes that reduce the excess.

Fitness is the NLL of the supernet's slice with recalibrated batch norms, on the same held-out
images in every step (SPOS), or an indicator computed from the supernet's batch norms without images
(BN-NAS).

Differences from the papers, each a param: a share of the children has two parents; each group
mutates with `mutation_rate`, and at least one does. Children that were not evaluated before are
preferred, because repeated evaluations on the same images give no new information.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field

from models.search.algorithms.base import (
    Algorithm,
    EvaluationMode,
    Result,
    SampledSettings,
    SharedParams,
)
from models.search.problem import Problem
from models.space.constrained import descend
from models.space.distribution import Choices

_TRIES = 30

Fitness = Literal["supernet", "bn_indicator", "bn_indicator_per_layer"]


class PopulationSettings(SampledSettings):
    """Of a regularised evolution."""

    population: int = Field(24, ge=2)
    """Population size; the initial members are random."""
    tournament: int = Field(6, ge=1)
    """Tournament size: random members of which the fittest becomes a parent."""
    mutation_rate: float = Field(0.1, gt=0, le=1)
    """Probability that a group (a layer's operator, a stage's channels) changes in a child."""
    crossover_share: float = Field(0.25, ge=0, le=1)
    """Share of the children that take each group from one of two parents."""


class EvolutionSettings(PopulationSettings):
    """Of the algorithm `evolution`."""

    name: Literal["evolution"] = "evolution"
    fitness: Fitness = "supernet"
    """supernet: NLL of the recalibrated slice. bn_indicator(_per_layer): without images."""


class Population:
    """Members from the oldest to the youngest, each with the value to minimise.

    `allowed` has the candidates per group that may be taken; None: all.
    """

    def __init__(
        self,
        problem: Problem,
        settings: PopulationSettings,
        allowed: Sequence[Sequence[int]] | None = None,
    ) -> None:
        self.problem, self.settings = problem, settings
        self.allowed = [range(size) for size in problem.sizes] if allowed is None else allowed
        self.free = [group for group, known in enumerate(self.allowed) if len(known) > 1]
        self.members: list[tuple[Choices, float]] = []

    @property
    def full(self) -> bool:
        """Whether it has reached its size, so that parents can be selected."""
        return len(self.members) >= self.settings.population

    def add(self, choices: Choices, value: float) -> None:
        """Add a member; remove the oldest one if there are too many."""
        self.members.append((choices, value))
        del self.members[: -self.settings.population]

    def draw(self, rng: np.random.Generator, known: set[Choices]) -> Choices | None:
        """Draw a random architecture within the budgets, preferably not `known`; None if none."""
        found = None
        for _ in range(_TRIES):
            start = tuple(int(rng.choice(options)) for options in self.allowed)
            there = self._repair(start, rng)
            if self.problem.excess(there) > 0:
                continue
            found = there
            if there not in known:
                break
        return found

    def child(self, rng: np.random.Generator, known: set[Choices]) -> Choices | None:
        """A child within the budgets unlike its parents, preferably not `known`; None if none."""
        found = None
        for _ in range(_TRIES):
            mother = self._parent(rng)
            father = self._parent(rng) if rng.random() < self.settings.crossover_share else mother
            there = self._repair(self._mutate(self._crossover(mother, father, rng), rng), rng)
            if there in (mother, father) or self.problem.excess(there) > 0:
                continue
            found = there
            if there not in known:
                break
        return found

    def breed(self, count: int, rng: np.random.Generator, known: set[Choices]) -> list[Choices]:
        """`count` random members or, once full, children; fewer if not found."""
        met, found = set(known), []
        for _ in range(count):
            born = self.child(rng, met) if self.full else None
            born = self.draw(rng, met) if born is None else born
            if born is not None:
                met.add(born)
                found.append(born)
        return found

    def _parent(self, rng: np.random.Generator) -> Choices:
        size = min(self.settings.tournament, len(self.members))
        chosen = rng.choice(len(self.members), size=size, replace=False)
        return min((self.members[int(at)] for at in chosen), key=lambda m: (m[1], m[0]))[0]

    def _crossover(self, mother: Choices, father: Choices, rng: np.random.Generator) -> Choices:
        if mother == father:
            return mother
        from_mother = rng.random(len(mother)) < 0.5
        return tuple(
            int(m if hers else f) for m, f, hers in zip(mother, father, from_mother, strict=True)
        )

    def _mutate(self, choices: Choices, rng: np.random.Generator) -> Choices:
        """Change at least one group, if any can change."""
        if not self.free:
            return choices
        changing = [group for group in self.free if rng.random() < self.settings.mutation_rate]
        found = list(choices)
        for group in changing or [int(rng.choice(self.free))]:
            others = [option for option in self.allowed[group] if option != choices[group]]
            found[group] = int(rng.choice(others))
        return tuple(found)

    def _repair(self, choices: Choices, rng: np.random.Generator) -> Choices:
        return descend(self.problem.groups, choices, self.problem.excess, rng, self.allowed)

    def state(self) -> list[Any]:
        """Plain values."""
        return [[list(choices), value] for choices, value in self.members]

    def restore(self, state: Sequence[Any]) -> None:
        """Restore from `state`."""
        self.members = [(tuple(choices), float(value)) for choices, value in state]


class Evolution(Algorithm):
    """`fixed_samples` architectures per step."""

    settings_type = EvolutionSettings
    settings: EvolutionSettings
    evaluation_mode: EvaluationMode = "held_out"

    def __init__(self, problem: Problem, params: SharedParams) -> None:
        super().__init__(problem, params)
        if self.settings.fitness != "supernet":
            self.indicator = problem.indicator(self.settings.fitness)
            self.evaluation_mode = "no_images"
        self._population = Population(problem, self.settings)

    def population(self) -> list[Choices]:
        """The current members."""
        return [choices for choices, _ in self._population.members]

    def propose(self, rng: np.random.Generator) -> list[Choices]:
        """Random architectures until the population is full, then children of its members."""
        found = self._population.breed(self.settings.fixed_samples, rng, set(self.seen.sums))
        return found or [self.random_feasible(rng)]

    def learn(self, results: Sequence[Result]) -> list[float]:
        """Add the results to the population."""
        for result in results:
            self._population.add(result.choices, self.value(result))
        return super().learn(results)

    def state(self) -> dict[str, Any]:
        """The base's state and the population."""
        return super().state() | {"population": self._population.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore from `state`."""
        super().restore(state)
        self._population.restore(state["population"])
