"""FP-NAS: probabilistic search with few samples (Yan et al., "FP-NAS", sections 3.1 to 3.4).

Each step draws K_t architectures from the distribution p(.|alpha), adaptively many, and moves it.

With `learn_from: step`, the default, it is as in the paper. Each of the step's architectures weighs

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

With `learn_from: all` the logits follow from all evaluations so far instead (`evidence`): an
evaluation costs a batch through a network, and the gradient uses it once. Costs are known without
evaluation, so then architectures are drawn within the budgets, and there is no hinge.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import logsumexp

from models.constrained import descend, most_probable
from models.distribution import Choices, Distribution, Form, Vector
from stages.search.algorithms.base import Algorithm, Result
from stages.search.algorithms.evidence import Evidence
from stages.search.problem import Problem

if TYPE_CHECKING:
    from stages.search.params import SearchParams

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
        Shape (K,), adding up to 1.
    """
    log_weights = -inverse_temperature * images * np.asarray(nll, dtype=np.float64)
    log_weights = log_weights - cost_weight * np.asarray(excess, dtype=np.float64)
    weights: Vector = np.exp(log_weights - logsumexp(log_weights))
    return weights


class FpNas(Algorithm):
    """Adaptive sample count; factorised first, joint from `coarse_fraction` of the steps on."""

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
        """p(.|alpha) as it is now."""
        return self._distribution

    @property
    def finished(self) -> bool:
        """After `steps`, or where asked for once about `candidates` architectures are left."""
        sharp = self.distribution.entropy() <= math.log(self.params.candidates)
        return super().finished or (self.stops_when_sharp and self.step > 0 and sharp)

    @property
    def stops_when_sharp(self) -> bool:
        """Whether it ends early."""
        return self.params.stop_when_sharp

    @property
    def learns_from_all(self) -> bool:
        """Whether earlier evaluations count."""
        return self.params.learn_from == "all"

    @property
    def coarse_steps(self) -> int:
        """How many steps the factorised form lasts."""
        return round(self.params.coarse_fraction * self.params.steps)

    def sample_count(self) -> int:
        """K_t = clip(round(lambda * H), min, max): many while the distribution is flat."""
        count = round(self.params.samples_per_nat * self.distribution.entropy())
        return int(np.clip(count, self.params.min_samples, self.params.max_samples))

    def propose(self, rng: np.random.Generator) -> list[Choices]:
        """K_t independent samples.

        Those beyond a budget are weighed down, not left out, where the gradient has to learn what
        costs too much.
        """
        draw = self._draw_within if self.learns_from_all else self.distribution.sample
        return [draw(rng) for _ in range(self.sample_count())]

    def _draw_within(self, rng: np.random.Generator) -> Choices:
        """A sample within the budgets; where draws find none, one mended by random changes."""
        for _ in range(_DRAWS):
            drawn = self.distribution.sample(rng)
            if self.problem.excess(drawn) <= 0:
                return drawn
        return descend(self.problem.groups, drawn, self.problem.excess, rng)

    def learn(self, results: Sequence[Result]) -> list[float]:
        """Move the logits, then switch the form where it is due."""
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
        """The start, with the odds that all evaluations give."""
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
        return self.filled([mode or self.random_feasible(rng), *best], count, rng)

    def state(self) -> dict[str, Any]:
        """The base's state, the distribution, and what it learnt from."""
        here = self.distribution
        own = {"form": here.form, "logits": here.logits.tolist()}
        return super().state() | own | {"evidence": self._evidence.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` gave."""
        super().restore(state)
        logits = np.array(state["logits"], dtype=np.float64)
        self._distribution = Distribution(self.problem.groups, state["form"], logits)
        self._start = self._start.as_form(state["form"])
        self._evidence.restore(state["evidence"])
