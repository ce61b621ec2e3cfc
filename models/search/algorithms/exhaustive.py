"""Exhaustive search: score every architecture of a space and return the best within budgets.

The score is cheap: an indicator computed from the supernet's batch norms (BN-NAS), or a ridge
regression on features of architectures (FOX-NAS). The regression is fitted on random architectures
that the first steps evaluate; the other steps evaluate its best predictions, because the maximum of
millions of predictions is biased. Only a tiny space is evaluated completely by the supernet.

Axes: N architectures, G groups.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
from pydantic import Field

from core.errors import UserError
from models.search.algorithms.base import (
    Algorithm,
    EvaluationMode,
    SampledSettings,
    SharedParams,
)
from models.search.algorithms.predictor import fit_seen
from models.search.problem import Problem, Scores
from models.space.block_tables import ChoicesNG
from models.space.distribution import Choices
from models.space.limits import InfeasibleBudgetError

_CHUNK = 1 << 18
_MOST = 10_000_000


class ExhaustiveSettings(SampledSettings):
    """Of the algorithm `exhaustive`."""

    name: Literal["exhaustive"] = "exhaustive"
    by: Literal["predictor", "bn_indicator", "bn_indicator_per_layer", "supernet"] = "predictor"
    """Score of all architectures."""
    fitted_fraction: float = Field(0.5, gt=0, lt=1)
    """Share of the steps that evaluate random architectures, on which the predictor is fitted."""
    limit: int = Field(_MOST, ge=1, le=_MOST)
    """Maximum number of enumerated architectures; ten million take some seconds."""
    supernet_limit: int = Field(2000, ge=1)
    """Maximum number of architectures evaluated by the supernet (by: supernet)."""


class Exhaustive(Algorithm):
    """Scores all architectures; `fixed_samples` per step are evaluated or recorded."""

    settings_type = ExhaustiveSettings
    settings: ExhaustiveSettings
    evaluation_mode: EvaluationMode = "held_out"

    def __init__(self, problem: Problem, params: SharedParams) -> None:
        super().__init__(problem, params)
        self.by = self.settings.by
        self.check_space(problem.sizes, self.settings)
        if self.by.startswith("bn_"):
            self.indicator = problem.indicator(self.by)
            self.evaluation_mode = "no_images"
        self.promising: list[Choices] | None = None  # set once the predictor is fitted

    @classmethod
    def check_space(cls, sizes: Sequence[int], settings: ExhaustiveSettings) -> None:
        """Reject a space with too many architectures.

        Raises:
            UserError: it has more than the limit for this score.
        """
        count = math.prod(sizes)
        if settings.by == "supernet":
            key, limit, what = "supernet_limit", settings.supernet_limit, "evaluates"
        else:
            key, limit, what = "limit", settings.limit, "enumerates"
        if count > limit:
            raise UserError(
                f"the space has {count:,} architectures, but exhaustive search {what} at most "
                f"{limit:,} (search.algorithm.{key}). Use another search.algorithm, such as "
                f"evolution, or a smaller space{_way_out(key, count)}."
            )

    @property
    def fitted_steps(self) -> int:
        """Number of steps the predictor is fitted on."""
        return max(1, round(self.settings.fitted_fraction * self.params.steps))

    @cached_property
    def _in_order(self) -> list[Choices]:
        """What is proposed in turn: the best by the indicator, or all within the budgets."""
        if self.indicator is None:
            count = math.prod(self.problem.sizes)
            return best_of_all(self.problem, lambda choices_NG: np.zeros(len(choices_NG)), count)
        wanted = max(self.params.steps * self.settings.fixed_samples, self.params.candidates)
        return best_of_all(self.problem, self.indicator, wanted)

    def propose(self, rng: np.random.Generator) -> list[Choices]:
        """The next ones in order, the next best, or random ones to fit the predictor on."""
        share = self.settings.fixed_samples
        if self.by == "predictor":
            if self.step < self.fitted_steps:
                return [self.random_feasible(rng) for _ in range(share)]
            if self.promising is None:
                self.promising = self._predicted_best()
            known, start = self.promising, (self.step - self.fitted_steps) * share
        else:
            known = self._in_order
            if self.indicator is None:
                share = -(-len(known) // self.params.steps)
            start = self.step * share
        return known[start : start + share] or known[-1:]

    def answer(self, count: int, rng: np.random.Generator) -> list[Choices]:
        """The best of all by the indicator, or the lowest NLLs of those that were evaluated."""
        if self.indicator is not None:
            return self._in_order[:count]
        return super().answer(count, rng)

    def _predicted_best(self) -> list[Choices]:
        """The architectures not evaluated yet with the lowest predicted NLL."""
        wanted = (self.params.steps - self.fitted_steps) * self.settings.fixed_samples
        predict = fit_seen(self.problem, self.seen).values
        found = best_of_all(
            self.problem, lambda choices_NG: -predict(choices_NG), wanted + len(self.seen.sums)
        )
        return [choices for choices in found if choices not in self.seen.sums][:wanted] or found[:1]

    def artifacts(self) -> dict[str, bytes]:
        """The predictor on all evaluated architectures and its feature contributions."""
        if self.by != "predictor" or not self.seen.sums:
            return {}
        return fit_seen(self.problem, self.seen).artifacts(self.params.seed)

    def state(self) -> dict[str, Any]:
        """The base's state and the best predicted architectures."""
        promising = None if self.promising is None else [list(c) for c in self.promising]
        return super().state() | {"promising": promising}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore from `state`."""
        super().restore(state)
        saved = state["promising"]
        self.promising = None if saved is None else [tuple(choices) for choices in saved]


def best_of_all(problem: Problem, score: Scores, count: int) -> list[Choices]:
    """The `count` architectures with the highest scores within the budgets, best first.

    Ties go to the first in enumeration order. Budgets are only evaluated for architectures whose
    score may be kept.

    Raises:
        InfeasibleBudgetError: none is within the budgets.
    """
    total, groups = math.prod(problem.sizes), len(problem.sizes)
    kept_NG, kept_N = np.zeros((0, groups), dtype=np.uint32), np.zeros(0)
    for start in range(0, total, _CHUNK):
        choices_NG = unravel(problem.sizes, start, min(start + _CHUNK, total))
        scores_N = score(choices_NG)
        if len(kept_N) == count:
            better_N = scores_N > kept_N[-1]
            choices_NG, scores_N = choices_NG[better_N], scores_N[better_N]
        within_N = problem.excesses(choices_NG) <= 0
        kept_NG = np.concatenate([kept_NG, choices_NG[within_N]])
        kept_N = np.concatenate([kept_N, scores_N[within_N]])
        order = np.argsort(-kept_N, kind="stable")[:count]
        kept_NG, kept_N = kept_NG[order], kept_N[order]
    if len(kept_N) == 0:
        raise _infeasible(problem, total)
    return [tuple(row) for row in kept_NG.tolist()]


def unravel(sizes: Sequence[int], start: int, stop: int) -> ChoicesNG:
    """The architectures `start` to `stop - 1`; the last group varies fastest."""
    numbers = np.arange(start, stop)
    return np.stack(np.unravel_index(numbers, tuple(sizes)), axis=1).astype(np.uint32)


def _infeasible(problem: Problem, total: int) -> InfeasibleBudgetError:
    nearest = min(
        float(problem.excesses(unravel(problem.sizes, start, min(start + _CHUNK, total))).min())
        for start in range(0, total, _CHUNK)
    )
    return InfeasibleBudgetError(
        f"none of the space's {total:,} architectures meets all budgets together: the closest one "
        f"exceeds them by {nearest:.2%} of a budget. Raise one of the device's budgets by that "
        "much or add smaller options."
    )


def _way_out(key: str, count: int) -> str:
    """Suggest raising the limit if it can be raised that far."""
    most = _MOST if key == "limit" else count
    return f", or raise search.algorithm.{key}" if count <= most else ""
