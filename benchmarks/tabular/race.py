"""Ways of choosing whom to train really, on the table: regret after a number of trainings.

A real training of a network is one of its three in the table, drawn by the seed and the same for
all arms. After n trainings an arm answers with the trained network whose training was best. That
training was selected for being good, so the answer is judged by the mean of the OTHER two, which no
arm ever sees. Regret is the highest mean of three within the budget minus that, in points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from benchmarks.tabular.table import Array, Table
from models.predict.fit import Examples, Ridge
from models.search.algorithms.evolution import EvolutionSettings, Population
from models.search.problem import Problem, as_choices, problem_of
from models.search.proposals import guided, simple
from models.search.proposals.band import LOW, Band, ratio_table
from models.search.proposals.numbers import network_numbers
from models.space.costs import flops
from models.space.distribution import Choices
from models.space.limits import Limit

MOST = 40
"""Real trainings of an arm."""
SHOWN = (4, 8, 12, 16, 24, 40)
"""Numbers of trainings after which regret is reported."""
RANDOM_FIRST = 2
"""Random networks of the race's first proposals; after all of those it is guided."""
RIDGE_RANDOM = 0.8
"""Share of ridge's trainings that are random; the rest are its best predictions."""
EVOLUTION = EvolutionSettings(population=8, tournament=4, mutation_rate=0.15, crossover_share=0.0)

Trainings = list[tuple[Choices, float]]
"""Architectures in the order trained, with the error of the training shown, percent."""


@dataclass(frozen=True)
class World:
    """The table with a budget, as one seed shows it."""

    table: Table
    limit: float
    """Multiply-accumulates."""
    seed: int

    @property
    def limits(self) -> tuple[Limit, ...]:
        """The budget."""
        return (Limit("flops", self.limit, flops),)

    @cached_property
    def band(self) -> Band:
        """Networks of [0.9, 1] of the budget."""
        space = self.table.space
        return Band(space.groups, ratio_table(space, self.limits), LOW, 1.0)

    @cached_property
    def shown(self) -> npt.NDArray[np.int64]:
        """Which training of each network is shown."""
        count, trainings = self.table.accuracies_AT.shape
        return np.random.default_rng([self.seed, 0]).integers(trainings, size=(count,))

    def rng(self, arm: str) -> np.random.Generator:
        """An arm's own generator."""
        return np.random.default_rng([self.seed, *arm.encode()])

    def train(self, choices: Choices) -> float:
        """The error of the training shown, percent."""
        number = self.table.number(choices)
        return 100.0 - float(self.table.accuracies_AT[number, self.shown[number]])

    def regret(self, answer: Choices) -> float:
        """Points below the best of the budget, by the trainings not shown."""
        number = self.table.number(answer)
        hidden_T = np.delete(self.table.accuracies_AT[number], self.shown[number])
        return self.table.best(self.limit) - float(hidden_T.mean())


def race(world: World, most: int) -> Trainings:
    """The race's proposals: simple ones first, then guided one by one."""
    space, limits, rng = world.table.space, world.limits, world.rng("race")
    numbers = network_numbers(space)
    first = [propose(space, limits, rng) for propose in (simple.deepest, simple.largest)]
    first += [simple.width_scaled(space, limits, rng)]
    first += simple.band_samples(space, limits, rng, RANDOM_FIRST)
    chosen = dict.fromkeys(space.choices(one) for one in first if one is not None)
    done = [(choices, world.train(choices)) for choices in list(chosen)[:most]]
    while len(done) < most:
        trained = [guided.Trained(choices, error, 1) for choices, error in done]
        found = guided.propose(trained, world.band, numbers, rng, 1, steps=1)
        if not found:
            break
        done += [(choices, world.train(choices)) for choices in found]
    return done


def random_in_band(world: World, most: int) -> Trainings:
    """Uniform samples of the band."""
    found = world.band.sample(world.rng("random"), most)
    return [(choices, world.train(choices)) for choices in found]


def deepest_in_band(world: World, most: int) -> Trainings:
    """The deepest networks of the band; ties in random order."""
    rng, pool = world.rng("deepest"), world.band.sample(world.rng("deepest"), 5000)
    layers_N = network_numbers(world.table.space)(as_choices(pool))[:, 0]
    order = np.lexsort((rng.random(len(pool)), -layers_N))[:most]
    return [(pool[int(at)], world.train(pool[int(at)])) for at in order]


def evolution(world: World, most: int) -> Trainings:
    """Regularised evolution (Real et al. 2019) within the band."""
    problem = Problem(world.band.groups, world.band.distances, images=1)
    population, rng = Population(problem, EVOLUTION), world.rng("evolution")
    done: dict[Choices, float] = {}
    while len(done) < most:
        born = population.breed(1, rng, set(done))
        if not born or born[0] in done:
            break
        done[born[0]] = world.train(born[0])
        population.add(born[0], done[born[0]])
    return list(done.items())


def ridge(world: World, most: int) -> Trainings:
    """Random trainings, then the best predictions of a ridge regression on them."""
    rng, features = world.rng("ridge"), problem_of(world.table.space, (), 1).features
    pool = world.band.sample(rng, 5000)
    rng.shuffle(pool)
    count = max(3, round(RIDGE_RANDOM * most))
    done = [(choices, world.train(choices)) for choices in pool[:count]]
    error_N = np.array([error for _, error in done])
    values_NF = features.of(as_choices(pool[:count]))
    examples = Examples(features.names, values_NF, "error", error_N)
    rest = pool[count:]
    predicted_N = Ridge.select(examples).solve(examples)(features.of(as_choices(rest)))
    best = np.argsort(predicted_N, kind="stable")[: most - count]
    return done + [(rest[int(at)], world.train(rest[int(at)])) for at in best]


ARMS: dict[str, Callable[[World, int], Trainings]] = {
    "race": race,
    "random in the band": random_in_band,
    "deepest in the band": deepest_in_band,
    "evolution": evolution,
    "ridge": ridge,
}
_PLANS_AHEAD = ("ridge",)
"""Arms that have to know the number of trainings in advance."""


def regrets(arm: str, world: World, shown: Sequence[int] = SHOWN) -> Array:
    """The regret after each number of trainings in `shown`."""

    def runs() -> Iterator[Trainings]:
        if arm in _PLANS_AHEAD:
            yield from (ARMS[arm](world, count) for count in shown)
        else:
            done = ARMS[arm](world, max(shown))
            yield from (done[:count] for count in shown)

    answers = (min(done, key=lambda one: (one[1], one[0]))[0] for done in runs())
    return np.array([world.regret(answer) for answer in answers])
