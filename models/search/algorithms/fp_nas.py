"""FP-NAS: probabilistic search with few samples (Yan et al., "FP-NAS", sections 3.1 to 3.4).

Each step draws K_t architectures (an adaptive number) from the distribution p(.|alpha) and updates
it.

With `learn_from: step`, the default, it follows the paper. The step's architectures have the
weights

    omega_k  proportional to  p(y|X, w, A_k)^beta * exp(-eta * sum_b max(0, cost_b / budget_b - 1))

with log p(y|X, w, A_k) = -n * NLL on a held-out batch of n images (empirical Bayes, as in PARSEC).
The logits alpha ascend along  sum_k omega_k * grad log p(A_k|alpha), the self-normalised estimate
of the gradient of log E_A[p(y|..)^beta * exp(..)].

Differences from the paper, each a param:
- A control variate, (1/K) * sum_k grad log p(A_k|alpha) with expectation 0, is subtracted from the
  estimate: the same expected gradient, but equally good samples do not move the logits. Without it,
  few samples make the distribution drift and collapse by chance.
- Plain gradient ascent: the gradient's magnitude contains the evidence (nearly equal samples give
  nearly none), which optimisers that normalise it discard.
- beta: NLLs of subnets differ by 0.01 to 0.1 nats, on n = 256 images by 3 to 25 in log-likelihood.
  beta = 0.3 scales that to order 1, so that a step weights its samples instead of selecting the
  single best one.
- The supernet's weights are fixed; only alpha is learned here (see `models.search.weights`).

With `learn_from: all` the logits are computed from all evaluations so far (`evidence`), because an
evaluation costs a batch through a network and the gradient uses it only once. Architectures are
then drawn within the budgets, which need no evaluation, and there is no hinge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import logsumexp

from models.search.algorithms.base import Algorithm, Result
from models.search.algorithms.evidence import Evidence
from models.search.problem import Problem
from models.space.constrained import descend, most_probable
from models.space.distribution import Choices, Distribution, Form, Vector

if TYPE_CHECKING:
    from models.search.settings import SearchParams

_DRAWS = 16


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
        Shape (K,), summing to 1.
    """
    log_weights = -inverse_temperature * images * np.asarray(nll, dtype=np.float64)
    log_weights = log_weights - cost_weight * np.asarray(excess, dtype=np.float64)
    weights: Vector = np.exp(log_weights - logsumexp(log_weights))
    return weights


class FpNas(Algorithm):
    """Adaptive sample count; factorised for `coarse_fraction` of the steps, then joint."""

    name = "fp_nas"
    reads_start = True

    def __init__(self, problem: Problem, params: SearchParams) -> None:
        super().__init__(problem, params)
        form: Form = "factorised" if self.coarse_steps > 0 else "joint"
        start = problem.start
        self._start = Distribution(problem.groups, form) if start is None else start.as_form(form)
        self._distribution = self._start
        self._evidence = Evidence(problem.groups)

    @property
    def distribution(self) -> Distribution:
        """The current p(.|alpha)."""
        return self._distribution

    @property
    def finished(self) -> bool:
        """After `steps`, or with `stop_when_sharp` once about `candidates` networks are left."""
        sharp = self.distribution.entropy() <= math.log(self.params.candidates)
        return super().finished or (self.stops_when_sharp and self.step > 0 and sharp)

    @property
    def stops_when_sharp(self) -> bool:
        """Whether it may end early."""
        return self.params.stop_when_sharp

    @property
    def learns_from_all(self) -> bool:
        """Whether it learns from all evaluations."""
        return self.params.learn_from == "all"

    @property
    def coarse_steps(self) -> int:
        """Number of steps with the factorised distribution."""
        return round(self.params.coarse_fraction * self.params.steps)

    def sample_count(self) -> int:
        """K_t = clip(round(lambda * H), min, max): more while the distribution is flat."""
        count = round(self.params.samples_per_nat * self.distribution.entropy())
        return int(np.clip(count, self.params.min_samples, self.params.max_samples))

    def propose(self, rng: np.random.Generator) -> list[Choices]:
        """K_t independent samples.

        With gradient ascent, samples over a budget are down-weighted instead of excluded, so that
        the gradient learns the costs.
        """
        draw = self._draw_within if self.learns_from_all else self.distribution.sample
        return [draw(rng) for _ in range(self.sample_count())]

    def _draw_within(self, rng: np.random.Generator) -> Choices:
        """Draw a sample within the budgets; if none is drawn, repair one by random changes."""
        for _ in range(_DRAWS):
            drawn = self.distribution.sample(rng)
            if self.problem.excess(drawn) <= 0:
                return drawn
        return descend(self.problem.groups, drawn, self.problem.excess, rng)

    def learn(self, results: Sequence[Result]) -> list[float]:
        """Update the logits, then switch to the joint form when it is due."""
        params = self.params
        omega = importance_weights(
            [result.loss for result in results],
            [result.excess for result in results],
            self.problem.images,
            params.inverse_temperature,
            params.cost_weight,
        )
        here = self._follow_all(results) if self.learns_from_all else self._climb(results, omega)
        switch = here.form == "factorised" and self.step + 1 >= self.coarse_steps
        if switch:
            self._start, here = self._start.to_joint(), here.to_joint()
        self._distribution = here
        return [float(weight) for weight in omega]

    def _climb(self, results: Sequence[Result], omega: Vector) -> Distribution:
        """One step of gradient ascent on the logits."""
        params, here = self.params, self.distribution
        baseline = 1.0 / len(results) if params.control_variate else 0.0
        gradient = np.zeros(here.size)
        for weight, result in zip(omega, results, strict=True):
            gradient += (weight - baseline) * here.gradient(result.choices)
        return here.with_logits(here.logits + params.learning_rate * gradient)

    def _follow_all(self, results: Sequence[Result]) -> Distribution:
        """The initial logits plus the log-odds from all evaluations."""
        drawn = [result.choices for result in results]
        self._evidence.add(self.step, drawn, [result.loss for result in results])
        odds = self._evidence.log_odds(self.distribution)
        return self._start.with_logits(self._start.logits + odds)

    def answer(self, count: int, rng: np.random.Generator) -> list[Choices]:
        """The distribution's mode within the budgets, then the samples with the lowest NLL.

        Raises:
            InfeasibleBudgetError: nothing within the budgets was found.
        """
        best = self.seen.best()
        mode = most_probable(self.distribution, self.problem.excess, best)
        return self.fill_up([mode or self.random_feasible(rng), *best], count, rng)

    def state(self) -> dict[str, Any]:
        """The base's state, the distribution and the evaluations."""
        here = self.distribution
        own = {"form": here.form, "logits": here.logits.tolist()}
        return super().state() | own | {"evidence": self._evidence.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore from `state`."""
        super().restore(state)
        logits = np.array(state["logits"], dtype=np.float64)
        self._distribution = Distribution(self.problem.groups, state["form"], logits)
        self._start = self._start.as_form(state["form"])
        self._evidence.restore(state["evidence"])
