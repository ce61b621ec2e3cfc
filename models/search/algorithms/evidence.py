"""Log-odds of each option from a regression on all evaluations of a search.

The NLL of an architecture is modelled as a smooth function of its options, plus an effect of its
step's batch, plus noise: a Gaussian process with an ANOVA kernel. The kernel of two architectures
is the product over the groups of `1 - r + r * (share of options in common)`, i.e. a sum of main
effects, pairwise interactions and so on with decreasing weights. The noise variance relative to the
effects is estimated from the evaluations: with 256 images it is as large as the variance over all
networks, with many images close to zero.

An option's effect is its mean effect with all other groups drawn from the current distribution. An
option that is better than the others by z standard errors has odds exp(_MATCHING * z), about the
posterior probability that it IS better. So the distribution is flat where the posterior is
uncertain and sharp where it is not, independent of the unit and noise of the NLLs, and all
evaluations are used.

The regression is a kernel method on N evaluations, so that joint distributions with thousands of
candidates cost little more. Axes: N evaluations, G groups, C candidates and O options of a group.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from scipy.linalg import eigh
from scipy.special import softmax

from models.space.distribution import Choices, Distribution, Vector
from models.space.space import Group

_MATCHING = 1.2
"""Logits per standard error. Of two options whose effects differ by d with standard errors s, the
first is better with probability Phi(d / (s * sqrt(2))), near 1 / (1 + exp(-1.2 * d / s))."""
_ORDER = 1.0
"""r is this divided by the number of groups: in a space of many groups, all pairwise interactions
together then have half the weight of all main effects."""
_NOISES = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
"""Candidate noise variances of an evaluation, in units of the variance of all architectures."""
_BATCH = 4.0
"""Variance of the batch effect of a step; an evaluation's noise is 1."""
_FOCUS = 0.3
"""An architecture predicted one standard deviation worse than another is weighted by exp(-_FOCUS),
so that the fit is best among good architectures."""
_NOTHING = 1e-12


@dataclass
class Evidence:
    """All evaluations of a search.

    Attributes:
        groups: the space's.
        steps: of each evaluation.
        choices: its architecture.
        nll: its mean cross-entropy, nats per image.
    """

    groups: tuple[Group, ...]
    steps: list[int] = field(default_factory=list)
    choices: list[Choices] = field(default_factory=list)
    nll: list[float] = field(default_factory=list)

    def add(self, step: int, choices: Sequence[Choices], nll: Sequence[float]) -> None:
        """Add a step's evaluations."""
        self.steps += [step] * len(choices)
        self.choices += choices
        self.nll += nll

    def log_odds(self, here: Distribution) -> Vector:
        """Log-odds for every logit of the distribution, shape (size,); 0 without evidence.

        Args:
            here: the distribution of the other groups.
        """
        chosen_GN = np.array(self.choices).T
        # Per group: kernel between its candidates and the evaluations.
        about = [kernel[:, chosen] for kernel, chosen in zip(self._kernels, chosen_GN, strict=True)]
        alike_NN = np.ones((len(self.nll), len(self.nll)))
        for about_CN, chosen_N in zip(about, chosen_GN, strict=True):
            alike_NN *= about_CN[chosen_N]
        _, predicted_N = self._fit(alike_NN, np.ones(len(self.nll)))
        worse_N = (predicted_N - predicted_N.min()) / max(float(predicted_N.std()), _NOTHING)
        fitted, _ = self._fit(alike_NN, np.exp(-_FOCUS * worse_N))

        likely = [np.exp(log_C) for log_C in here.log_probabilities]
        means_GN = np.array([p_C @ about_CN for p_C, about_CN in zip(likely, about, strict=True)])
        within = [p_C @ k @ p_C for p_C, k in zip(likely, self._kernels, strict=True)]
        odds_L, joint = np.zeros(here.size), here.form == "joint"
        taken = [] if joint else [here.indicators(group) for group in range(len(self.groups))]
        for factor in here.factors:
            others = np.arange(len(self.groups)) != factor.group
            about_CN = about[factor.group] * means_GN[others].prod(0)
            within_CC = self._kernels[factor.group] * np.prod(np.array(within)[others])
            shares_OC = None
            if not joint:
                shares_OC = _shares(taken[factor.group][:, factor.part].T, likely[factor.group])
            odds_L[factor.part] = fitted.odds(about_CN, within_CC, shares_OC)
        return odds_L

    def _fit(self, alike_NN: Vector, weights_N: Vector) -> tuple[Fitted, Vector]:
        """Fit the weighted regression; return it and its predictions for the evaluations."""
        root_N = np.sqrt(weights_N)
        centred_NN = root_N[:, None] * _centring(np.array(self.steps), weights_N)
        nll_N = centred_NN @ np.array(self.nll)
        values_N, vectors_NN = eigh(centred_NN @ alike_NN @ centred_NN.T)
        values_N, turned_N = np.maximum(values_N, 0.0), vectors_NN.T @ nll_N
        unit = max(float(values_N.mean()), _NOTHING)
        ridge = unit * _noise(values_N / unit, turned_N)
        root_NN = vectors_NN / np.sqrt(values_N + ridge)
        dual_N = root_NN @ (root_NN.T @ nll_N)
        spread = float((turned_N**2 / (values_N + ridge)).sum()) / max(1, len(nll_N) - 1)
        fitted = Fitted(root_NN.T @ centred_NN, centred_NN.T @ dual_N, spread)
        return fitted, alike_NN @ fitted.dual_N

    @cached_property
    def _kernels(self) -> tuple[Vector, ...]:
        r = min(1.0, _ORDER / len(self.groups))
        return tuple(1.0 - r + r * _in_common(group) for group in self.groups)

    def state(self) -> list[Any]:
        """Plain values."""
        rows = zip(self.steps, self.choices, self.nll, strict=True)
        return [[step, list(choices), nll] for step, choices, nll in rows]

    def restore(self, state: Sequence[Any]) -> None:
        """Restore from `state`."""
        self.steps = [int(step) for step, _, _ in state]
        self.choices = [tuple(choices) for _, choices, _ in state]
        self.nll = [float(nll) for _, _, nll in state]


@dataclass(frozen=True)
class Fitted:
    """A kernel ridge regression in its dual form.

    Attributes:
        known_NN: maps a quantity's kernel with the evaluations to its explained variance.
        dual_N: its coefficients.
        spread: variance scale of the kernel.
    """

    known_NN: Vector
    dual_N: Vector
    spread: float

    def odds(self, about_CN: Vector, within_CC: Vector, shares_OC: Vector | None) -> Vector:
        """The log-odds of one categorical's options, by their effects in standard errors.

        Args:
            about_CN: kernel between candidates and evaluations.
            within_CC: kernel between candidates.
            shares_OC: of each candidate in each option; None if candidates are the options.
        """
        if shares_OC is None:
            about_ON, mixed_OC, within_O = about_CN, within_CC, np.diag(within_CC)
            mean_O = within_CC.mean(1)
        else:
            about_ON, mixed_OC = shares_OC @ about_CN, shares_OC @ within_CC
            within_O, mean_O = (mixed_OC * shares_OC).sum(1), mixed_OC @ shares_OC.mean(0)
        about_ON = about_ON - about_ON.mean(0)
        prior_O = within_O - 2.0 * mean_O + mean_O.mean()
        known_O = ((self.known_NN @ about_ON.T) ** 2).sum(0)
        variance = self.spread * float(np.maximum(prior_O - known_O, 0.0).mean())
        odds_O: Vector = -_MATCHING * (about_ON @ self.dual_N) / max(math.sqrt(variance), _NOTHING)
        return odds_O


def _shares(taken_OC: Vector, likely_C: Vector) -> Vector:
    """Conditional probability of each candidate given each option of a variable.

    Args:
        taken_OC: 1 if the candidate has the option, else 0.
        likely_C: probabilities of the candidates.
    """
    weights_OC = taken_OC * np.maximum(likely_C, _NOTHING)
    shares_OC: Vector = weights_OC / weights_OC.sum(1, keepdims=True)
    return shares_OC


def _noise(values_N: Vector, turned_N: Vector) -> float:
    """Estimate the noise variance: the posterior mean of its logarithm over the candidates.

    The most probable candidate alone often mistakes noise for effects after a few evaluations.

    Args:
        values_N: the kernel's eigenvalues; one of them is 0, because the mean was removed.
        turned_N: the NLLs in its eigenbasis, in any unit.
    """
    scales_MN = values_N + np.array(_NOISES)[:, None]
    misfits_M = np.maximum((turned_N**2 / scales_MN).sum(1), _NOTHING**2)
    evidence_M = (len(values_N) - 1) * np.log(misfits_M) + np.log(scales_MN).sum(1)
    weights_M = softmax(-0.5 * (evidence_M - np.log(_NOISES)))
    return float(np.exp(weights_M @ np.log(_NOISES)))


def _centring(steps_N: Vector, weights_N: Vector) -> Vector:
    """Matrix that removes the weighted mean and the shrunken mean of each step (batch effect)."""
    identity_NN = np.eye(len(steps_N))
    overall_NN = identity_NN - weights_N / weights_N.sum()
    same_NN = (steps_N[:, None] == steps_N) * weights_N
    totals_N = same_NN.sum(1)
    shares_N = 1.0 - np.sqrt(1.0 / (1.0 + _BATCH * totals_N))
    centred_NN: Vector = (identity_NN - (shares_N / totals_N)[:, None] * same_NN) @ overall_NN
    return centred_NN


def _in_common(group: Group) -> Vector:
    """Share of common options between candidates: (C, C)."""
    parts = Distribution((group,), "factorised")
    sizes = [len(factor.options) for factor in parts.factors]
    # A variable with one option adds no information to its parent's.
    active_CO = parts.indicators(0) * (np.repeat(sizes, sizes) > 1)
    counts_C = active_CO.sum(1)
    shared_CC: Vector = active_CO @ active_CO.T
    shared_CC /= np.maximum(np.sqrt(np.outer(counts_C, counts_C)), 1.0)
    np.fill_diagonal(shared_CC, 1.0)
    return shared_CC
