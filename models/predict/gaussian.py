"""A Gaussian process of a training's result, from everything that was ever trained.

A result is modelled as

    level of its recipe + trend(numbers) + effects(choices) + change by steps + noise

`trend` is linear in a few numbers of the network (depth, log FLOPs, ...). `effects` has an ANOVA
kernel: the product over the groups of `1 - r + r * similarity`, i.e. main effects, pairwise
interactions and so on with decreasing weights. A recipe's level is unknown, and its effects deviate
from those of the others, so that entries of another recipe or other data inform the order of
architectures and not their level. With fewer steps than the reference, a level and effects of their
own are added, in proportion to the number of halvings.

The variances are the maximum of the marginal likelihood times a log-normal prior, which keeps fits
of few entries sensible (Rasmussen and Williams 2006, sections 2.2 and 5.4). Values are standardised
first: no result depends on their unit.

Axes: N entries, M entries to predict, G groups, F numbers, C candidates of a group.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

from core.errors import UserError
from models.space.architecture import Setting
from models.space.groups import INACTIVE, Group

Values = npt.NDArray[np.float64]
Indices = npt.NDArray[np.integer[Any]]

_LEVEL = 4.0
"""Variance of the level of a recipe, in units of the variance of the values."""
_PRIOR = {"trend": 0.3, "effects": 0.5, "noise": 0.1, "recipe": 0.1, "steps": 1.0, "late": 0.1}
"""Medians of the variances, in units of the variance of the values."""
_SPREAD = 1.5
"""Standard deviation of the logarithm of a variance under the prior."""
_LEAST = 1e-6
"""Least variance of the noise."""
_BOUNDS = (float(np.log(_LEAST)), 5.0)
"""Of the logarithm of a variance."""


@dataclass(frozen=True)
class Entries:
    """Trainings as inputs of the process.

    Attributes:
        choices_NG: candidate of every group.
        numbers_NF: numeric features of the network, in any unit.
        halvings_N: log2 of the reference number of steps divided by the training's; 0 or more.
        recipe_N: 0 for the data and recipe that are predicted; another number for each other.
    """

    choices_NG: Indices
    numbers_NF: Values
    halvings_N: Values
    recipe_N: Indices

    def __len__(self) -> int:
        return len(self.choices_NG)

    def kernels(self, other: Entries, similarities: Sequence[Values]) -> dict[str, Values]:
        """The covariance of two sets of entries by part, each (N, M) with unit variance."""
        effects_NM = np.ones((len(self), len(other)))
        weight = 1.0 / len(similarities)
        for group, similarity_CC in enumerate(similarities):
            pairs = np.ix_(self.choices_NG[:, group], other.choices_NG[:, group])
            effects_NM *= 1.0 - weight + weight * similarity_CC[pairs]
        trend_NM = self.numbers_NF @ other.numbers_NF.T
        network_NM = effects_NM + trend_NM
        same_NM = self.recipe_N[:, None] == other.recipe_N
        # Of a random walk over the halvings: what changes between two of them is independent.
        shared_NM = np.minimum(self.halvings_N[:, None], other.halvings_N)
        late_NM = self.halvings_N[:, None] * other.halvings_N + shared_NM
        return {
            "level": np.ones_like(effects_NM),
            "recipe level": same_NM.astype(np.float64),
            "trend": trend_NM,
            "effects": effects_NM,
            "recipe": same_NM * network_NM,
            "steps": same_NM * late_NM,
            "late": shared_NM * network_NM,
        }

    def join(self, other: Entries) -> Entries:
        """These entries, then the other ones."""
        return Entries(
            np.concatenate([self.choices_NG, other.choices_NG]),
            np.concatenate([self.numbers_NF, other.numbers_NF]),
            np.concatenate([self.halvings_N, other.halvings_N]),
            np.concatenate([self.recipe_N, other.recipe_N]),
        )


@dataclass(frozen=True)
class GaussianProcess:
    """A fitted process.

    Attributes:
        entries: that it was fitted on.
        similarities: of the candidates of every group, (C, C) each.
        variances: of every part and of the noise, in units of `scale` squared.
        centre: of the predicted recipe's values.
        scale: standard deviation of the values around their recipe's mean.
        residuals_N: the entries' values minus their recipe's mean, divided by `scale`.
    """

    entries: Entries
    similarities: tuple[Values, ...]
    variances: Mapping[str, float]
    centre: float
    scale: float
    residuals_N: Values

    @classmethod
    def fit(
        cls,
        entries: Entries,
        values_N: Values,
        similarities: Sequence[Values],
        noise: float | None = None,
    ) -> GaussianProcess:
        """Fit the variances to the values.

        Args:
            entries: the trainings.
            values_N: their results, in any unit, such as the NLL.
            similarities: of the candidates of every group, (C, C), 1 on the diagonal.
            noise: variance of the noise relative to that of the values; None: estimated.

        Raises:
            UserError: no entry, or values that are not finite or not one per entry.
        """
        values_N = np.asarray(values_N, dtype=np.float64)
        if not len(entries) or values_N.shape != (len(entries),):
            raise UserError(
                f"{len(entries)} trainings with {values_N.size} values: a Gaussian process needs "
                "at least one training, and one value for each."
            )
        if not np.isfinite(values_N).all():
            raise UserError("a training's value is not finite: leave out trainings that diverged.")
        means = {r: float(values_N[entries.recipe_N == r].mean()) for r in set(entries.recipe_N)}
        centred_N = values_N - np.array([means[recipe] for recipe in entries.recipe_N])
        scale = float(centred_N.std()) or 1.0
        parts = entries.kernels(entries, similarities)
        variances = _fit(parts, centred_N / scale, noise)
        centre = means.get(0, float(values_N.mean()))
        return cls(entries, tuple(similarities), variances, centre, scale, centred_N / scale)

    def predict(self, entries: Entries) -> tuple[Values, Values]:
        """Posterior mean and standard deviation of the results without their noise, (M,) each."""
        cross_MN = self._covariance(entries, self.entries)
        root_NN, dual_N = self._solved
        known_NM = solve_triangular(root_NN, cross_MN.T, lower=True)
        variance_M = self._prior(entries) - (known_NM**2).sum(0)
        spread_M = self.scale * np.sqrt(np.maximum(variance_M, 0.0))
        return self.centre + self.scale * (cross_MN @ dual_N), spread_M

    def believe(self, entries: Entries) -> GaussianProcess:
        """The process if these trainings gave their predicted means; variances stay as they are.

        To select several architectures at once (kriging believer, Ginsbourger et al. 2010).
        """
        mean_M, _ = self.predict(entries)
        residuals_N = np.append(self.residuals_N, (mean_M - self.centre) / self.scale)
        return replace(self, entries=self.entries.join(entries), residuals_N=residuals_N)

    @cached_property
    def _solved(self) -> tuple[Values, Values]:
        """Lower Cholesky factor of the entries' covariance with noise, and the dual weights."""
        covariance_NN = self._covariance(self.entries, self.entries)
        covariance_NN[np.diag_indices_from(covariance_NN)] += self.variances["noise"]
        root_NN = cholesky(covariance_NN, lower=True)
        return root_NN, cho_solve((root_NN, True), self.residuals_N)

    def _covariance(self, one: Entries, other: Entries) -> Values:
        parts = one.kernels(other, self.similarities)
        total_NM = _LEVEL * (parts["level"] + parts["recipe level"])
        for name, part_NM in parts.items():
            if name in self.variances:
                total_NM += self.variances[name] * part_NM
        return total_NM

    def _prior(self, entries: Entries) -> Values:
        """Prior variance of every entry, (M,)."""
        network_M = 1.0 + (entries.numbers_NF**2).sum(1)
        own = self.variances
        constant = 2.0 * _LEVEL + own["effects"] + own["trend"] * (network_M - 1.0)
        late_M = entries.halvings_N**2 + entries.halvings_N
        changing_M = own["steps"] * late_M + own["late"] * entries.halvings_N * network_M
        prior_M: Values = constant + own["recipe"] * network_M + changing_M
        return prior_M


def _fit(parts: Mapping[str, Values], residuals_N: Values, noise: float | None) -> dict[str, float]:
    """The variances with the largest marginal likelihood times prior."""
    identity_NN = np.eye(len(residuals_N))
    kernels = [identity_NN if name == "noise" else parts[name] for name in _PRIOR]
    fixed_NN = _LEVEL * (parts["level"] + parts["recipe level"]) + _LEAST * identity_NN
    medians_P = np.log(list(_PRIOR.values()))

    def loss(logs_P: Values) -> tuple[float, Values]:
        variances_P = np.exp(logs_P)
        covariance_NN = fixed_NN + sum(v * k for v, k in zip(variances_P, kernels, strict=True))
        root_NN = cholesky(covariance_NN, lower=True)
        inverse_NN = cho_solve((root_NN, True), identity_NN)
        dual_N = inverse_NN @ residuals_N
        slope_NN = 0.5 * (inverse_NN - np.outer(dual_N, dual_N))
        away_P = (logs_P - medians_P) / _SPREAD
        value = 0.5 * residuals_N @ dual_N + np.log(np.diag(root_NN)).sum() + 0.5 * away_P @ away_P
        slopes = [
            v * float((slope_NN * k).sum()) for v, k in zip(variances_P, kernels, strict=True)
        ]
        return float(value), np.array(slopes) + away_P / _SPREAD

    bounds = [_BOUNDS] * len(_PRIOR)
    start_P = medians_P.copy()
    if noise is not None:
        at = list(_PRIOR).index("noise")
        start_P[at] = np.log(max(noise, _LEAST))
        bounds[at] = (start_P[at], start_P[at])
    found = minimize(loss, start_P, jac=True, method="L-BFGS-B", bounds=bounds)
    return dict(zip(_PRIOR, np.exp(found.x).tolist(), strict=True))


def similarities_of(groups: Sequence[Group]) -> tuple[Values, ...]:
    """Similarity of the candidates of every group, (C, C) each: 1 for equal ones, 0 to 1.

    The mean over the variables that either of two candidates has, where the operator is one: of
    numbers exp(-|log ratio|), so that neighbouring widths are similar; of others 1 if equal.
    """
    return tuple(_similarity(group) for group in groups)


def _similarity(group: Group) -> Values:
    rows = np.array(group.candidates)
    shared_CC, counts_C = np.zeros((len(rows), len(rows))), np.zeros(len(rows))
    for at, variable in enumerate(group.variables):
        active_C = rows[:, at] != INACTIVE
        if len(variable.options) < 2:
            continue
        pairs_CC = np.ix_(rows[:, at], rows[:, at])
        shared_CC += np.outer(active_C, active_C) * _nearness(variable.options)[pairs_CC]
        counts_C += active_C
    shared_CC /= np.maximum(np.sqrt(np.outer(counts_C, counts_C)), 1.0)
    np.fill_diagonal(shared_CC, 1.0)
    return shared_CC


def _nearness(options: Sequence[Setting]) -> Values:
    """Similarity of a variable's options, (O, O)."""
    numbers = [float(option) for option in options if not isinstance(option, str)]
    if len(numbers) < len(options) or min(numbers) <= 0:
        return np.eye(len(options))
    logs_O = np.log(numbers)
    near_OO: Values = np.exp(-np.abs(logs_O[:, None] - logs_O))
    return near_OO
