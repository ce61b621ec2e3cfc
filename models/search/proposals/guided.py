"""Proposals by a Gaussian process of everything that was trained, within a device's band.

Expected improvement (Jones et al. 1998) over the best posterior mean of a trained network, at the
reference number of steps. Several architectures at once are selected one by one, each as if the
ones before had given their predicted values (kriging believer, Ginsbourger et al. 2010).

Axes: N architectures, G groups, F numbers of a network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from core.errors import UserError
from models.predict.gaussian import Entries, GaussianProcess, similarities_of
from models.search.problem import as_choices
from models.search.proposals.band import Band
from models.search.proposals.numbers import Numbers
from models.space.block_tables import ChoicesNG
from models.space.distribution import Choices, Vector

_POOL = 2000
"""Uniform samples of the band, whose best ones start local searches."""
_STARTS = 3
_TAIL = -6.0
_PAIRS = 300
"""Changes of two groups that each step of a local search tries."""


@dataclass(frozen=True)
class Trained:
    """One training, as evidence.

    Attributes:
        choices: of its architecture.
        value: its result; lower is better, such as the NLL.
        steps: of the training.
        recipe: 0 for the data and recipe of this race; another number for each other.
    """

    choices: Choices
    value: float
    steps: int
    recipe: int = 0


@dataclass(frozen=True)
class Posterior:
    """The process and how architectures become its inputs.

    Attributes:
        process: fitted on the trainings.
        numbers: numeric features, standardised over the band.
    """

    process: GaussianProcess
    numbers: Numbers

    def predict(self, choices_NG: ChoicesNG) -> tuple[Vector, Vector]:
        """Mean and standard deviation of the results at the reference steps, (N,) each."""
        return self.process.predict(self.entries(choices_NG))

    def entries(self, choices_NG: ChoicesNG) -> Entries:
        """Architectures at the reference steps of this race's recipe."""
        count = len(choices_NG)
        return Entries(
            choices_NG, self.numbers(choices_NG), np.zeros(count), np.zeros(count, dtype=np.int64)
        )

    def believe(self, choices: Choices) -> Posterior:
        """The posterior if this architecture gave its predicted mean."""
        return Posterior(self.process.believe(self.entries(as_choices([choices]))), self.numbers)


def fit(
    trained: Sequence[Trained], band: Band, numbers: Numbers, pool_NG: ChoicesNG, steps: int
) -> Posterior:
    """Fit the process to trainings of a space.

    Args:
        trained: at least one.
        band: whose groups they choose from.
        numbers: numeric features, in any units.
        pool_NG: architectures over which the numbers are standardised.
        steps: the reference, of a whole training.

    Raises:
        UserError: no training, or one without steps.
    """
    if any(one.steps < 1 for one in trained) or steps < 1:
        raise UserError("a training of no steps is no evidence: steps must be at least 1.")
    of_pool_NF = numbers(pool_NG)
    mean_F, spread_F = of_pool_NF.mean(0), of_pool_NF.std(0)
    unit_F = np.where(spread_F > 1e-9 * np.maximum(np.abs(mean_F), 1.0), spread_F, math.inf)

    def standardised(choices_NG: ChoicesNG) -> Vector:
        found_NF: Vector = (numbers(choices_NG) - mean_F) / unit_F
        return found_NF

    choices_NG = as_choices([one.choices for one in trained])
    entries = Entries(
        choices_NG,
        standardised(choices_NG),
        np.array([max(0.0, math.log2(steps / one.steps)) for one in trained]),
        np.array([one.recipe for one in trained]),
    )
    values_N = np.array([one.value for one in trained])
    process = GaussianProcess.fit(entries, values_N, similarities_of(band.groups))
    return Posterior(process, standardised)


def propose(
    trained: Sequence[Trained],
    band: Band,
    numbers: Numbers,
    rng: np.random.Generator,
    count: int,
    steps: int,
) -> list[Choices]:
    """The next distinct architectures of the band with the highest expected improvement.

    Fewer than `count` only where the band has no more that were not trained with this recipe.

    Args:
        trained: all trainings of the space so far; at least one.
        band: of the device.
        numbers: `models.search.proposals.numbers.network_numbers` of the space.
        rng: of the samples of the band.
        count: how many.
        steps: of a whole training.

    Raises:
        UserError: see `fit`.
    """
    known = {one.choices for one in trained if one.recipe == 0}
    pool = [choices for choices in band.sample(rng, _POOL) if choices not in known]
    if not pool:
        return []
    pool_NG = as_choices(pool)
    posterior = fit(trained, band, numbers, pool_NG, steps)
    rows_NG = as_choices(sorted(known or {one.choices for one in trained}))
    best = float(posterior.predict(rows_NG)[0].min())
    found: list[Choices] = []
    for _ in range(count):
        score = _improvement(posterior, best, known | set(found))
        starts = np.argsort(-score(pool_NG), kind="stable")[:_STARTS]
        climbed = [band.climb(pool[int(at)], score, rng, _PAIRS) for at in starts]
        ends = [end for end in climbed if end is not None and end not in known | set(found)]
        if not ends:
            break
        found.append(ends[int(np.argmax(score(as_choices(ends))))])
        posterior = posterior.believe(found[-1])
    return found


def _improvement(
    posterior: Posterior, best: float, taken: set[Choices]
) -> Callable[[ChoicesNG], Vector]:
    """Logarithm of the expected improvement below `best`; -inf for those already taken."""

    def score(choices_NG: ChoicesNG) -> Vector:
        mean_N, spread_N = posterior.predict(choices_NG)
        unit_N = np.maximum(spread_N, 1e-12 * max(1.0, abs(best)))
        z_N = (best - mean_N) / unit_N
        log_density_N = -0.5 * z_N**2 - 0.5 * math.log(2 * math.pi)
        near_N = np.maximum(z_N, _TAIL)
        gain_N = np.log(near_N * ndtr(near_N) + np.exp(-0.5 * near_N**2) / math.sqrt(2 * math.pi))
        # The sum cancels in the tail, where it is the density divided by z squared.
        tail_N = log_density_N - 2.0 * np.log(np.maximum(-z_N, 1.0))
        gain_N = np.log(unit_N) + np.where(z_N > _TAIL, gain_N, tail_N)
        free_N = np.array([tuple(map(int, row)) not in taken for row in choices_NG])
        found_N: Vector = np.where(free_N, gain_N, -np.inf)
        return found_N

    return score
