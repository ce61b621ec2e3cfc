"""Probabilistic search by gradient ascent on a distribution (PARSEC, section 3; FP-NAS, 3.1).

Each step draws architectures A_k from the distribution p(.|alpha) and weights them by

    omega_k  proportional to  p(y|X, w, A_k)^beta * exp(-eta * sum_b max(0, cost_b / budget_b - 1))

with log p(y|X, w, A_k) = -n * NLL on a held-out batch of n images (empirical Bayes). The logits
alpha ascend along  sum_k (omega_k - 1/K) * grad log p(A_k|alpha), the self-normalised estimate of
the gradient of log E_A[p(y|..)^beta * exp(..)] with a control variate.

Differences from the papers:
- The control variate, (1/K) * sum_k grad log p(A_k|alpha), has expectation 0, so the expected
  gradient is the same, but equally good samples do not move the logits. Without it, few samples
  make the distribution drift and collapse by chance.
- Plain gradient ascent: the gradient's magnitude contains the evidence (nearly equal samples give
  nearly none), which optimisers that normalise it discard.
- beta: NLLs of subnets differ by 0.01 to 0.1 nats, on n = 256 images by 3 to 25 in log-likelihood.
  beta = 0.3 scales that to order 1, so that a step weights its samples instead of selecting the
  single best one.
- The supernet's weights are fixed; only alpha is learned.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import Field
from scipy.special import logsumexp

from models.search.algorithms.base import Algorithm, AlgorithmSettings, Result, SharedParams
from models.search.problem import Problem
from models.space.constrained import most_probable
from models.space.distribution import Choices, Distribution, Form, Vector


class GradientSettings(AlgorithmSettings):
    """Settings of gradient ascent on a distribution."""

    learning_rate: float = Field(0.7, gt=0)
    """Step of plain gradient ascent on the distribution's logits."""
    inverse_temperature: float = Field(0.3, gt=0)
    """beta: scales the batch's log-likelihood, `-images * NLL`; 1 as in PARSEC."""
    start_weight: float = Field(0.5, ge=0, le=1)
    """Factor of the logits of `search.start_from`; smaller values let the search move further from
    the start."""


def importance_weights(
    nll: Sequence[float],
    excess: Sequence[float],
    images: int,
    inverse_temperature: float,
    cost_weight: float,
) -> Vector:
    """The normalised omega of a step's K samples, (K,), by log-sum-exp.

    Args:
        nll: mean cross-entropy of each sample, nats per image, (K,).
        excess: summed hinges of each sample's budgets, (K,).
        images: n, images in the batch.
        inverse_temperature: beta.
        cost_weight: eta.
    """
    log_weights = -inverse_temperature * images * np.asarray(nll, dtype=np.float64)
    log_weights = log_weights - cost_weight * np.asarray(excess, dtype=np.float64)
    weights: Vector = np.exp(log_weights - logsumexp(log_weights))
    return weights


class GradientAscent(Algorithm):
    """Factorised for `coarse_steps`, then joint."""

    settings: GradientSettings
    distribution: Distribution
    """The current p(.|alpha)."""

    def __init__(self, problem: Problem, params: SharedParams) -> None:
        super().__init__(problem, params)
        self.start_weight = self.settings.start_weight
        form: Form = "factorised" if self.coarse_steps > 0 else "joint"
        if problem.start is None:
            self.distribution = Distribution(problem.groups, form)
        else:
            logits = self.settings.start_weight * problem.start.logits
            self.distribution = problem.start.with_logits(logits).as_form(form)

    @property
    @abstractmethod
    def coarse_steps(self) -> int:
        """Number of steps with the factorised distribution."""

    @abstractmethod
    def sample_count(self) -> int:
        """K, the number of samples of the next step."""

    def propose(self, rng: np.random.Generator) -> list[Choices]:
        """K independent samples.

        Samples over a budget are down-weighted instead of excluded, so that the gradient learns the
        costs.
        """
        return [self.distribution.sample(rng) for _ in range(self.sample_count())]

    def learn(self, results: Sequence[Result]) -> list[float]:
        """One step of gradient ascent, then the switch to the joint form when it is due."""
        here = self.distribution
        omega = importance_weights(
            [result.loss for result in results],
            [result.excess for result in results],
            self.problem.images,
            self.settings.inverse_temperature,
            self.params.cost_weight,
        )
        gradient = np.zeros(here.size)
        for weight, result in zip(omega, results, strict=True):
            gradient += (weight - 1.0 / len(results)) * here.gradient(result.choices)
        here = here.with_logits(here.logits + self.settings.learning_rate * gradient)
        switch = here.form == "factorised" and self.step + 1 >= self.coarse_steps
        self.distribution = here.to_joint() if switch else here
        return [float(weight) for weight in omega]

    def answer(self, count: int, rng: np.random.Generator) -> list[Choices]:
        """The distribution's mode within the budgets, then the samples with the lowest NLL."""
        best = self.seen.best()
        mode = most_probable(self.distribution, self.problem.excess, best)
        return self.fill_up([mode or self.random_feasible(rng), *best], count, rng)

    def state(self) -> dict[str, Any]:
        """The base's state and the distribution."""
        here = self.distribution
        return super().state() | {"form": here.form, "logits": here.logits.tolist()}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore from `state`."""
        super().restore(state)
        logits = np.array(state["logits"], dtype=np.float64)
        self.distribution = Distribution(self.problem.groups, state["form"], logits)
