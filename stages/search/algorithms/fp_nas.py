"""FP-NAS: probabilistic search with few samples (Yan et al., "FP-NAS", sections 3.1 to 3.4).

Each step draws K_t architectures from the distribution p(.|alpha) and weighs each by

    omega_k  proportional to  p(y|X, w, A_k)^beta * exp(-eta * sum_b max(0, cost_b / budget_b - 1))

with log p(y|X, w, A_k) = -n * NLL on a held-out batch of n images (empirical Bayes, as in PARSEC).
The logits alpha climb along  sum_k omega_k * grad log p(A_k|alpha), the self-normalised estimate
of the gradient of log E_A[p(y|..)^beta * exp(..)].

Choices of ours, each a param:
- The estimate minus its control variate, (1/K) * sum_k grad log p(A_k|alpha), whose expectation
  is 0: the same gradient in expectation, but equally good samples no longer move the logits.
  Without it few samples make the distribution drift and collapse by chance alone.
- Plain gradient ascent. The gradient's size carries the evidence (nearly equal samples give
  nearly none), which optimisers that normalise it throw away.
- beta: NLLs of subnets differ by some 0.01 to 0.1 nats, on n = 256 images by 3 to 25 in
  log-likelihood. beta = 0.3 brings that to order 1, so that a step weighs its samples instead of
  taking the single best one.
- The supernet's weights stay as they were trained; only alpha is learnt here. `learn` is the one
  place where an update of the weights, by the same omega, would be added.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import logsumexp

from models.constrained import most_probable
from models.distribution import Choices, Distribution, Vector
from stages.search.algorithms.base import Algorithm, Problem, Result

if TYPE_CHECKING:
    from stages.search.params import SearchParams


def importance_weights(
    nll: Sequence[float],
    excess: Sequence[float],
    images: int,
    inverse_temperature: float,
    cost_weight: float,
) -> Vector:
    """The normalised omega of a step's K samples, by log-sum-exp.

    Args:
        nll: mean cross-entropy of each sample, nats per image, shape (K,).
        excess: summed hinges of each sample's budgets, shape (K,).
        images: n, images in the batch.
        inverse_temperature: beta.
        cost_weight: eta.

    Returns:
        Shape (K,), adding up to 1.
    """
    log_weights = -inverse_temperature * images * np.asarray(nll, dtype=np.float64)
    log_weights = log_weights - cost_weight * np.asarray(excess, dtype=np.float64)
    weights: Vector = np.exp(log_weights - logsumexp(log_weights))
    return weights


class FpNas(Algorithm):
    """Adaptive sample count; factorised first, joint from `coarse_fraction` of the steps on."""

    name = "fp_nas"

    def __init__(self, problem: Problem, params: SearchParams) -> None:
        super().__init__(problem, params)
        coarse = self.coarse_steps > 0
        self._distribution = Distribution(problem.groups, "factorised" if coarse else "joint")

    @property
    def distribution(self) -> Distribution:
        """p(.|alpha) as it is now."""
        return self._distribution

    @property
    def coarse_steps(self) -> int:
        """How many steps the factorised form lasts."""
        return round(self.params.coarse_fraction * self.params.steps)

    def sample_count(self) -> int:
        """K_t = clip(round(lambda * H), min, max): many while the distribution is flat."""
        count = round(self.params.samples_per_nat * self.distribution.entropy())
        return int(np.clip(count, self.params.min_samples, self.params.max_samples))

    def propose(self, rng: np.random.Generator) -> list[Choices]:
        """K_t independent samples; those beyond a budget are weighed down, not left out."""
        return [self.distribution.sample(rng) for _ in range(self.sample_count())]

    def learn(self, results: Sequence[Result]) -> list[float]:
        """One step of gradient ascent on the logits, then the switch of form where it is due."""
        params, here = self.params, self.distribution
        omega = importance_weights(
            [result.nll for result in results],
            [result.excess for result in results],
            self.problem.images,
            params.inverse_temperature,
            params.cost_weight,
        )
        baseline = 1.0 / len(results) if params.control_variate else 0.0
        gradient = np.zeros(here.size)
        for weight, result in zip(omega, results, strict=True):
            gradient += (weight - baseline) * here.gradient(result.choices)
        here = here.with_logits(here.logits + params.learning_rate * gradient)
        switch = here.form == "factorised" and self.step + 1 >= self.coarse_steps
        self._distribution = here.to_joint() if switch else here
        return [float(weight) for weight in omega]

    def answer(self, count: int, rng: np.random.Generator) -> list[Choices]:
        """The distribution's mode within the budgets, then the samples with the lowest NLL.

        Raises:
            InfeasibleBudgetError: nothing within the budgets was found.
        """
        best = self.seen.best()
        mode = most_probable(self.distribution, self.problem.excess, best)
        return self.filled([mode or self.random_feasible(rng), *best], count, rng)

    def state(self) -> dict[str, Any]:
        """The base's state and the distribution."""
        here = self.distribution
        return super().state() | {"form": here.form, "logits": here.logits.tolist()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` gave."""
        super().restore(state)
        logits = np.array(state["logits"], dtype=np.float64)
        self._distribution = Distribution(self.problem.groups, state["form"], logits)
