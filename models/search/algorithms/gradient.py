"""Probabilistic search by gradient ascent on a distribution (PARSEC, section 3; FP-NAS, 3.1).

Each step draws K architectures A_k within the budgets from the distribution p(.|alpha) and weights
them by

    omega_k  proportional to  p(y|X, w, A_k)^beta

with log p(y|X, w, A_k) = -n * NLL on a held-out batch of n images (empirical Bayes). The logits
alpha ascend along  sum_k (omega_k - 1/K) * grad log p(A_k|alpha).

What is ascended: costs are known before anything is evaluated, so samples come from the
distribution conditioned on the budgets, q(A) = p(A|alpha) / Z for feasible A, where Z is the
probability of a feasible one. The objective is log E_q[p(y|..)^beta]. The score is
grad log q(A) = grad log p(A) - grad log Z; its second term is the same for all samples, and the
weights omega_k - 1/K add up to 0, so that it cancels and is never computed. With K to infinity the
sum is the exact gradient,  E_q[p(y|..)^beta * grad log p] / E_q[p(y|..)^beta] - E_q[grad log p];
for finite K it is a self-normalised estimate, biased by O(1/K). Draws are by rejection; where that
finds nothing, a sample is repaired (`sample_within`) and only near q.

Differences from the papers:
- FP-NAS also draws beyond the budgets and multiplies omega by a hinge on the costs; here no images
  are spent on such a sample.
- The control variate, (1/K) * sum_k grad log q(A_k), has expectation 0, so the expected gradient is
  the same, but equally good samples do not move the logits. Without it, few samples make the
  distribution drift and collapse by chance.
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
from models.space.constrained import most_probable, sample_within
from models.space.distribution import Choices, Distribution, Form, Vector


class GradientSettings(AlgorithmSettings):
    """Settings of gradient ascent on a distribution."""

    learning_rate: float = Field(0.7, gt=0)
    """Step of plain gradient ascent on the distribution's logits."""
    inverse_temperature: float = Field(0.3, gt=0)
    """beta: scales the batch's log-likelihood, `-images * NLL`; 1 as in PARSEC."""
    start_weight: float = Field(0.5, ge=0, le=1)
    """Share of `search.start_from` in the initial logits, the rest uniform; smaller values let the
    search move further from the start."""


def importance_weights(nll: Sequence[float], images: int, inverse_temperature: float) -> Vector:
    """The normalised omega of a step's K samples, (K,), by log-sum-exp.

    Args:
        nll: mean cross-entropy of each sample, nats per image, (K,).
        images: n, images in the batch.
        inverse_temperature: beta.
    """
    log_weights = -inverse_temperature * images * np.asarray(nll, dtype=np.float64)
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
            start = problem.start.sharpened(self.settings.start_weight)
            self.distribution = start.as_form(form)

    @property
    @abstractmethod
    def coarse_steps(self) -> int:
        """Number of steps with the factorised distribution."""

    @abstractmethod
    def sample_count(self) -> int:
        """K, the number of samples of the next step."""

    def propose(self, rng: np.random.Generator) -> list[Choices]:
        """K independent samples of the distribution, conditioned on the budgets."""
        excess = self.problem.excess
        drawn = [sample_within(self.distribution, excess, rng) for _ in range(self.sample_count())]
        return [self.random_feasible(rng) if excess(one) > 0 else one for one in drawn]

    def learn(self, results: Sequence[Result]) -> list[float]:
        """One step of gradient ascent, then the switch to the joint form when it is due."""
        here = self.distribution
        omega = importance_weights(
            [result.loss for result in results],
            self.problem.images,
            self.settings.inverse_temperature,
        )
        gradient = np.zeros(here.size)
        for weight, result in zip(omega, results, strict=True):
            gradient += (weight - 1.0 / len(results)) * here.gradient(result.choices)
        here = here.with_logits(here.logits + self.settings.learning_rate * gradient)
        switch = here.form == "factorised" and self.step + 1 >= self.coarse_steps
        self.distribution = here.to_joint() if switch else here
        return [float(weight) for weight in omega]

    def shortlist(self, count: int, rng: np.random.Generator) -> list[Choices]:
        """The mode within the budgets, then in turn the most probable and the best samples.

        The best have the lowest NLL above the mean of their step, whose samples are worse in early
        steps; the distribution has learnt from all steps.
        """
        best = self.seen.best()
        mode = most_probable(self.distribution, self.problem.excess, best)
        likely = sorted(best, key=lambda c: (-self.distribution.log_prob(c), c))
        in_turn = [choices for pair in zip(likely, best, strict=True) for choices in pair]
        first = [mode or self.random_feasible(rng), *in_turn]
        return list(dict.fromkeys(first))[:count]

    def state(self) -> dict[str, Any]:
        """The base's state and the distribution."""
        here = self.distribution
        return super().state() | {"form": here.form, "logits": here.logits.tolist()}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore from `state`."""
        super().restore(state)
        logits = np.array(state["logits"], dtype=np.float64)
        self.distribution = Distribution(self.problem.groups, state["form"], logits)
