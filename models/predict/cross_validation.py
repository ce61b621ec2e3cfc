"""A fitted predictor with its cross-validated error and the contribution of each feature.

Axes: N examples, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import kendalltau

from core.errors import UserError
from models.predict.fit import Examples, Model
from models.predict.predictor import Predictor, Values

Parts = Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]
"""Per fold the indices of training and validation examples."""
MAX_FEATURES = 40
"""Features whose contributions are computed at most; each needs two fits per fold."""
Learner = Callable[[Examples], Callable[[Values], Values]]
"""Fit examples; returns a function that predicts (N,) from values (N, F)."""


@dataclass(frozen=True)
class Error:
    """Error metrics; None where a metric is undefined.

    Attributes:
        r2: coefficient of determination.
        relative: mean of |predicted - true| / |true| over nonzero targets.
        within_5: share of those with a relative error of at most 5%; `within_10`: 10%.
        tau: Kendall's tau-b.
        absolute: mean of |predicted - true|, in the target's unit.
    """

    r2: float | None
    relative: float | None
    within_5: float | None
    within_10: float | None
    tau: float | None
    absolute: float

    def to_json(self) -> dict[str, float | None]:
        """Rounded JSON values."""
        return {n: None if x is None else round(x, 6) for n, x in asdict(self).items()}


def judge(true_N: Values, predicted_N: Values) -> Error:
    """Compute the error metrics of predictions."""
    off_N = np.abs(predicted_N - true_N)
    spread = float(((true_N - true_N.mean()) ** 2).sum())
    known = true_N != 0
    relative_N = off_N[known] / np.abs(true_N[known])
    tau = float(kendalltau(true_N, predicted_N).statistic)
    defined = bool(known.any())
    return Error(
        None if spread == 0 else 1 - float((off_N**2).sum()) / spread,
        float(relative_N.mean()) if defined else None,
        float((relative_N <= 0.05).mean()) if defined else None,
        float((relative_N <= 0.10).mean()) if defined else None,
        None if np.isnan(tau) else tau,
        float(off_N.mean()),
    )


def folds(
    examples: Examples,
    count: int,
    rng: np.random.Generator,
    together: Sequence[int] | None = None,
) -> Parts:
    """Random folds for cross-validation.

    Args:
        examples: to be split.
        count: number of folds.
        rng: of the split.
        together: group per example, never split; None: those with equal features, against leakage.

    Raises:
        UserError: fewer groups than folds, fewer than two folds, or fewer than three training
            examples in a fold.
    """
    from sklearn.model_selection import GroupKFold

    kept = examples.values_NF if together is None else np.array(together)[:, None]
    _, same_N = np.unique(kept, axis=0, return_inverse=True)
    different, rows = int(same_N.max()) + 1 if len(same_N) else 0, len(same_N)
    if not 2 <= count <= different or rows - -(-rows // count) < 3:
        raise UserError(
            f"{rows} examples, {different} of them different, cannot be "
            f"split into {count} folds: use 2 to {max(different, 2)} folds, and at least 5 "
            "examples."
        )
    splitter = GroupKFold(count, shuffle=True, random_state=int(rng.integers(2**31)))
    return list(splitter.split(examples.values_NF, groups=same_N.ravel()))


def cross_validate(examples: Examples, parts: Parts, learn: Learner) -> Values:
    """Cross-validated prediction of every example, (N,)."""
    predicted_N = np.full(len(examples.target_N), np.nan)
    for seen, unseen in parts:
        predicted_N[unseen] = learn(examples.rows(seen))(examples.values_NF[unseen])
    return predicted_N


def selecting_learner(select: Callable[[Examples], Model]) -> Learner:
    """A learner that selects the model's hyperparameters on its training examples."""
    return lambda examples: select(examples).solve(examples)


@dataclass(frozen=True)
class Contribution:
    """Contribution of a feature to the cross-validated R2."""

    lost: float
    """Decrease of R2 without the feature and all its products."""
    alone: float
    """R2 with this feature alone."""


def contributions(
    examples: Examples, learn: Learner, parts: Parts, only: Sequence[str] | None = None
) -> dict[str, Contribution]:
    """Contribution of each feature, by fits without it and with it alone.

    Where the hyperparameters of `learn` were selected on all examples, the values explain a
    predictor and are no unbiased estimate of its error. Redundant features have small `lost`.
    `only` names the features; None: all.
    """

    def r2(columns: Sequence[int]) -> float:
        some = examples.columns(columns)
        if not columns:
            return 0.0
        return judge(some.target_N, cross_validate(some, parts, learn)).r2 or 0.0

    every = range(len(examples.names))
    whole = r2(every)
    return {
        name: Contribution(whole - r2([i for i in every if i != at]), r2([at]))
        for at, name in enumerate(examples.names)
        if only is None or name in only
    }


@dataclass(frozen=True)
class Explained:
    """A predictor fitted on all examples, with its evaluation.

    Attributes:
        predictor: fitted.
        true_N: targets of the examples.
        predicted_N: cross-validated predictions; hyperparameters are selected per fold.
        error: of these predictions.
        added: contributions of the features with the largest effects.
    """

    predictor: Predictor
    true_N: Values
    predicted_N: Values
    error: Error
    added: Mapping[str, Contribution]

    def added_json(self) -> dict[str, Any]:
        """Contribution of each feature as rounded JSON values."""
        return {
            name: {"lost": round(contribution.lost, 6), "alone": round(contribution.alone, 6)}
            for name, contribution in self.added.items()
        }


def explain(examples: Examples, select: Callable[[Examples], Model], parts: Parts) -> Explained:
    """Fit a predictor, cross-validate it and compute feature contributions."""
    predicted_N = cross_validate(examples, parts, selecting_learner(select))
    model = select(examples)
    predictor = model.fit(examples)
    return Explained(
        predictor,
        examples.target_N,
        predicted_N,
        judge(examples.target_N, predicted_N),
        contributions(examples, model.solve, parts, top_features(predictor, examples)),
    )


def effects(predictor: Predictor, examples: Examples) -> dict[str, float]:
    """Standard deviation over the examples of every term's share of the prediction."""
    centred = {
        name: column_N - predictor.features[name].mean
        for name, column_N in zip(examples.names, examples.values_NF.T, strict=True)
        if name in predictor.features
    }
    return {
        term.name: abs(term.coefficient)
        * float(np.std(np.prod([centred[name] for name in term.features], axis=0)))
        for term in predictor.terms
    }


def top_features(predictor: Predictor, examples: Examples) -> list[str]:
    """The features with the largest effect of any of their terms, at most MAX_FEATURES."""
    moved = effects(predictor, examples)
    most = {
        name: max(moved[term.name] for term in predictor.terms if name in term.features)
        for name in predictor.features
    }
    return sorted(most, key=lambda name: -most[name])[:MAX_FEATURES]
