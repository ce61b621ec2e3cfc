"""Device-specific space and two-stage search (Zhang et al., "Fast Hardware-Aware NAS", HURRICANE).

First, operators are scored in each layer by capacity per measured latency, and the top-k per layer
form the device's search space (`operator_pool`). Then two searches follow, because later layers
affect accuracy more: of the LATE layers with the early ones fixed to a default, then of the EARLY
layers with the best late ones fixed. Each is a regularised evolution within the budgets, whose
fitness is the NLL of the supernet's slice.

The default of the early layers is the operator with the best score in each and the middle width, if
about half of the late layers' choices are then within the budgets; otherwise the early part of the
random architecture that comes closest to this.
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
    SharedParams,
)
from models.search.algorithms.evolution import Population, PopulationSettings
from models.search.algorithms.operator_pool import (
    kept_operators,
    operators_csv,
    operators_md,
    score_operators,
)
from models.search.problem import Problem
from models.space.distribution import Choices

_DEFAULTS = 15
_COMPLETIONS = 24

Allowed = list[list[int]]


class HurricaneSettings(PopulationSettings):
    """Of the algorithm `hurricane`."""

    name: Literal["hurricane"] = "hurricane"
    operators_per_layer: int = Field(3, ge=1)
    """Top-k operators kept per layer by score; more if the budgets cannot be met with them."""
    late_share: float = Field(0.5, gt=0, lt=1)
    """Share of the layers, counted from the end, that are searched first."""
    late_steps: float = Field(0.6, gt=0, lt=1)
    """Share of the steps for the late layers."""


class Hurricane(Algorithm):
    """`fixed_samples` architectures per step."""

    settings_type = HurricaneSettings
    settings: HurricaneSettings
    evaluation_mode: EvaluationMode = "held_out"

    def __init__(self, problem: Problem, params: SharedParams) -> None:
        super().__init__(problem, params)
        self.operators = self.settings.operators_per_layer
        pool = problem.pool.operators if problem.pool is not None else [()] * len(problem.sizes)
        self._layers = [score_operators(costs) for costs in pool]
        self.default: Choices | None = None  # its early part is fixed in stage 1
        self.winner: Choices | None = None  # its late part is fixed in stage 2
        self._evolving: Population | None = None

    @property
    def late_steps(self) -> int:
        """Number of steps that search the late layers."""
        return max(1, round(self.settings.late_steps * self.params.steps))

    @property
    def first_late(self) -> int:
        """The first group of the late part; a stage's channels belong to its first layer."""
        # All groups are layers if that is not known.
        every = range(len(self.problem.sizes))
        layers = [at for at in every if self._layers[at]] or [*every]
        late = min(len(layers) - 1, max(1, round(self.settings.late_share * len(layers))))
        if late < 1:  # a single layer cannot be split
            return 0
        at = layers[-late]
        while at > 1 and at - 1 not in layers:
            at -= 1
        return at

    def device_space(self) -> Allowed:
        """The candidates of every group in this device's space."""
        return [
            sorted(kept_operators(layer, self.operators)) if layer else [*range(size)]
            for layer, size in zip(self._layers, self.problem.sizes, strict=True)
        ]

    def population(self) -> list[Choices]:
        """The members of the current stage's population."""
        return [] if self._evolving is None else [choices for choices, _ in self._evolving.members]

    def propose(self, rng: np.random.Generator) -> list[Choices]:
        """Architectures that share the early part in stage 1 and the late part in stage 2."""
        if self._evolving is None:
            self._widen(rng)
            self.default = self._default(rng)
            self._evolving = self._stage()
        known = set(self.seen.sums)
        found = self._evolving.breed(self.settings.fixed_samples, rng, known)
        return found or [self.winner or self.default or self.random_feasible(rng)]

    def learn(self, results: Sequence[Result]) -> list[float]:
        """Add the results to the population."""
        assert self._evolving is not None
        for result in results:
            self._evolving.add(result.choices, self.value(result))
        return super().learn(results)

    def observe(self, results: Sequence[Result]) -> list[float]:
        """Update from a step; after the last step of stage 1 fix the late part of the best."""
        weights = super().observe(results)
        if self.step == self.late_steps:
            self.winner = self.seen.best()[0]
            self._evolving = self._stage()
            self._evolving.add(self.winner, self.seen.value(self.winner))
        return weights

    def answer(self, count: int, rng: np.random.Generator) -> list[Choices]:
        """The lowest NLLs of both stages, then random architectures of the device's space."""
        within = Population(self.problem, self.settings, self.device_space())

        def draw(rng: np.random.Generator) -> Choices:
            return within.draw(rng, set()) or self.random_feasible(rng)

        return self.fill_up(self.seen.best(), count, rng, draw)

    def artifacts(self) -> dict[str, bytes]:
        """The table of scores, as CSV and Markdown."""
        pool, groups = self.problem.pool, self.problem.groups
        if pool is None:
            return {}
        return {
            "operators.csv": operators_csv(pool, groups, self.operators),
            "operators.md": operators_md(
                pool, groups, self.operators, self.settings.operators_per_layer
            ),
        }

    def _stage(self) -> Population:
        """The population of the current stage, with the other part of the network fixed."""
        fixed = self.default if self.winner is None else self.winner
        assert fixed is not None
        late = range(self.first_late, len(fixed))
        allowed = [
            here if (group in late) == (self.winner is None) else [fixed[group]]
            for group, here in enumerate(self.device_space())
        ]
        return Population(self.problem, self.settings, allowed)

    def _widen(self, rng: np.random.Generator) -> None:
        """Keep more operators per layer until some architecture meets the budgets."""
        most = max(self.problem.sizes)
        while self.operators < most:
            within = Population(self.problem, self.settings, self.device_space())
            if within.draw(rng, set()) is not None:
                return
            self.operators += 1

    def _default(self, rng: np.random.Generator) -> Choices:
        """Select an architecture within the budgets whose early part is fixed in stage 1."""
        allowed, cut = self.device_space(), self.first_late
        within = Population(self.problem, self.settings, allowed)
        drawn = [within.draw(rng, set()) or self.random_feasible(rng) for _ in range(_DEFAULTS)]
        late_NG = np.array(
            [[rng.choice(here) for here in allowed[cut:]] for _ in range(_COMPLETIONS)]
        )
        best: tuple[float, Choices] | None = None
        for early, whole in [(self._preferred()[:cut], None), *((d[:cut], d) for d in drawn)]:
            completed_NG = np.column_stack([np.tile(early, (_COMPLETIONS, 1)), late_NG])
            completed_NG = completed_NG.astype(np.uint32)
            fits_N = self.problem.excesses(completed_NG) <= 0
            if fits_N.any():
                whole = whole or tuple(completed_NG[int(fits_N.argmax())].tolist())
            distance = abs(float(fits_N.mean()) - 0.5)
            if whole is not None and (best is None or distance < best[0]):
                best = (distance, whole)
        assert best is not None
        return best[1]

    def _preferred(self) -> Choices:
        """The operator with the best score of every layer; the middle option of other groups."""
        return tuple(
            layer[0].candidate if layer else size // 2
            for layer, size in zip(self._layers, self.problem.sizes, strict=True)
        )

    def state(self) -> dict[str, Any]:
        """The base's state, both fixed parts and the population."""
        return super().state() | {
            "operators": self.operators,
            "default": None if self.default is None else list(self.default),
            "winner": None if self.winner is None else list(self.winner),
            "population": None if self._evolving is None else self._evolving.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore from `state`."""
        super().restore(state)
        self.operators = int(state["operators"])
        self.default = None if state["default"] is None else tuple(state["default"])
        self.winner = None if state["winner"] is None else tuple(state["winner"])
        self._evolving = None if self.default is None else self._stage()
        if self._evolving is not None:
            self._evolving.restore(state["population"])
