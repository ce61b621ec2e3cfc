"""What all evaluations of a search say of each option: an additive fit, and odds from it.

The NLL of an architecture is taken as a sum of its options' effects (in the joint form also of each
group's candidate as a whole), plus what its step's batch adds to all of that step, plus noise. A
ridge regression estimates the effects, and of an option that is better than its rivals by z
standard errors the odds become exp(_MATCHING * z): about the probability, given the evaluations,
that it IS better. So a distribution with these logits is flat where little is known and sharp where
much is, whatever the unit or the noise of the NLLs, and no evaluation is forgotten.

Everything is a kernel method on N evaluations, so that joint forms with thousands of candidates
cost no more than small ones. Axes: N evaluations, L logits of a group, O options, C candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular

from models.distribution import Choices, Distribution, Form, Vector
from models.space import Group

_MATCHING = 1.2
"""Logits per standard error. Of two options whose effects differ by d with standard errors s, the
first is better with probability Phi(d / (s * sqrt(2))), near 1 / (1 + exp(-1.2 * d / s))."""
_RIDGE = 1.0
"""Before any evaluation an option counts as evaluated this often, without effect."""
_BATCH = 4.0
"""Variance that a batch's difficulty adds to all of its step; an evaluation's noise is 1."""
_FOCUS = 0.3
"""An architecture predicted one standard deviation worse than another counts exp(-_FOCUS) of it:
the fit is to be good where the good ones are."""
_NOTHING = 1e-12


@dataclass(frozen=True)
class GroupKernel:
    """What two candidates of a group have in common, and what a candidate has of each logit.

    Attributes:
        candidates_CC: between candidates.
        logits_CL: between candidates and the group's logits.
        spread_L: of each logit with itself, once every categorical is centred.
        sizes: how many options each categorical has, in the order of the logits.
    """

    candidates_CC: Vector
    logits_CL: Vector
    spread_L: Vector
    sizes: tuple[int, ...]


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
        """Take in a step's evaluations."""
        self.steps += [step] * len(choices)
        self.choices += choices
        self.nll += nll

    def log_odds(self, form: Form) -> Vector:
        """One number for every logit of the form, shape (size,); 0 where nothing is known."""
        kernels, chosen_NG = self._kernels[form], np.array(self.choices)
        parts = list(zip(kernels, chosen_NG.T, strict=True))
        alike_NN = np.zeros((len(self.nll), len(self.nll)))
        for kernel, chosen in parts:
            alike_NN += kernel.candidates_CC[np.ix_(chosen, chosen)]
        about_NL = np.concatenate([k.logits_CL[chosen] for k, chosen in parts], axis=1)
        spread_L = np.concatenate([k.spread_L for k in kernels])
        _, predicted_N = self._fit(alike_NN, np.ones(len(self.nll)))
        worse_N = (predicted_N - predicted_N.min()) / max(float(predicted_N.std()), _NOTHING)
        fitted, _ = self._fit(alike_NN, np.exp(-_FOCUS * worse_N))
        effects_L, variances_L = fitted.effects(about_NL, spread_L)
        sizes = [size for kernel in kernels for size in kernel.sizes]
        starts = np.cumsum([0, *sizes[:-1]])
        errors = np.sqrt(np.add.reduceat(variances_L, starts) / sizes)
        errors_L = np.repeat(np.maximum(errors, _NOTHING), sizes)
        odds_L: Vector = -_MATCHING * effects_L / errors_L
        return odds_L

    def _fit(self, alike_NN: Vector, weights_N: Vector) -> tuple[Fitted, Vector]:
        """The regression with a weight for every evaluation, and what it predicts of each."""
        root_N = np.sqrt(weights_N)
        centred_NN = root_N[:, None] * _centring(np.array(self.steps), weights_N)
        nll_N = centred_NN @ np.array(self.nll)
        kernel_NN = centred_NN @ alike_NN @ centred_NN.T
        factor = cho_factor(kernel_NN + _RIDGE * np.eye(len(nll_N)), lower=True)
        dual_N = cho_solve(factor, nll_N)
        used = len(nll_N) - _RIDGE * float(np.trace(cho_solve(factor, np.eye(len(nll_N)))))
        rest_N = _RIDGE * dual_N
        noise = float(rest_N @ rest_N) / max(1.0, float(weights_N.sum()) - used)
        fitted = Fitted(centred_NN, factor[0], dual_N, noise)
        return fitted, alike_NN @ (centred_NN.T @ dual_N)

    @cached_property
    def _kernels(self) -> dict[Form, tuple[GroupKernel, ...]]:
        forms: tuple[Form, ...] = ("factorised", "joint")
        return {form: tuple(_kernel(group, form) for group in self.groups) for form in forms}

    def state(self) -> list[Any]:
        """Plain values."""
        rows = zip(self.steps, self.choices, self.nll, strict=True)
        return [[step, list(choices), nll] for step, choices, nll in rows]

    def restore(self, state: Sequence[Any]) -> None:
        """Continue from what `state` gave."""
        self.steps = [int(step) for step, _, _ in state]
        self.choices = [tuple(choices) for _, choices, _ in state]
        self.nll = [float(nll) for _, _, nll in state]


@dataclass(frozen=True)
class Fitted:
    """A ridge regression in its dual form.

    Attributes:
        centred_NN: takes evaluations to weighted ones without their batches.
        factor_NN: the Cholesky factor of kernel plus ridge, lower.
        dual_N: its coefficients.
        noise: variance of an evaluation of weight 1.
    """

    centred_NN: Vector
    factor_NN: Vector
    dual_N: Vector
    noise: float

    def effects(self, about_NL: Vector, spread_L: Vector) -> tuple[Vector, Vector]:
        """The logits' effects on the NLL, and their variances given the evaluations."""
        about_NL = self.centred_NN @ about_NL
        known_L = (solve_triangular(self.factor_NN, about_NL, lower=True) ** 2).sum(0)
        variances_L = self.noise / _RIDGE * np.maximum(spread_L - known_L, 0.0)
        return about_NL.T @ self.dual_N, variances_L


def _centring(steps_N: Vector, weights_N: Vector) -> Vector:
    """Takes away the weighted mean, and of each step's own mean what its batch explains."""
    identity_NN = np.eye(len(steps_N))
    overall_NN = identity_NN - weights_N / weights_N.sum()
    same_NN = (steps_N[:, None] == steps_N) * weights_N
    totals_N = same_NN.sum(1)
    shares_N = 1.0 - np.sqrt(1.0 / (1.0 + _BATCH * totals_N))
    centred_NN: Vector = (identity_NN - (shares_N / totals_N)[:, None] * same_NN) @ overall_NN
    return centred_NN


def _kernel(group: Group, form: Form) -> GroupKernel:
    """Candidates are as like as the options they share; in the joint form also like themselves."""
    parts = Distribution((group,), "factorised")
    active_CO = parts.indicators(0)
    sizes = tuple(len(factor.options) for factor in parts.factors)
    # A variable with one option says nothing that its owner's does not.
    active_CO = active_CO * (np.repeat(sizes, sizes) > 1)
    if form == "factorised":
        within_OO = np.diag(np.ones(len(active_CO.T)))
        return GroupKernel(
            active_CO @ active_CO.T, *_centred(active_CO, within_OO, sizes), sizes=sizes
        )
    alike_CC = active_CO @ active_CO.T + np.eye(len(active_CO))
    whole = (len(active_CO),)
    return GroupKernel(alike_CC, *_centred(alike_CC, alike_CC, whole), sizes=whole)


def _centred(about_CL: Vector, within_LL: Vector, sizes: Sequence[int]) -> tuple[Vector, Vector]:
    """Both without each categorical's mean; of the second the diagonal."""
    owner_L = np.repeat(np.arange(len(sizes)), sizes)
    same_LL = owner_L[:, None] == owner_L
    centring_LL = np.eye(len(owner_L)) - same_LL / same_LL.sum(1)
    spread_L: Vector = np.einsum("lm,mn,ln->l", centring_LL, within_LL, centring_LL, optimize=True)
    return about_CL @ centring_LL, spread_L
