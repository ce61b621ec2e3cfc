"""Latency model: ridge regression on features of whole networks (FOX-NAS).

Unlike the sum of blocks it models interactions between blocks, but it needs many more networks. It
is not additive, so the fastest network of a space cannot be found exactly.

Axes: N networks, F features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from core.errors import UserError

PENALTIES = tuple(float(10.0**power) for power in np.arange(-6, 1.5, 0.5))
_DIGITS = 9
_INTERVAL = 1.96  # z-value of the 95% interval


@dataclass(frozen=True)
class Coefficient:
    """Milliseconds per unit of a feature with their 95% interval, and the feature's mean."""

    ms: float
    low: float
    high: float
    mean: float


@dataclass(frozen=True)
class Regression:
    """A fitted regression on centred features; constant ones have no coefficient."""

    ms: float
    """Intercept: milliseconds at the means of the features."""
    penalty: float
    coefficients: Mapping[str, Coefficient]

    def predict(self, features: Mapping[str, Any]) -> Any:
        """Predict the milliseconds per image at batch 1; of N networks from features (N,).

        Raises:
            UserError: a feature is missing.
        """
        missing = sorted(self.coefficients.keys() - features.keys())
        if missing:
            raise UserError(f"the latency regression needs the feature '{missing[0]}'.")
        added = (c.ms * (features[name] - c.mean) for name, c in self.coefficients.items())
        return self.ms + sum(added)


def fit_regression(features: Sequence[Mapping[str, float]], ms: Sequence[float]) -> Regression:
    """Minimise squared relative errors, with the penalty of least leave-one-out error.

    `features` are of N networks, with the same names; `ms` are their milliseconds.
    """
    names = tuple(features[0])
    values_NF = np.array([[row[name] for name in names] for row in features], dtype=np.float64)
    measured_N = np.array(ms, dtype=np.float64)
    mean_F, size_F = values_NF.mean(0), values_NF.std(0)
    varied = [at for at in range(len(names)) if size_F[at] > 1e-9]
    scaled_NF = (values_NF - mean_F)[:, varied] / size_F[varied]
    # Divide by the latency to fit relative errors.
    rows_NF = np.column_stack([np.ones(len(scaled_NF)), scaled_NF]) / measured_N[:, None]
    solved = {penalty: _solve(rows_NF, penalty) for penalty in PENALTIES}
    penalty = min(solved, key=lambda penalty: solved[penalty].left_out)
    _, weights_F, deviation_F = solved[penalty]
    coefficients = {}
    for at, feature in enumerate(varied):
        value, reach = (x[at + 1] / size_F[feature] for x in (weights_F, deviation_F))
        ends = (value, value - _INTERVAL * reach, value + _INTERVAL * reach, mean_F[feature])
        coefficients[names[feature]] = Coefficient(*(round(float(x), _DIGITS) for x in ends))
    return Regression(round(float(weights_F[0]), _DIGITS), penalty, coefficients)


class _Solution(NamedTuple):
    left_out: float  # mean relative leave-one-out error
    weights_F: npt.NDArray[np.float64]
    deviation_F: npt.NDArray[np.float64]


def _solve(rows_NF: npt.NDArray[np.float64], penalty: float) -> _Solution:
    """Ridge without a penalty on the first column; leave-one-out errors by the hat matrix."""
    count, columns = rows_NF.shape
    scale = penalty * count * float((rows_NF[:, 0] ** 2).mean())
    penalty_FF = np.diag([0.0, *[scale] * (columns - 1)])
    inverse_FF = np.linalg.inv(rows_NF.T @ rows_NF + penalty_FF)
    weights_F = inverse_FF @ rows_NF.sum(0)  # every relative latency is 1
    hat_NN = rows_NF @ inverse_FF @ rows_NF.T
    error_N = 1.0 - rows_NF @ weights_F
    free_N = np.maximum(1.0 - np.diag(hat_NN), 1e-9)
    freedom = max(count - float(np.trace(hat_NN)), 1.0)
    deviation_F = np.sqrt(float(error_N @ error_N) / freedom * np.diag(inverse_FF))
    return _Solution(float(np.abs(error_N / free_N).mean()), weights_F, deviation_F)
