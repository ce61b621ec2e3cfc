"""Simulated annealing on an interpretable predictor (FOX-NAS).

Phase 1 evaluates INFORMATIVE architectures: those with the largest prediction variance of a ridge
regression, found by annealing on their leverage. Phase 2 fits the regression of the NLL on the
features of all evaluated architectures, anneals on its predictions, and evaluates the results,
which corrects optimistic predictions in the next step.

A neighbour changes a few groups by one step each. The temperature decreases geometrically. A move
beyond the budgets is never accepted, and chains start within them.

Differences from the paper, each a param: the temperature's unit is the standard deviation of the
values evaluated so far, independent of the data set; every step starts its chains from the best
evaluated and from random architectures in turn.

Axes: N architectures, G groups, F features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Literal

import numpy as np
from pydantic import Field

from models.search.algorithms.base import (
    Algorithm,
    EvaluationMode,
    SampledSettings,
    SharedParams,
)
from models.search.algorithms.predictor import fit_seen
from models.search.problem import Features, Problem, Scores, as_choices
from models.space.block_tables import ChoicesNG
from models.space.distribution import Choices, Vector
from models.space.groups import single_steps

_SCALED_BY = 256  # random architectures
_RIDGE = 1.0  # of the leverage: as one evaluated architecture in every direction


class AnnealingSettings(SampledSettings):
    """Of the algorithm `annealing`."""

    name: Literal["annealing"] = "annealing"
    informative_fraction: float = Field(0.4, ge=0, lt=1)
    """Share of the steps that evaluate informative architectures (phase 1)."""
    moves: int = Field(150, ge=1)
    """Proposed moves of every chain; a step has `fixed_samples` chains."""
    changes: int = Field(3, ge=1)
    """Maximum number of groups that a move changes, each by one step."""
    hottest: float = Field(1.0, gt=0)
    """Initial temperature, in standard deviations of the evaluated values."""
    coldest: float = Field(0.01, gt=0)
    """Final temperature, in the same unit."""


@dataclass(frozen=True)
class Annealer:
    """Annealing chains within the budgets."""

    problem: Problem
    settings: AnnealingSettings
    steps: tuple[tuple[tuple[int, ...], ...], ...]
    """Per group and candidate, the candidates one step away."""

    def run_chains(
        self,
        starts: Sequence[Choices],
        energy: Scores,
        unit: float,
        rng: np.random.Generator,
    ) -> list[list[Choices]]:
        """Run the chains; return each chain's visited architectures, lowest energy first.

        Args:
            starts: one per chain, all within the budgets.
            energy: what is minimised.
            unit: of temperatures.
            rng: of moves and acceptance.
        """
        settings = self.settings
        here_NG, energies_N = as_choices(starts), energy(as_choices(starts))
        visited: list[dict[Choices, float]] = [
            {start: float(value)} for start, value in zip(starts, energies_N, strict=True)
        ]
        cooling = (settings.coldest / settings.hottest) ** (1 / max(1, settings.moves - 1))
        for move in range(settings.moves):
            temperature = unit * settings.hottest * cooling**move
            there_NG = as_choices([self.neighbour(row, rng) for row in here_NG.tolist()])
            rise_N = energy(there_NG) - energies_N
            accepted_N = rng.random(len(starts)) < np.exp(np.minimum(0.0, -rise_N / temperature))
            moved_N = accepted_N & (self.problem.excesses(there_NG) <= 0)
            here_NG = np.where(moved_N[:, None], there_NG, here_NG)
            energies_N = np.where(moved_N, energies_N + rise_N, energies_N)
            for chain in np.flatnonzero(moved_N):
                visited[chain][tuple(here_NG[chain].tolist())] = float(energies_N[chain])
        return [sorted(chain, key=lambda c, chain=chain: (chain[c], c)) for chain in visited]  # type: ignore[misc]

    def neighbour(self, choices: Sequence[int], rng: np.random.Generator) -> Choices:
        """Draw an architecture that differs in a few groups by one step each, ignoring budgets."""
        movable = [group for group, near in enumerate(self.steps) if any(near)]
        found = list(choices)
        if movable:
            most = min(self.settings.changes, len(movable))
            for at in rng.permutation(len(movable))[: rng.integers(1, most + 1)]:
                group = movable[at]
                near = self.steps[group][found[group]]
                if near:
                    found[group] = near[int(rng.integers(len(near)))]
        return tuple(found)


@dataclass(frozen=True)
class DesignInformation:
    """Information of the evaluated architectures for a ridge regression (D-optimal design).

    Means and standard deviations are of features over the space; `inverse_FF` is the inverse of the
    information matrix, with the ridge.
    """

    features: Features
    mean_F: Vector
    deviation_F: Vector
    inverse_FF: Vector

    @classmethod
    def of(
        cls, problem: Problem, evaluated: Sequence[Choices], rng: np.random.Generator
    ) -> DesignInformation:
        """Information of evaluated architectures; features are standardised over the space."""
        columns = [rng.integers(size, size=_SCALED_BY) for size in problem.sizes]
        everywhere_NF = problem.features.of(np.stack(columns, axis=1).astype(np.uint32))
        mean_F, deviation_F = everywhere_NF.mean(0), everywhere_NF.std(0)
        deviation_F = np.where(deviation_F > 1e-9, deviation_F, np.inf)  # constant features
        known = cls(problem.features, mean_F, deviation_F, np.eye(len(mean_F)) / _RIDGE)
        if not evaluated:
            return known
        seen_NF = known.scaled(as_choices(evaluated))
        information_FF = seen_NF.T @ seen_NF + _RIDGE * np.eye(len(mean_F))
        return replace(known, inverse_FF=np.linalg.inv(information_FF).astype(np.float64))

    def scaled(self, choices_NG: ChoicesNG) -> Vector:
        """Features in standard deviations from their means, (N, F)."""
        found_NF: Vector = (self.features.of(choices_NG) - self.mean_F) / self.deviation_F
        return found_NF

    def energy(self, choices_NG: ChoicesNG) -> Vector:
        """The negative variance of each prediction; lower is more informative."""
        return -_leverage(self.scaled(choices_NG), self.inverse_FF)

    def most_informative(self, found: Sequence[Choices], count: int) -> list[Choices]:
        """Greedily select `count` architectures with the largest variance given those before."""
        scaled_NF, inverse_FF = self.scaled(as_choices(found)), self.inverse_FF
        chosen: list[int] = []
        for _ in range(min(count, len(found))):
            leverage_N = _leverage(scaled_NF, inverse_FF)
            leverage_N[chosen] = -np.inf
            best = int(leverage_N.argmax())
            chosen.append(best)
            gain_F = inverse_FF @ scaled_NF[best]  # Sherman and Morrison's update
            inverse_FF = inverse_FF - np.outer(gain_F, gain_F) / (1 + scaled_NF[best] @ gain_F)
        return [found[at] for at in chosen]


def _leverage(scaled_NF: Vector, inverse_FF: Vector) -> Vector:
    leverage_N: Vector = ((scaled_NF @ inverse_FF) * scaled_NF).sum(1)
    return leverage_N


class Annealing(Algorithm):
    """`fixed_samples` chains per step, each proposing its best architectures."""

    settings_type = AnnealingSettings
    settings: AnnealingSettings
    evaluation_mode: EvaluationMode = "held_out"

    def __init__(self, problem: Problem, params: SharedParams) -> None:
        super().__init__(problem, params)
        steps = tuple(single_steps(group) for group in problem.groups)
        self.annealer = Annealer(problem, self.settings, steps)

    @property
    def informative_steps(self) -> int:
        """Number of steps of phase 1; at least one, because the predictor needs data."""
        return max(1, round(self.settings.informative_fraction * self.params.steps))

    def propose(self, rng: np.random.Generator) -> list[Choices]:
        """Informative architectures (phase 1) or the best predicted; new ones if there are any."""
        count = self.settings.fixed_samples
        starts = [self.random_feasible(rng) for _ in range(count)]
        if self.step < self.informative_steps:
            known = DesignInformation.of(self.problem, list(self.seen.sums), rng)
            energy, unit = known.energy, max(float(known.energy(as_choices(starts)).std()), 1e-9)
        else:
            starts = [*self.seen.best()[: count // 2], *starts][:count]
            predictor = fit_seen(self.problem, self.seen)
            energy, unit = predictor.values, max(predictor.spread, 1e-9)
        chains = self.annealer.run_chains(starts, energy, unit, rng)
        new = [[c for c in chain if c not in self.seen.sums] for chain in chains]
        in_turn = [c for row in zip_longest(*new) for c in row if c is not None]
        distinct = list(dict.fromkeys(in_turn)) or [chain[0] for chain in chains]
        if self.step < self.informative_steps:
            return known.most_informative(distinct, count)
        return distinct[:count]

    def artifacts(self) -> dict[str, bytes]:
        """The regression on all evaluated architectures and its feature contributions."""
        if not self.seen.sums:
            return {}
        return fit_seen(self.problem, self.seen).artifacts(self.params.seed)
